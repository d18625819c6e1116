"""How one job runs: its command line, signals, progress, processes, devices, compiled kernels."""
