"""The teacher: a classifier from elsewhere, .tflite or .onnx, and its log-odds of "person" for stored photographs."""
