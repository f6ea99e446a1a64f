"""Read, pack and run .tflite files, with LiteRT and TensorFlow Lite Micro (TFLM); save a network as segment files."""
