"""Convert the network to .tflite segments, float and INT8 (Section II-B), and measure the error of each INT8 layer."""
