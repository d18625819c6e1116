"""Programs proposed for specifications: by a language model, sampled or searched, and by cheap writers."""

BLOCK = 100  # samples that are drawn and computed together: as many as a study asks for by default
