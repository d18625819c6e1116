"""What the Snakefile needs: the study, the environment of jobs, and the report."""
