"""When an image leaves: integer margins, thresholds from percentiles, and the cascade that stops at an exit."""
