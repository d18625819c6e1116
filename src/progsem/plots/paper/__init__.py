"""The paper's claims beside a study's numbers."""
