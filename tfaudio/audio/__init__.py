"""Encoded bytes to waveforms: decoding, resampling, fixing the length."""
