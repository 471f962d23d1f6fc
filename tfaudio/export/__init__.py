"""Trained classifiers to SavedModel and TFLite files, and the proof that they agree."""
