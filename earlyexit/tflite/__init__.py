""".tflite files.

Read, packed small, run by LiteRT and TensorFlow Lite Micro (TFLM), deployed as segments with a manifest.
"""
