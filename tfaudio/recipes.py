"""Settings that are known to work, by data set and by model.

A recipe changes the defaults of `tfaudio.config`; what the user sets changes the recipe. It is the same for every
fold of a data set.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Environmental sound, 5 s at 16 kHz and a frame every 32 ms, as the defaults have it. The order of sounds within a clip
# says little, so clips are rotated freely. Hundreds of clips for hundreds of thousands of weights: hence the strong
# mixing and decay, which were chosen on folds 4 and 5 of ESC-10.
_ENVIRONMENTAL: dict[str, Any] = {
    "clip.seconds": 5.0,
    "augment.time_shift": 0.5,
    "augment.frequency_mask_fraction": 0.2,
    "augment.mixup_alpha": 1.0,
    "training.weight_decay": 0.3,
    "training.epochs": 150,
}

# Spoken words: about a second of speech, a frame every 10 ms; a word must not be cut in two by a rotation.
_SPOKEN_WORDS: dict[str, Any] = {
    "front_end.frame_length": 256,
    "front_end.frame_step": 80,
    "front_end.fft_length": 256,
    "front_end.sample_rate": 8_000,
    "front_end.num_mel_bins": 40,
    "clip.seconds": 1.0,
    "augment.time_shift": 0.1,
    "augment.time_mask_fraction": 0.1,
    "training.epochs": 30,
}

_BY_DATASET: dict[str, dict[str, Any]] = {
    "esc10": _ENVIRONMENTAL,
    "esc50": _ENVIRONMENTAL,
    "fsdd": _SPOKEN_WORDS,
    "synthetic": {
        "front_end.frame_length": 512,
        "front_end.frame_step": 256,
        "front_end.fft_length": 512,
        "front_end.num_mel_bins": 40,
        "clip.seconds": 1.0,
        "training.epochs": 20,
        "training.batch_size": 16,
    },
}

_BY_DATASET["synthetic_tags"] = {**_BY_DATASET["synthetic"], "training.epochs": 40}
# Clips of 0.3 to 30 s, whose tags say nothing of when.
_BY_DATASET["fsd50k"] = {"clip.seconds": 10.0, "training.epochs": 60}

# librosa's features, as a small dense network over their means and deviations likes them. Masks would hide whole
# features from it. Five octaves of contrast fit below half of 8 kHz.
_LIBROSA_FEATURES: dict[str, Any] = {
    "front_end.feature": "mfcc+chroma+spectral_contrast+spectral_centroid+spectral_bandwidth+spectral_rolloff"
    "+spectral_flatness+rms+zero_crossing_rate",
    "front_end.contrast_bands": 5,
    "augment.time_masks": 0,
    "augment.frequency_masks": 0,
    "training.weight_decay": 0.1,
}

# Strings of words: nothing may be rotated to the other end, and no mask may hide a whole word.
_TRANSCRIPTION: dict[str, Any] = {
    "augment.time_shift": 0.0,
    "augment.time_mask_fraction": 0.02,
    "augment.mixup_alpha": 0.0,
    "training.learning_rate": 1e-3,
    "training.weight_decay": 0.05,
    "training.epochs": 60,
}

_BY_MODEL: dict[str, dict[str, Any]] = {
    "dense": _LIBROSA_FEATURES,
    "ctc": _TRANSCRIPTION,
    "attention": {"training.learning_rate": 1e-3, "training.weight_decay": 0.05},
}


def recipe(dataset: str, model: str) -> Mapping[str, Any]:
    """Returns the settings, by dotted key, that are known to work for a data set and a model; may be empty.

    >>> recipe("fsdd", "cnn")["front_end.sample_rate"]
    8000
    """
    return {**_BY_DATASET.get(dataset, {}), **_BY_MODEL.get(model, {})}
