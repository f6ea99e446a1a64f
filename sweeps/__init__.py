"""Tables over many experiments: what a sweep with `dvc exp run --queue` left, read back and put side by side."""
