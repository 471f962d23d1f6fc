"""Settings that are known to work, by task, by data set and by model.

A recipe changes the defaults of `tfaudio.config`; what the user sets changes the recipe. It is the same for every
fold of a data set. `tfaudio recipes` lists those that have a name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tfaudio.registry import Registry

NOT_MEASURED = "not measured"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Settings for a task.

    Args:
      purpose: what it is for, in a line.
      settings: by dotted key.
      of_model: what an architecture changes of them, by its name and by dotted key.
      datasets: that take it unasked.
      command: that trains by it.
      minutes: that the command took on two CPU cores; None where it was not measured.
      accuracy: that it reached, and on what; NOT_MEASURED where it was not.
      result: name of the stored result in tools/benchmark/results that says so; "" where there is none.
    """

    purpose: str
    settings: Mapping[str, Any]
    of_model: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    command: str
    datasets: tuple[str, ...] = ()
    minutes: int | None = None
    accuracy: str = NOT_MEASURED
    result: str = ""


RECIPES: Registry[Recipe] = Registry("recipe")

# Environmental sound, 5 s at 16 kHz and a frame every 32 ms, as the defaults have it. The order of sounds within a clip
# says little, so clips are rotated freely. Hundreds of clips for hundreds of thousands of weights: hence the strong
# mixing and decay, which were chosen on folds 4 and 5 of ESC-10. Other speeds in place of SpecAugment's masks were
# chosen on folds 1 and 2, where the loss on test recordings fell by a quarter with speeds and rose with masks. Mixing
# as between-class learning does, and more than three times the epochs, which it needs to pay, were chosen on fold 1.
_ENVIRONMENTAL: dict[str, Any] = {
    "clip.seconds": 5.0,
    "augment.time_shift": 0.5,
    "augment.speed.probability": 0.7,
    "augment.speed.factor": [0.8, 1.25],
    "augment.time_masks": 0,
    "augment.frequency_masks": 0,
    "augment.mixup_alpha": 0.0,
    "augment.between_class.probability": 1.0,
    "training.weight_decay": 0.3,
    "training.epochs": 500,
}

# A helicopter's beats, drops of rain: windows and steps of half the length, of which `cnn`'s first convolution
# takes two in the place of one. Chosen on folds 4 and 5.
_ENVIRONMENTAL_OF_MODEL: dict[str, dict[str, Any]] = {
    "cnn": {"front_end.frame_length": 512, "front_end.frame_step": 256, "model.options.frame_stride": 4}
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

# The same of thousands of speakers: a hundred thousand words need less care than a thousand.
_KEYWORDS: dict[str, Any] = {
    "front_end.frame_length": 400,
    "front_end.frame_step": 160,
    "front_end.fft_length": 512,
    "front_end.num_mel_bins": 40,
    "clip.seconds": 1.0,
    "augment.time_shift": 0.1,
    "training.epochs": 30,
}

# Thousands of cuts of up to four seconds from a thousand recordings.
_URBAN: dict[str, Any] = {
    "clip.seconds": 4.0,
    "augment.mixup_alpha": 0.5,
    "training.weight_decay": 0.1,
    "training.epochs": 60,
}

# Spoken words by voices that were not trained on: what differs between speakers (the vocal tract, pace, level,
# microphone) is varied. Chosen on the first speaker of FSDD alone.
_NEW_SPEAKERS: dict[str, Any] = {
    **_SPOKEN_WORDS,
    "augment.speed.probability": 0.7,
    "augment.speed.factor": [0.8, 1.25],
    "augment.frequency_shift": 3,
    "augment.filter_augment.probability": 0.7,
    "augment.noise_probability": 0.5,
    "augment.gain_db": 12.0,
}

# Emotion is in pitch, pace and level: none of them is varied much. Few speakers: other microphones are.
_EMOTION: dict[str, Any] = {
    "front_end.frame_length": 512,
    "front_end.frame_step": 256,
    "front_end.fft_length": 512,
    "clip.seconds": 3.0,
    "augment.time_shift": 0.1,
    "augment.gain_db": 3.0,
    "augment.filter_augment.probability": 0.5,
    "training.weight_decay": 0.1,
    "training.epochs": 80,
}

# Ten seconds anywhere of a track say its genre; the scores of all of them are averaged.
_GENRE: dict[str, Any] = {
    "clip.seconds": 10.0,
    "augment.frequency_shift": 2,
    "augment.mixup_alpha": 0.5,
    "training.weight_decay": 0.1,
    "training.epochs": 80,
}

# Clips of any length with several labels: what is mixed in stays audible beside the rest.
_TAGGING: dict[str, Any] = {
    "clip.seconds": 5.0,
    "augment.mixup_alpha": 0.5,
    "training.label_smoothing": 0.0,
    "training.weight_decay": 0.02,
    "training.epochs": 50,
}

_SYNTHETIC: dict[str, Any] = {
    "front_end.frame_length": 512,
    "front_end.frame_step": 256,
    "front_end.fft_length": 512,
    "front_end.num_mel_bins": 40,
    "clip.seconds": 1.0,
    "training.epochs": 20,
    "training.batch_size": 16,
}

# A clip holds several of the sounds, so it takes longer to learn which is which.
_SYNTHETIC_TAGS: dict[str, Any] = {**_SYNTHETIC, "training.epochs": 40}

# Of bands that are made in the model, are not standardised, or are not in the order of frequency, which these would
# spoil.
_NO_CHANGE_OF_BANDS: dict[str, Any] = {"augment.filter_augment.probability": 0.0, "augment.frequency_shift": 0}

# librosa's features, as a small dense network over their means and deviations likes them. Masks would hide whole
# features from it. Five octaves of contrast fit below half of 8 kHz.
_LIBROSA_FEATURES: dict[str, Any] = {
    "front_end.feature": "mfcc+chroma+spectral_contrast+spectral_centroid+spectral_bandwidth+spectral_rolloff"
    "+spectral_flatness+rms+zero_crossing_rate",
    "front_end.contrast_bands": 5,
    "augment.time_masks": 0,
    "augment.frequency_masks": 0,
    **_NO_CHANGE_OF_BANDS,
    "training.weight_decay": 0.1,
}

# Strings of words: nothing may be rotated to the other end, and no mask may hide a whole word.
_TRANSCRIPTION: dict[str, Any] = {
    "augment.time_shift": 0.0,
    "augment.speed.probability": 0.0,
    "augment.time_mask_fraction": 0.02,
    "augment.mixup_alpha": 0.0,
    "training.learning_rate": 1e-3,
    "training.weight_decay": 0.05,
    "training.epochs": 60,
}

# What YAMNet's published weights were learnt with. Masks would be loud, as 0 is not the mean of these features.
_YAMNET: dict[str, Any] = {
    "front_end.sample_rate": 16_000,
    "front_end.frame_length": 400,
    "front_end.frame_step": 160,
    "front_end.fft_length": 512,
    "front_end.spectrum": "magnitude",
    "front_end.num_mel_bins": 64,
    "front_end.lower_edge_hertz": 125.0,
    "front_end.upper_edge_hertz": 7_500.0,
    "front_end.mel_scale": "htk",
    "front_end.mel_norm": "none",
    "front_end.log_offset": 1e-3,
    "front_end.standardize": False,
    "augment.time_masks": 0,
    "augment.frequency_masks": 0,
    **_NO_CHANGE_OF_BANDS,
}

_BY_MODEL: dict[str, dict[str, Any]] = {
    "dense": _LIBROSA_FEATURES,
    "ctc": _TRANSCRIPTION,
    "attention": {"training.learning_rate": 1e-3, "training.weight_decay": 0.05},
    # Nine thousand weights take large steps: at a fifth of this rate five epochs of FSDD teach it nothing.
    "bc_resnet": {"training.learning_rate": 0.01},
    "waveform_cnn": {"front_end.feature": "waveform", **_NO_CHANGE_OF_BANDS},
    "yamnet": _YAMNET,
    "audio_text": {"training.learning_rate": 1e-3, "training.weight_decay": 0.05, "text.length": 16},
}


for _name, _recipe in {
    "environmental": Recipe(
        purpose="sounds of the surroundings, a few hundred clips of some seconds",
        settings=_ENVIRONMENTAL,
        of_model=_ENVIRONMENTAL_OF_MODEL,
        datasets=("esc10", "esc50"),
        command="tfaudio train --dataset=esc10 --data_dir=ESC-10 --model=cnn --folds=all --seeds=0,1,2 "
        "--output_dir=runs/esc10",
        minutes=127,
        accuracy="93.9 % on ESC-10, mean of the 5 official folds and three seeds",
        result="esc10_cnn",
    ),
    "spoken_words": Recipe(
        purpose="single words, by voices that are trained on",
        settings=_SPOKEN_WORDS,
        datasets=("fsdd",),
        command="tfaudio train --dataset=fsdd --data_dir=FSDD --model=cnn --seeds=0,1,2 --output_dir=runs/fsdd",
        minutes=9,
        accuracy="99.9 % on FSDD, official split, whose speakers are those of training; mean of three seeds",
        result="fsdd_cnn",
    ),
    "keywords": Recipe(
        purpose="single words of many speakers, tens of thousands of recordings",
        settings=_KEYWORDS,
        datasets=("speech_commands_v1", "speech_commands_v1_12", "speech_commands_v2", "speech_commands_v2_12"),
        command="tfaudio train --dataset=speech_commands_v2_12 --data_dir=speech_commands --model=bc_resnet "
        "--output_dir=runs/keywords",
    ),
    "urban": Recipe(
        purpose="sounds of a city, thousands of cuts of some seconds",
        settings=_URBAN,
        datasets=("urbansound8k",),
        command="tfaudio train --dataset=urbansound8k --data_dir=UrbanSound8K --model=cnn --folds=all "
        "--output_dir=runs/urban",
    ),
    "new_speakers": Recipe(
        purpose="single words, by voices that are not trained on",
        settings=_NEW_SPEAKERS,
        command="tfaudio train --recipe=new_speakers --dataset=fsdd --data_dir=FSDD --model=cnn "
        "--protocol=leave_one_group_out --output_dir=runs/new_speakers",
        accuracy="87.4 % on one speaker of FSDD, where spoken_words has 79.4 %, and by whom it was chosen; on all of "
        "them not measured",
    ),
    "emotion": Recipe(
        purpose="emotions of speech, a few seconds a sentence",
        settings=_EMOTION,
        datasets=("ravdess", "emodb", "crema_d"),
        command="tfaudio train --dataset=emodb --data_dir=EmoDB --model=cnn --protocol=leave_one_group_out "
        "--output_dir=runs/emodb",
    ),
    "genre": Recipe(
        purpose="genres of music, tracks of 30 s",
        settings=_GENRE,
        datasets=("gtzan", "fma_small"),
        command="tfaudio train --dataset=gtzan --data_dir=GTZAN --model=cnn --output_dir=runs/gtzan",
    ),
    "tagging": Recipe(
        purpose="sound events, clips of any length",
        settings=_TAGGING,
        datasets=("fsd50k",),
        command="tfaudio train --dataset=fsd50k --data_dir=FSD50K --model=cnn --output_dir=runs/fsd50k",
    ),
    "transcription": Recipe(
        purpose="strings of known words, joined of single ones",
        settings={**_SPOKEN_WORDS, **_TRANSCRIPTION},
        command="tfaudio transcribe --recipe=transcription --dataset=fsdd --data_dir=FSDD "
        "--test_speakers=george,jackson --output_dir=runs/digits",
        minutes=8,
        accuracy="41.6 % of the words wrong, by two speakers of FSDD that were left out",
        result="fsdd_strings",
    ),
}.items():
    RECIPES.register(_name)(_recipe)

# Built-in data, which no task is like.
_BUILT_IN = {"synthetic": _SYNTHETIC, "synthetic_tags": _SYNTHETIC_TAGS}


def recipe(dataset: str, model: str, *, name: str | None = None) -> Mapping[str, Any]:
    """Returns the settings, by dotted key, that are known to work for a data set and a model; may be empty.

    Args:
      dataset: name of the data set, by which the recipe is chosen where `name` is None.
      model: name of the architecture, which changes the recipe.
      name: one of RECIPES.

    Raises:
      TfaudioError: if there is no recipe of that name.

    >>> recipe("fsdd", "cnn")["front_end.sample_rate"]
    8000
    >>> recipe("folder", "cnn", name="genre")["clip.seconds"]
    10.0
    """
    if name is None:
        name = next((known for known in RECIPES if dataset in RECIPES[known].datasets), None)
    if name is None:
        return {**_BUILT_IN.get(dataset, {}), **_BY_MODEL.get(model, {})}
    chosen = RECIPES[name]
    return {**chosen.settings, **_BY_MODEL.get(model, {}), **chosen.of_model.get(model, {})}
