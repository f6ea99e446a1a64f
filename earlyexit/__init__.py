"""Early-exit networks on microcontrollers: one package a step of the walk from photographs to a C library."""
