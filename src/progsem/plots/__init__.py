"""The figures, one module each; `style` holds what they share."""
