"""Exported classifiers on a device: NumPy and a TFLite interpreter, no TensorFlow."""
