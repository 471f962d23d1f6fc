"""tfaudio: from a labelled folder of recordings to a classifier that runs on a device."""

__version__ = "0.1.0"
