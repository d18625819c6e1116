"""What is asked: the config's types and checks, config files, and the plan that follows from them."""
