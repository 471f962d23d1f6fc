"""The waveform as a feature, and the network that hears it."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tfaudio.bundle import load_bundle
from tfaudio.config import FrontEndConfig, RunConfig
from tfaudio.data.labelled import read_labelled_data
from tfaudio.errors import TfaudioError
from tfaudio.export.streaming_timing import check_front_end
from tfaudio.features.family import bin_names, check_features
from tfaudio.features.front_end import FrontEnd, compute_features
from tfaudio.models.classifier import body, build_classifier
from tfaudio.recipes import recipe
from tfaudio.training.trainer import train

CONFIG = FrontEndConfig(feature="waveform", frame_step=80)


def test_the_waveform_comes_at_one_level_in_steps_filled_up_with_silence():
    noise = np.random.default_rng(0).uniform(-1, 1, 1000).astype(np.float32)
    waveform = np.stack([noise, 1e-3 * noise])
    steps = compute_features(waveform, CONFIG).numpy()
    assert steps.shape == (2, CONFIG.num_frames(1000), CONFIG.num_bins) == (2, 13, 80)
    expected = noise / np.sqrt(np.mean(np.square(noise, dtype=np.float64)))
    np.testing.assert_allclose(steps.reshape(2, -1)[:, :1000], [expected] * 2, rtol=1e-5)
    assert np.abs(compute_features(1e-8 * noise, CONFIG)).max() < 1e-2  # as good as silence, and left so
    assert not compute_features(np.zeros(1000, np.float32), CONFIG).numpy().any()
    assert not steps.reshape(2, -1)[:, 1000:].any()
    np.testing.assert_array_equal(FrontEnd(CONFIG)(waveform), steps)
    assert bin_names(CONFIG)[:2] == ["sample_0", "sample_1"]
    check_features(CONFIG)


def test_samples_stay_as_they_are():
    config = RunConfig(front_end=CONFIG)
    assert (CONFIG.takes_steps, CONFIG.learnt, CONFIG.standardized, CONFIG.num_learnt_bins) == (True, False, False, 80)
    classifier = build_classifier(config.override({"model.name": "waveform_cnn"}), 3)
    assert body(classifier) is classifier


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"front_end.feature": "waveform+rms"}, "'waveform' is no spectrum and stands alone, not waveform\\+rms"),
        ({"front_end.deltas": 1}, "front_end.deltas needs features that are not learnt"),
        ({"augment.time_warp": 0.1}, "augment.time_warp must be 0 for front_end.feature 'waveform', not 0.1"),
        ({"augment.frequency_shift": 1}, "augment.frequency_shift must be 0 for front_end.feature 'waveform', not 1"),
        (
            {"augment.filter_augment.probability": 0.5},
            "probability must be 0 for front_end.feature 'waveform', not 0.5",
        ),
    ],
)
def test_what_makes_no_sense_of_samples_is_refused(settings, message):
    with pytest.raises(TfaudioError, match=message):
        RunConfig(front_end=CONFIG).override(settings)
    with pytest.raises(TfaudioError, match=r"A stream cannot have front_end\.feature 'waveform', whose frames are no"):
        check_front_end(CONFIG)


def test_other_features_are_no_waveform():
    config = RunConfig().override({"model.name": "waveform_cnn"})
    with pytest.raises(TfaudioError, match=r"'waveform_cnn' hears the waveform, not 'mel'; set front_end\.feature to"):
        build_classifier(config, 3)
    options = {"members": [{"name": "cnn"}, {"name": "waveform_cnn"}]}
    with pytest.raises(TfaudioError, match="'waveform_cnn' hears the waveform, not 'mel'"):
        build_classifier(RunConfig().override({"model.name": "ensemble", "model.options": options}), 3)


def test_filters_learn_from_the_waveform():
    # Two tones an octave apart.
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    targets = np.arange(64) % 2
    hertz = np.where(targets == 0, 500.0, 1000.0)[:, None]
    tones = np.sin(2 * np.pi * (hertz * np.arange(1200) / 8000 + rng.uniform(size=(64, 1))))
    steps = compute_features((0.1 * tones + 0.02 * rng.normal(size=tones.shape)).astype(np.float32), CONFIG)
    config = RunConfig(front_end=CONFIG).override(
        {"model.name": "waveform_cnn", "model.options": {"width": 0.125, "bands": 16}}
    )
    classifier = build_classifier(config, 2, masked=False)
    classifier.compile(keras.optimizers.Adam(4e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    classifier.fit(steps, targets, epochs=25, batch_size=16, verbose=0)
    assert (classifier.predict(steps, verbose=0).argmax(axis=1) == targets).mean() > 0.9


def test_a_run_on_whole_recordings_keeps_no_normalisation(small_config, tmp_path):
    settings = {
        **recipe("synthetic", "waveform_cnn"),
        "front_end.frame_step": 160,
        "clip.seconds": None,
        "model.name": "waveform_cnn",
        "model.options": {"width": 0.0625, "bands": 8},
        "training.epochs": 1,
    }
    config = small_config.override(settings)
    data = read_labelled_data(config, progress=False)
    trained = train(config, tmp_path / "run", data=data, progress=False, log=lambda line: None)
    run = load_bundle(tmp_path / "run")
    assert not run.normalization
    waveform = np.random.default_rng(0).uniform(-0.5, 0.5, (1, 7000)).astype(np.float32)
    np.testing.assert_allclose(run.end_to_end()(waveform), trained.end_to_end()(waveform), atol=1e-6)
