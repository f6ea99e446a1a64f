"""Where exits pay: candidate exits after every block of a frozen baseline, and the best sets of them."""
