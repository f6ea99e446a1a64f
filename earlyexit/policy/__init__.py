"""Decide at which exit an image leaves: integer margins, thresholds from percentiles, and the cascade of segments."""
