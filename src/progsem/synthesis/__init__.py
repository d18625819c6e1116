"""Programs proposed for specifications: by a language model, sampled or searched, and by cheap writers."""
