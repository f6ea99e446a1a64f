"""From the network to .tflite segments, float and INT8 (Section II-B), and the error of each INT8 layer."""
