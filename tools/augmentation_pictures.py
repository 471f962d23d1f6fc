"""Writes tfaudio/augment/README.md and its pictures: `python tools/augmentation_pictures.py`.

Each picture shows a built-in sound before and after the change that the settings beside it switch on.
"""

from __future__ import annotations

import io
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tfaudio.config import AugmentConfig, FrontEndConfig
from tfaudio.files import write_atomically

README = ROOT / "tfaudio" / "augment" / "README.md"
PICTURES = ROOT / "tools" / "pictures" / "augment"
OFF = {
    "time_shift": 0,
    "gain_db": 0,
    "noise_probability": 0,
    "time_masks": 0,
    "frequency_masks": 0,
    "mixup_alpha": 0,
}


@dataclass(frozen=True)
class Change:
    """One change: its name, what it does, the settings that the picture is made with, and the seed that shows it."""

    name: str
    text: str
    settings: dict[str, Any]
    seed: int = 1

    @property
    def title(self) -> str:
        return self.name.replace("_", " ").capitalize()


WAVEFORM = (
    Change(
        "random_crop",
        "A window anywhere in a recording that is longer than `clip.seconds`; off, the first.",
        {"random_crop": True},
        3,
    ),
    Change("speed", "Plays faster or slower: pitch and tempo move together.", {"speed.factor": [1.4, 1.5]}),
    Change("time_stretch", "Another tempo at the same pitch (phase vocoder).", {"time_stretch.factor": [1.4, 1.5]}),
    Change("pitch_shift", "Another pitch at the same tempo.", {"pitch_shift.semitones": [7, 9]}),
    Change("time_shift", "Rotates the clip: what leaves one end enters the other.", {"time_shift": 0.5}, 2),
    Change("polarity", "Turns the sign; nothing in a spectrogram shows it.", {"polarity_probability": 1.0}),
    Change(
        "reverb",
        "A room: simulated (image sources), exponentially decaying noise, or recorded impulse responses.",
        {"reverb.source": "room", "reverb.rt60_seconds": [0.6, 0.6]},
    ),
    Change("gain", "Another level.", {"gain_db": 12.0}, 8),
    Change("background", "Recordings of a folder, mixed in at a drawn ratio.", {"background.snr_db": [3, 6]}),
    Change(
        "noise",
        "White, pink or brown noise at a drawn ratio.",
        {"noise_probability": 1.0, "noise_snr_db": [3, 3], "noise_colors": ["pink"]},
    ),
    Change("filter", "The response of another microphone or loudspeaker.", {"filter.kinds": ["band_pass"]}),
    Change("clipping", "A recorder that was set too loud.", {"clipping.below_peak_db": [12, 12]}),
    Change("codec", "A telephone (300 to 3400 Hz, mu-law) or the cut-off of few bits.", {"codec.kinds": ["telephone"]}),
)
FEATURES = (
    Change("filter_augment", "Gains in straight lines over frequency.", {"filter_augment.deviations": 1.5}, 3),
    Change("frequency_shift", "All bins up or down.", {"frequency_shift": 12}, 2),
    Change("time_warp", "Moves an instant and stretches what lies before and behind.", {"time_warp": 0.3}, 4),
    Change(
        "time_masks", "Stretches of frames set to the mean (SpecAugment).", {"time_masks": 2, "time_mask_fraction": 0.2}
    ),
    Change(
        "frequency_masks",
        "Bands set to the mean (SpecAugment).",
        {"frequency_masks": 2, "frequency_mask_fraction": 0.2},
        5,
    ),
)
MIXING = (
    Change("same_class", "Another example of the same class, mixed in; the label stays.", {}, 2),
    Change("cutmix", "A stretch of another example, and its label by the share of time.", {}, 6),
    Change("mixup", "Another example, mixed in, and its label by its share.", {"mixup_alpha": 1.0}, 3),
    Change(
        "between_class",
        "The waveform of another example, mixed in as if it were equally loud, and its label by its share. It comes "
        "before all that is done to features, and is for clips of one length.",
        {},
        3,
    ),
)
# Keys that do not begin with the name of the change that they belong to.
_OTHER_KEYS = {
    "polarity": ("polarity_probability",),
    "gain": ("gain_db",),
    "noise": ("noise_probability", "noise_snr_db", "noise_colors"),
    "time_masks": ("time_masks", "time_mask_fraction"),
    "frequency_masks": ("frequency_masks", "frequency_mask_fraction"),
    "mixup": ("mixup_alpha", "mixup_probability"),
}
_ABOUT = """# Augmentation

Made by `python tools/augmentation_pictures.py`; change that, not this.

Random changes to training examples, inside `tf.data` and never at inference. Each is stateless: it follows from
`training.seed`, the epoch and the recording, so a run gives the same batches at any parallelism, and a run that was
stopped goes on with those that it would have had. A setting of 0 switches a change off. What has a `probability`
changes that share of the examples, and costs only where it is drawn. A range is a lowest and a highest value, of which
one is drawn for each example. On the command line: `tfaudio train --set=augment.reverb.probability=0.3 ...`. The
settings are explained in `tfaudio/config/augment.py`; below they stand with their defaults.
"""
_SECTIONS = (
    (
        "Of the waveform",
        """In the order in which a sound meets them: the source (speed, tempo, pitch, where the clip was cut, polarity),
the room, what else is heard there, the recorder (response, then clipping), the line (a codec). The length stays
but for the crop, which comes before all others.
""",
        WAVEFORM,
    ),
    (
        "Of the features",
        """They are made for standardised logarithms, where 0 is a bin's mean and adding is a gain. The masks come after
mixing.
""",
        FEATURES,
    ),
    (
        "Between examples of a batch",
        """The partner is the neighbour in the shuffled batch, or for `same_class` the next example with the same label.
Targets mix by the same shares as the sounds, whether one-hot or multi-hot. Under a mask (recordings taken whole) a
mixture has audio where either has, and CutMix stays where both have.
""",
        MIXING,
    ),
)


def main() -> None:
    write_atomically(README, catalogue())
    PICTURES.mkdir(parents=True, exist_ok=True)
    draw_pictures()
    print(README)


def catalogue() -> str:
    """The README, from the settings' defaults and the table above."""
    defaults = AugmentConfig().to_dict()
    parts = [_ABOUT]
    for heading, text, changes in _SECTIONS:
        parts.append(f"## {heading}\n\n{text}")
        for change in changes:
            settings = "\n".join(
                f"| `augment.{key}` | `{json.dumps(value)}` |" for key, value in settings_of(change, defaults).items()
            )
            made_with = ", ".join(f"`{key}={json.dumps(value)}`" for key, value in with_probability(change).items())
            parts.append(
                f"### {change.title}\n\n{change.text}\n\n| setting | default |\n|---|---|\n{settings}\n\n"
                f"![{change.title}](../../tools/pictures/augment/{change.name}.png)\n\nWith {made_with}.\n"
            )
    return "\n".join(parts)


def settings_of(change: Change, defaults: dict[str, Any]) -> dict[str, Any]:
    """The settings of a change by dotted key, with their defaults."""
    keys = _OTHER_KEYS.get(change.name, (change.name,))
    flat: dict[str, Any] = {}
    for key in keys:
        value = defaults[key]
        flat |= {f"{key}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {key: value}
    return flat


def with_probability(change: Change) -> dict[str, Any]:
    """The settings of the picture: those of the change, and its probability where it is a group."""
    is_group = isinstance(AugmentConfig().to_dict().get(change.name), dict)
    return {**({f"{change.name}.probability": 1.0} if is_group else {}), **change.settings}


def draw_pictures() -> None:
    """Draws and writes every picture."""
    import numpy as np
    import tensorflow as tf

    from tfaudio.audio.framing import fix_length
    from tfaudio.augment.mixing import Examples, between_class_mix, mix_examples
    from tfaudio.augment.spectrogram import change_features, spec_augment
    from tfaudio.augment.waveform import WaveformAugmentation, random_start
    from tfaudio.data.synthetic import make_sound
    from tfaudio.features.front_end import compute_features

    front_end = FrontEndConfig(frame_step=128)
    rate = front_end.sample_rate

    def sound(*kinds: str, index: int = 2) -> np.ndarray:
        parts = [make_sound(kind, seed=4, index=index, sample_rate=rate, seconds=1.0) for kind in kinds]
        return np.concatenate([part / np.abs(part).max() * 0.7 for part in parts])

    def features(waveform: np.ndarray) -> np.ndarray:
        return compute_features(waveform, front_end).numpy()

    base = sound("bell", "rising_sweep")
    mean, deviation = features(base).mean(), features(base).std()

    def standardised(waveform: np.ndarray) -> np.ndarray:
        return (features(waveform) - mean) / deviation

    for change in WAVEFORM:
        config = AugmentConfig().override({**OFF, **_with_folder(change)})
        noise = sound("crackle", "hum")
        augmentation = WaveformAugmentation(config, rate, backgrounds=[noise])
        seed, window = (7, change.seed), len(base)
        if change.name == "random_crop":
            window //= 2
        start = random_start(len(base), window, seed)
        changed = augmentation(fix_length(tf.constant(base), window, short="pad", start=start), seed).numpy()
        panels = [("before", base, standardised(base)), ("after", changed, standardised(changed))]
        save(change.name, panels)
    batch = standardised(base)[np.newaxis]
    for change in FEATURES:
        config = AugmentConfig().override({**OFF, **_with_folder(change)})
        changed = change_features(tf.constant(batch), None, config, (7, change.seed))
        changed = spec_augment(changed, config, (7, change.seed)).numpy()
        save(change.name, [("before", None, batch[0]), ("after", None, changed[0])])
    for change in MIXING:
        alike = change.name == "same_class"
        partner = sound("bell", "rising_sweep", index=5) if alike else sound("clicks", "falling_sweep")
        config = AugmentConfig().override({**OFF, **_with_folder(change)})
        targets = tf.constant(np.ones([2, 1]) if alike else np.eye(2), tf.float32)
        pair, seed = np.stack([base, partner]), (7, change.seed)
        if change.name == "between_class":
            pair[1] *= 0.1  # what it makes up for
            waveforms, targets = between_class_mix(tf.constant(pair), targets, config.between_class, seed)
            mixed = Examples(standardised(waveforms.numpy()), targets, None)
        else:
            mixed = mix_examples(Examples(tf.constant(standardised(pair)), targets, None), config, seed, seed)
        own = np.asarray(mixed.targets[0])
        shares = " + ".join(f"{share:.2f} {name}" for share, name in zip(own, "AB", strict=False))
        after = "after: the same label" if alike else f"after: {shares}"
        save(
            change.name,
            [
                ("A", None, standardised(pair[0])),
                ("another A" if alike else "B", None, standardised(pair[1])),
                (after, None, np.asarray(mixed.features[0])),
            ],
        )


def _with_folder(change: Change) -> dict[str, Any]:
    settings = with_probability(change)
    return {**settings, "background.dir": "unused"} if change.name == "background" else settings


def save(name: str, panels: list[tuple[str, Any, Any]]) -> None:
    """Draws panels side by side: a title, a waveform (or none) and features [frames, bins] each; 32 colours."""
    from matplotlib.figure import Figure
    from PIL import Image

    with_waveform = panels[0][1] is not None
    figure = Figure(figsize=(6.4, 2.2 if with_waveform else 1.6), layout="constrained")
    ratios = [1, 2] if with_waveform else [1]
    grid = figure.subplots(len(ratios), len(panels), squeeze=False, gridspec_kw={"height_ratios": ratios})
    for column, (title, waveform, features) in enumerate(panels):
        grid[0, column].set_title(title, fontsize=8, loc="left")
        if with_waveform:
            grid[0, column].plot(waveform, linewidth=0.4)
            grid[0, column].set(xlim=(0, len(waveform)), ylim=(-1, 1))
        grid[-1, column].imshow(features.T, origin="lower", aspect="auto", cmap="magma", vmin=-2, vmax=2.5)
        for axes in grid[:, column]:
            axes.set(xticks=[], yticks=[])
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=80)
    small = io.BytesIO()
    Image.open(buffer).convert("RGB").quantize(32).save(small, format="png", optimize=True)
    write_atomically(PICTURES / f"{name}.png", small.getvalue())


if __name__ == "__main__":
    main()
