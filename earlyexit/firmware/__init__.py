"""From INT8 segments to a C library for microcontrollers, and to arrays for TensorFlow Lite Micro."""
