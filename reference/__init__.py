"""Files of the repository that are generated from its sources; tests compare them with what is generated."""
