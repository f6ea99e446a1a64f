"""Experiments beyond one run: sweeps and their tables, and the generated parts of the documentation."""
