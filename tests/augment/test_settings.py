"""The settings of augmentation: every one can be set by its dotted key, and what does not fit is named."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from absl import flags

from tfaudio.cli import train
from tfaudio.cli.settings import settings_from
from tfaudio.config import RunConfig
from tfaudio.errors import TfaudioError

# Every key of augment, with another value than its default.
OTHERS: dict[str, Any] = {
    "random_crop": False,
    "time_shift": 0.1,
    "polarity_probability": 0.5,
    "gain_db": 3.0,
    "noise_probability": 1.0,
    "noise_snr_db": [0.0, 5.0],
    "noise_colors": ["pink", "brown"],
    "speed.probability": 0.1,
    "speed.factor": [0.5, 2.0],
    "time_stretch.probability": 0.1,
    "time_stretch.factor": [0.5, 2.0],
    "pitch_shift.probability": 0.1,
    "pitch_shift.semitones": [-1.0, 3.0],
    "reverb.probability": 0.1,
    "reverb.source": "files",
    "reverb.dir": "rooms",
    "reverb.rt60_seconds": [0.1, 0.2],
    "reverb.longest_seconds": 0.2,
    "reverb.responses": 3,
    "background.probability": 0.1,
    "background.dir": "cafe",
    "background.snr_db": [0.0, 1.0],
    "background.memory_megabytes": 1.0,
    "filter.probability": 0.1,
    "filter.kinds": ["low_pass"],
    "filter.low_pass_hertz": [3000.0, 4000.0],
    "filter.high_pass_hertz": [10.0, 20.0],
    "clipping.probability": 0.1,
    "clipping.below_peak_db": [3.0, 6.0],
    "codec.probability": 0.1,
    "codec.kinds": ["low_rate"],
    "codec.bandwidth_hertz": [3000.0, 4000.0],
    "time_masks": 1,
    "time_mask_fraction": 0.2,
    "frequency_masks": 1,
    "frequency_mask_fraction": 0.2,
    "time_warp": 0.1,
    "frequency_shift": 2,
    "filter_augment.probability": 0.1,
    "filter_augment.bands": [2, 3],
    "filter_augment.deviations": 0.5,
    "mixup_alpha": 1.0,
    "mixup_probability": 0.5,
    "cutmix.probability": 0.1,
    "cutmix.alpha": 0.5,
    "same_class.probability": 0.1,
    "same_class.alpha": 0.5,
    "between_class.probability": 0.1,
    "between_class.alpha": 0.5,
}


def dotted(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= dotted(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def test_every_key_can_be_set_on_the_command_line() -> None:
    flag_values = flags.FlagValues()
    train.define_flags(flag_values)
    text = {key: str(value).replace("'", '"').replace("False", "false") for key, value in OTHERS.items()}
    flag_values(["train", "--output_dir=unused", *(f"--set=augment.{key}={value}" for key, value in text.items())])
    config = settings_from(flag_values)
    found = dotted(config.augment.to_dict())
    assert {key: list(v) if isinstance(v, tuple) else v for key, v in found.items()} == OTHERS
    assert not [key for key, value in dotted(RunConfig().augment.to_dict()).items() if value == found[key]]
    assert RunConfig.from_json(config.to_json()) == config


def test_what_costs_or_changes_results_is_off_by_default() -> None:
    on = {key: value for key, value in dotted(RunConfig().augment.to_dict()).items() if key.endswith("probability")}
    assert {key for key, value in on.items() if value} == {"noise_probability", "mixup_probability"}


def test_the_catalogue_is_the_one_that_the_settings_give(repository: Path) -> None:
    spec = importlib.util.spec_from_file_location("pictures", repository / "tools" / "augmentation_pictures.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    sys.modules["pictures"] = script  # where its dataclass looks for the types of its fields
    spec.loader.exec_module(script)
    readme = repository / "tfaudio" / "augment" / "README.md"
    text = readme.read_text("utf-8")
    assert text == script.catalogue(), "run tools/augmentation_pictures.py"
    told = set(re.findall(r"^\| `augment\.([\w.]+)`", text, re.MULTILINE))
    assert told == set(OTHERS)
    pictures = re.findall(r"\]\((.+\.png)\)", text)
    assert len(pictures) == 22
    assert all((readme.parent / picture).is_file() for picture in pictures)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"speed.probability": 1.5}, r"^augment\.speed\.probability must be in \[0, 1\], not 1\.5"),
        ({"polarity_probability": -0.1}, r"^augment\.polarity_probability must be in \[0, 1\]"),
        ({"speed.factor": [0.1, 1.0]}, r"^augment\.speed\.factor must be 0\.25 to 4, not 0\.1"),
        ({"time_stretch.factor": [1.2, 0.9]}, r"^augment\.time_stretch\.factor must be a lowest and a highest"),
        ({"pitch_shift.semitones": [-40, 0]}, r"^augment\.pitch_shift\.semitones must be -24 to 24"),
        ({"reverb.rt60_seconds": [0.3]}, r"^augment\.reverb\.rt60_seconds must be a lowest and a highest time"),
        ({"reverb.longest_seconds": 9}, r"^augment\.reverb\.longest_seconds must be"),
        ({"reverb.responses": 0}, r"^augment\.reverb\.responses must be 1 to 1000"),
        ({"reverb.source": "rooms"}, r"augment\.reverb\.source 'rooms'.*Did you mean 'room'"),
        (
            {"reverb.source": "files", "reverb.probability": 0.1},
            r'^augment\.reverb\.probability is above 0 and augment\.reverb\.source "files", but augment\.reverb\.dir',
        ),
        ({"background.probability": 0.1}, r"but augment\.background\.dir names no folder"),
        ({"background.probability": 0.1, "background.dir": ""}, r"but augment\.background\.dir names no folder"),
        ({"background.snr_db": [10, 0]}, r"^augment\.background\.snr_db must be a lowest and a highest ratio"),
        ({"filter.kinds": []}, r"^augment\.filter\.kinds must name each choice once"),
        ({"filter.kinds": ["low_pass", "low_pass"]}, r"^augment\.filter\.kinds must name each choice once"),
        ({"filter.low_pass_hertz": [500, 900]}, r"^augment\.filter\.high_pass_hertz .* must lie below"),
        ({"codec.kinds": ["mp3"]}, r"augment\.codec\.kinds 'mp3'; known: telephone, low_rate"),
        ({"codec.bandwidth_hertz": [0, 10]}, r"^augment\.codec\.bandwidth_hertz must be 1 to"),
        ({"clipping.below_peak_db": [-3, 10]}, r"^augment\.clipping\.below_peak_db must be 0 to 100"),
        ({"noise_colors": "pink"}, r"^augment\.noise_colors must be a list"),
        ({"noise_colors": ["blue"]}, r"augment\.noise_colors 'blue'; known: white, pink, brown"),
        ({"time_warp": 0.6}, r"^augment\.time_warp must be 0 to 0\.5"),
        ({"frequency_shift": -1}, r"^augment\.frequency_shift must be 0 to"),
        ({"filter_augment.bands": [0, 3]}, r"^augment\.filter_augment\.bands must be 1 to"),
        ({"filter_augment.bands": [1.5, 3]}, r"^augment\.filter_augment\.bands must be of type int"),
        ({"filter_augment.deviations": -1}, r"^augment\.filter_augment\.deviations must be 0 to"),
        ({"cutmix.alpha": 0}, r"^augment\.cutmix\.alpha must be above 0"),
        ({"same_class.alpha": 0}, r"^augment\.same_class\.alpha must be above 0"),
        ({"between_class.alpha": 0}, r"^augment\.between_class\.alpha must be above 0"),
        ({"reverb": 0.5}, r"^augment\.reverb must be a mapping of settings such as augment\.reverb\.probability"),
        ({"reverb.probabilty": 0.5}, r"Unknown setting 'augment\.reverb\.probabilty'.*'augment\.reverb\.probability'"),
    ],
)
def test_what_does_not_fit_is_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(TfaudioError, match=message):
        RunConfig().override({f"augment.{key}": value for key, value in values.items()})
