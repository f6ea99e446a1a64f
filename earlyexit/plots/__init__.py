"""The figures. Each module makes the numbers of one figure (a table for `dvc plots`) and draws it."""
