"""What is kept: files that are whole or not there, manifests, digests of sources, and what stands in results/."""
