"""Recordings, labels and splits, and the tf.data pipeline that feeds them to training."""
