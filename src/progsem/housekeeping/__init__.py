"""Commands that look after results/: plan, keep, verify, artifacts, prune. One module each, with `main(argv)`."""
