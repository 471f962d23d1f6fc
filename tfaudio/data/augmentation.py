"""The recordings that augmentation mixes in, read before training: backgrounds and impulse responses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfaudio.audio.resample import resample
from tfaudio.augment.waveform import WaveformAugmentation
from tfaudio.config import RunConfig
from tfaudio.data.readers.walk import files_below
from tfaudio.data.spec import AUDIO_EXTENSIONS, Skipped
from tfaudio.data.split import Split
from tfaudio.errors import TfaudioError
from tfaudio.files import absolute
from tfaudio.golden import sha256
from tfaudio.sound_file import mono_blocks, open_recording

Sounds = list[npt.NDArray[np.float32]]

_MOST_RESPONSES_MEGABYTES = 512.0


def waveform_augmentation(config: RunConfig) -> WaveformAugmentation:
    """Makes the waveform changes of a configuration, with the recordings that they need.

    Args:
      config: augment, front_end.sample_rate and training.seed are used.

    Raises:
      TfaudioError: as `augmentation_sounds`.
    """
    backgrounds, responses = augmentation_sounds(config)
    return WaveformAugmentation(
        config.augment,
        config.front_end.sample_rate,
        seed=config.training.seed,
        backgrounds=backgrounds,
        responses=responses,
    )


def augmentation_sounds(config: RunConfig) -> tuple[Sounds | None, Sounds | None]:
    """Reads the backgrounds and the impulse responses that a configuration asks for; None where it asks for none.

    Raises:
      TfaudioError: if a folder is missing, holds no recordings, one that cannot be used, or too many.
    """
    rate, background, reverb = config.front_end.sample_rate, config.augment.background, config.augment.reverb
    backgrounds = responses = None
    if background.probability:
        limit_key = "augment.background.memory_megabytes"
        backgrounds = _read_folder(
            background.dir, "augment.background.dir", rate, background.memory_megabytes, f"raise {limit_key}, or "
        )
    if reverb.probability and reverb.source == "files":
        responses = _read_folder(reverb.dir, "augment.reverb.dir", rate, _MOST_RESPONSES_MEGABYTES, "")
    return backgrounds, responses


def background_files(config: RunConfig) -> list[Path]:
    """Returns the recordings that augmentation mixes in; none where it mixes in nothing."""
    background = config.augment.background
    if not background.probability or not background.dir:
        return []
    found = files_below(absolute(background.dir), [])
    return [path for path in found if path.suffix.lower() in AUDIO_EXTENSIONS and path.is_file()]


def check_backgrounds(config: RunConfig, split: Split) -> None:
    """Raises TfaudioError if the backgrounds hold a recording that a run validates or tests on, under whatever name."""
    backgrounds = background_files(config)
    held_out = [Path(clip.path) for clip in (*split.validation, *split.test)]
    # Few files are of one size, so few are read.
    sizes = {path.stat().st_size for path in backgrounds}
    alike = {path for path in held_out if path.is_file() and path.stat().st_size in sizes}
    sizes = {path.stat().st_size for path in alike}
    hashes = {sha256(path.read_bytes()) for path in alike}
    same_size = [path for path in backgrounds if path.stat().st_size in sizes]
    known = [path.name for path in same_size if sha256(path.read_bytes()) in hashes]
    if known:
        raise TfaudioError(
            f"augment.background.dir, {config.augment.background.dir}, holds {len(known)} of the recordings to "
            f"validate or test on ({', '.join(sorted(set(known))[:3])}), which training must not hear; put the others "
            "into a folder of their own."
        )


def _read_folder(folder: str | None, key: str, sample_rate: int, megabytes: float, way_out: str) -> Sounds:
    """Decodes all recordings of a folder, and of the folders in it, in the order of their names.

    Args:
      folder: that folder.
      key: the setting that names it.
      sample_rate: Hz, to resample to.
      megabytes: that the waveforms may take.
      way_out: what messages advise where they take more.

    Returns:
      float32 [n] each; at least one.
    """
    root = absolute(folder or "")
    if not folder or not root.is_dir():
        raise TfaudioError(f"{key} names {folder}, which is no folder; name one that holds recordings.")
    unreadable: list[Skipped] = []
    waveforms: Sounds = []
    left_bytes = megabytes * 2**20
    for path in files_below(root, unreadable):
        if path.suffix.lower() not in AUDIO_EXTENSIONS:
            continue
        waveform = _read(path, key, sample_rate, left_bytes)
        if waveform is None:
            raise TfaudioError(
                f"The recordings of {key}, {root}, take more than {megabytes:g} MB of memory; {way_out}take fewer."
            )
        left_bytes -= waveform.nbytes
        waveforms.append(waveform)
    if unreadable:
        first = unreadable[0]
        raise TfaudioError(f"{first.path} of {key} cannot be used: {first.reason}; mend or remove it.")
    if not waveforms:
        raise TfaudioError(f"{key} names {root}, which holds no recordings; name another folder.")
    return waveforms


def _read(path: Path, key: str, sample_rate: int, most_bytes: float) -> npt.NDArray[np.float32] | None:
    """One recording, float32 [n]; None if it is longer than it may be, found without decoding the rest."""
    name = f"{path} (of {key})"
    blocks: list[npt.NDArray[np.float32]] = []
    with open_recording(path, name) as sound:
        source_rate, decoded = sound.samplerate, 0
        for block in mono_blocks(sound, name):
            blocks.append(block)
            decoded += len(block)
            if 4 * decoded * sample_rate / source_rate > most_bytes:
                return None
    waveform: npt.NDArray[np.float32] = resample(tf.constant(np.concatenate(blocks)), source_rate, sample_rate).numpy()
    if not waveform.any():
        raise TfaudioError(f"{name} is silent throughout; remove it.")
    return waveform
