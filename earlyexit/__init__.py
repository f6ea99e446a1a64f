"""Quantized early-exit networks for microcontrollers: the library behind the workflow's stages."""
