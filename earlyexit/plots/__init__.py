"""Draw the figures. Each module makes a table of numbers, for `dvc plots`, and draws it."""
