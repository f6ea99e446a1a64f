"""Where exits pay: the best sets of candidate exits, within the budget of the device."""
