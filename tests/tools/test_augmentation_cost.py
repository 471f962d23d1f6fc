"""The benchmark of augmentation: what it calls off is off."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import tensorflow as tf

from tfaudio.augment.mixing import Examples, between_class_mix, mix_examples
from tfaudio.augment.spectrogram import change_features, spec_augment
from tfaudio.augment.waveform import WaveformAugmentation
from tfaudio.config import RunConfig

# Everything that a configuration can ask for without files.
EVERYTHING = {
    **{"time_shift": 0.5, "polarity_probability": 1.0, "gain_db": 9.0, "noise_probability": 1.0, "time_warp": 0.2},
    **{"time_masks": 2, "frequency_masks": 2, "frequency_shift": 3, "mixup_alpha": 1.0},
    **dict.fromkeys(("speed.probability", "time_stretch.probability", "pitch_shift.probability"), 1.0),
    **dict.fromkeys(("reverb.probability", "filter.probability", "clipping.probability", "codec.probability"), 1.0),
    **dict.fromkeys(("filter_augment.probability", "cutmix.probability", "same_class.probability"), 1.0),
    "between_class.probability": 1.0,
}


@pytest.fixture(scope="module")
def tool(repository: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("cost", repository / "tools" / "benchmark" / "augmentation.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def changed(config: RunConfig) -> bool:
    rng, seed = np.random.default_rng(0), (1, 2)
    augment = config.augment
    waveform = rng.normal(size=8_000).astype(np.float32)
    if not np.array_equal(WaveformAugmentation(augment, 16_000)(tf.constant(waveform), seed), waveform):
        return True
    features = tf.constant(rng.normal(size=(8, 30, 20)).astype(np.float32))
    examples = Examples(features, tf.one_hot(np.arange(8) % 4, 4), None, None)
    waveforms = tf.constant(rng.normal(size=(8, 100)).astype(np.float32))
    mixed, _ = between_class_mix(waveforms, examples.targets, augment.between_class, seed)
    if not np.array_equal(mixed, waveforms):
        return True
    results = (
        change_features(features, None, augment, seed),
        spec_augment(features, augment, seed),
        mix_examples(examples, augment, seed, seed).features,
    )
    return not all(np.array_equal(result, features) for result in results)


def test_off_is_off(tool: ModuleType) -> None:
    everything = RunConfig().override({f"augment.{name}": value for name, value in EVERYTHING.items()})
    assert changed(everything)
    assert not changed(everything.override(tool._OFF))
    for name, value in EVERYTHING.items():
        assert changed(RunConfig().override({**tool._OFF, f"augment.{name}": value})), name


def test_the_cost_is_the_share_of_the_throughput_that_is_lost(tool: ModuleType) -> None:
    assert tool.cost({"with": [2.0, 4.0, 2.5], "without": [1.0, 3.0, 2.0]}) == 0.25


def test_a_pipeline_that_was_timed_no_longer_works(tool: ModuleType) -> None:
    """Its buffers would be filled while another is timed."""
    made = []

    def make() -> Iterator[int]:
        while True:
            made.append(len(made))
            time.sleep(0.001)
            yield made[-1]

    dataset = tf.data.Dataset.from_generator(make, output_signature=tf.TensorSpec([], tf.int64)).prefetch(1_000)
    seconds, _ = tool.time_of(dataset, untimed=3, steps=20)
    assert seconds >= 0.001
    count = -1
    while count < len(made):  # a pipeline that works on rests when its buffer is full
        count = len(made)
        time.sleep(0.1)
    assert 23 <= count < 900
