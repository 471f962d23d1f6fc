"""Classifiers as functional Keras models, by name."""
