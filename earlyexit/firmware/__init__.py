"""C code for microcontrollers: a library without dependencies, made from INT8 .tflite segments."""
