"""The C library compiled, linked and run on an emulated Cortex-M4: answers checked, instructions and memory counted."""
