"""Looking at what a classifier attends to."""
