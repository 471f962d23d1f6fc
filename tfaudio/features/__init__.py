"""Waveforms to features [frames, bins], once for training, serving and the device."""
