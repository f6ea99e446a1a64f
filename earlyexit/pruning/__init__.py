"""Exact pruning: prove which channels have one value for every image, and remove them without changing an answer."""
