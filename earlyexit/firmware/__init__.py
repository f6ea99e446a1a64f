"""Generate a C library for microcontrollers from INT8 segments, and arrays for TensorFlow Lite Micro."""
