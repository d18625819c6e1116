"""Results in the forms in which other tools open them."""
