"""Compile the C library, run it on an emulated Cortex-M4, check its answers, estimate its cycles and its memory."""
