"""Recordings and the pipeline: what is skipped, what a batch holds, and that nothing but the seed decides it."""

from __future__ import annotations

import re

import numpy as np
import pytest
import soundfile
import tensorflow as tf

from tfaudio import sound_file
from tfaudio.config import DataConfig, RunConfig
from tfaudio.data import recordings as recordings_module
from tfaudio.data.labelled import read_labelled_data
from tfaudio.data.pipeline import Pipeline
from tfaudio.data.recordings import read_recordings
from tfaudio.data.spec import Clip
from tfaudio.errors import TfaudioError
from tfaudio.features.front_end import compute_features

RATE = 16_000


def _write(path, samples, **kwargs):
    soundfile.write(path, samples, RATE, **kwargs)
    return Clip(str(path), "x")


@pytest.fixture(scope="module")
def noises(tmp_path_factory):
    """Clips of 0.1, 0.5 and 1.3 s of noise, and their samples."""
    folder = tmp_path_factory.mktemp("noises")
    rng = np.random.default_rng(0)
    waveforms = [rng.uniform(-0.5, 0.5, n).astype(np.float32) for n in (1600, 8000, 20_800)]
    clips = [_write(folder / f"{i}.wav", w, subtype="FLOAT") for i, w in enumerate(waveforms)]
    return clips, waveforms


@pytest.mark.parametrize("memory", [4.0, 0.0])
def test_recordings_are_what_the_files_hold(noises, memory):
    clips, waveforms = noises
    recordings = read_recordings(clips, sample_rate=RATE, config=DataConfig(memory_gigabytes=memory), progress=False)
    assert (recordings.samples is None) == (memory == 0)
    assert recordings.lengths.tolist() == [len(w) for w in waveforms]
    load = recordings.waveform_loader()
    for index, waveform in enumerate(waveforms):
        np.testing.assert_allclose(load(tf.constant(index)), waveform, atol=1e-6)
    assert recordings.select([clips[2], Clip("elsewhere", "x"), clips[0]]).tolist() == [2, 0]


def test_start_and_end_cut_a_part_out(noises):
    clips, waveforms = noises
    part = Clip(clips[2].path, "x", start=0.25, end=0.75)
    beyond = Clip(clips[2].path, "x", start=5.0)
    recordings = read_recordings([part, beyond], sample_rate=RATE, config=DataConfig(), progress=False)
    np.testing.assert_allclose(recordings.waveform_loader()(tf.constant(0)), waveforms[2][4000:12_000], atol=1e-6)
    assert recordings.skipped[0].reason == "its start (5 s) lies beyond the end of the file"


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 44_101])
@pytest.mark.parametrize("extension", ["wav", "flac", "mp3"])
def test_parts_are_cut_from_what_the_whole_file_gives(rate, extension, tmp_path):
    if extension == "mp3" and rate == 44_101:
        pytest.skip("MP3 has no such rate")
    noise = np.random.default_rng(rate).uniform(-0.5, 0.5, (3 * rate, 2))
    path = tmp_path / f"x.{extension}"
    soundfile.write(path, noise, rate)
    config = DataConfig(memory_gigabytes=0)
    whole = read_recordings([Clip(str(path), "x")], sample_rate=16_000, config=config, progress=False)
    expected = whole.waveform_loader()(tf.constant(0)).numpy()
    bounds = [(None, 0.4), (0.0, 1.0), (0.25, 0.75001), (1.99, None), (2.5, 9.0), (0.01, None)]
    clips = [Clip(str(path), "x", start=start, end=end) for start, end in bounds]
    parts = read_recordings(clips, sample_rate=16_000, config=config, progress=False)
    load = parts.waveform_loader()
    for index, (start, end) in enumerate(bounds):
        cut = expected[round((start or 0) * 16_000) : None if end is None else round(end * 16_000)]
        assert parts.lengths[index] == len(cut)
        np.testing.assert_allclose(load(tf.constant(index)), cut, atol=2e-6)


def test_of_a_part_little_more_is_decoded(noises, monkeypatch):
    read = []

    def counting(sound, name, begin, end):
        read.append(end - begin)
        return sound_file.read_stretch(sound, name, begin, end)

    monkeypatch.setattr(recordings_module, "read_stretch", counting)
    clips, waveforms = noises
    parts = [Clip(clips[2].path, "x", start=i / 10, end=(i + 1) / 10) for i in range(8)]
    read_recordings(parts, sample_rate=RATE, config=DataConfig(), progress=False)
    assert len(read) == 8
    assert sum(read) < 1.5 * len(waveforms[2])


def test_unusable_recordings_are_listed_with_their_reason(tmp_path, noises):
    good, rng = noises[0][0], np.random.default_rng(1)
    whole = _write(tmp_path / "whole.flac", rng.uniform(-0.5, 0.5, 30_000))
    cut = tmp_path / "truncated.flac"
    cut.write_bytes((tmp_path / "whole.flac").read_bytes()[:20_000])
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "text.wav").write_text("this is no sound")
    (tmp_path / "nowhere.wav").symlink_to(tmp_path / "gone.wav")
    _write(tmp_path / "nothing.wav", np.zeros(0))
    _write(tmp_path / "nan.wav", np.array([0.0, np.nan, 0.1] * 100, np.float32), subtype="FLOAT")
    usable = [
        good,
        whole,
        _write(tmp_path / "ten_ms.wav", rng.uniform(-0.5, 0.5, 160)),
        _write(tmp_path / "犬 の 声.wav", rng.uniform(-0.5, 0.5, 1600)),
        _write(tmp_path / "six.wav", rng.uniform(-0.5, 0.5, (1600, 6))),
    ]
    faults = {
        "truncated.flac": "truncated|fewer|cut",
        "empty.wav": "empty",
        "text.wav": "not an audio|no audio|not audio",
        "nowhere.wav": "link|missing|does not exist|nowhere",
        "nothing.wav": "no samples",
        "nan.wav": "NaN",
    }
    clips = [*(Clip(str(tmp_path / name), "x") for name in faults), *usable]
    recordings = read_recordings(clips, sample_rate=RATE, config=DataConfig(), progress=False)
    assert list(recordings.clips) == usable
    assert len(recordings.skipped) == len(faults)
    for skipped in recordings.skipped:
        name = skipped.path.rsplit("/", 1)[1]
        assert re.search(faults[name], skipped.reason), (name, skipped.reason)
        assert not skipped.reason.startswith(skipped.path)
    with pytest.raises(TfaudioError, match=r"truncated\.flac.*without --strict"):
        read_recordings(clips, sample_rate=RATE, config=DataConfig(strict=True), progress=False)
    with pytest.raises(TfaudioError, match=r"None of the 6 recordings can be used.*truncated\.flac"):
        read_recordings(clips[:6], sample_rate=RATE, config=DataConfig(), progress=False)


def _pipeline(noises, **overrides):
    clips, _ = noises
    config = RunConfig().override(
        {
            "front_end.frame_length": 256,
            "front_end.frame_step": 128,
            "front_end.fft_length": 256,
            "front_end.num_mel_bins": 20,
            "clip.seconds": 0.5,
            "training.batch_size": 2,
            "training.epochs": 3,
            **overrides,
        }
    )
    recordings = read_recordings(clips, sample_rate=RATE, config=config.data, progress=False)
    return Pipeline(recordings, np.array([0, 1, 2]), 3, config)


def test_training_batches_have_one_shape_and_a_known_number(noises):
    pipeline = _pipeline(noises)
    dataset = pipeline.training(np.arange(3))
    batches = list(dataset.as_numpy_iterator())
    assert len(batches) == int(dataset.cardinality()) == 3 * pipeline.steps_per_epoch(3) == 3
    assert {(x.shape, y.shape) for x, y in batches} == {((2, 63, 20), (2, 3))}
    weighted = next(iter(pipeline.training(np.arange(3), class_weights=np.array([1.0, 2.0, 4.0]))))
    np.testing.assert_allclose(weighted[2], weighted[1].numpy() @ np.array([1.0, 2.0, 4.0], np.float32), rtol=1e-6)


def test_later_epochs_do_not_depend_on_earlier_ones(noises):
    pipeline = _pipeline(noises)
    whole = list(pipeline.training(np.arange(3)).as_numpy_iterator())
    for first in (1, 2):
        rest = list(pipeline.training(np.arange(3), first_epoch=first).as_numpy_iterator())
        for (x, y), (x_again, y_again) in zip(whole[first:], rest, strict=True):
            np.testing.assert_array_equal(x, x_again)
            np.testing.assert_array_equal(y, y_again)
    assert np.abs(whole[0][0] - whole[1][0]).max() > 0.1


def test_without_augmentation_a_batch_holds_the_features_of_its_clips(noises):
    off = {"augment." + k: 0 for k in ("time_shift", "gain_db", "noise_probability", "time_masks", "frequency_masks")}
    pipeline = _pipeline(noises, **off, **{"augment.mixup_alpha": 0, "training.batch_size": 3, "training.epochs": 1})
    features, targets = next(iter(pipeline.training(np.arange(3)).as_numpy_iterator()))
    config = pipeline.config.front_end
    padded = np.zeros(8000, np.float32)
    padded[:1600] = noises[1][0]
    for clip, waveform in ((0, padded), (1, noises[1][1])):
        row = int(np.flatnonzero(targets[:, clip])[0])
        np.testing.assert_allclose(features[row], compute_features(waveform, config), atol=1e-3)


def test_evaluation_gives_every_window_of_every_clip(noises):
    pipeline = _pipeline(noises)
    clips = [int(p) for _, position in pipeline.evaluation(np.array([2, 0, 1])) for p in position]
    assert clips == [0, 0, 0, 1, 2]  # 1.3 s are three windows of half a second, the last one padded
    windows = pipeline.waveform_windows(2)
    np.testing.assert_allclose(windows.reshape(-1)[:20_800], noises[1][2], atol=1e-6)
    assert not windows.reshape(-1)[20_800:].any()


def test_whole_recordings_come_with_a_mask(noises):
    pipeline = _pipeline(noises, **{"clip.seconds": None, "training.batch_size": 3})
    inputs, position = next(iter(pipeline.evaluation(np.array([0, 2])).as_numpy_iterator()))
    frames = [1 + n // 128 for n in (1600, 20_800)]
    assert inputs["mask"].sum(axis=1).tolist() == frames
    assert position.tolist() == [0, 1]
    expected = compute_features(noises[1][0], pipeline.config.front_end).numpy()
    np.testing.assert_allclose(inputs["features"][0, : frames[0]], expected, atol=1e-4)
    assert not inputs["features"][0, frames[0] :].any()


def test_normalization_is_fitted_on_the_given_clips(noises):
    pipeline = _pipeline(noises)
    fitted = pipeline.fit_normalization(np.array([1]))
    features = compute_features(noises[1][1], pipeline.config.front_end).numpy()
    np.testing.assert_allclose(fitted.mean, features.mean(axis=0), atol=1e-3)
    # Of steady noise some bands move by less than the half of a natural logarithm that is believed.
    np.testing.assert_allclose(fitted.stddev, np.maximum(features.std(axis=0), 0.5), atol=1e-3)
    assert (features.std(axis=0) > 0.5).any()


def test_the_graph_engine_runs_no_python(small_config):
    config = small_config.override({"data.engine": "graph", "data.memory_gigabytes": 0.0})
    data = read_labelled_data(config, progress=False)
    load = data.recordings.waveform_loader()
    graph = tf.function(load).get_concrete_function(tf.TensorSpec([], tf.int64)).graph.as_graph_def()
    names = {n.op for n in graph.node} | {n.op for f in graph.library.function for n in f.node_def}
    assert "ReadFile" in names
    assert not {"PyFunc", "PyFuncStateless", "EagerPyFunc"} & names


def test_padding_reaches_no_feature_that_looks_past_its_frame(noises):
    # A slope over time at the end of a short recording must not see the padding behind it.
    pipeline = _pipeline(noises, **{"clip.seconds": None, "training.batch_size": 3, "front_end.deltas": 2})
    inputs, _ = next(iter(pipeline.evaluation(np.array([0, 2])).as_numpy_iterator()))
    alone = compute_features(noises[1][0], pipeline.config.front_end).numpy()
    np.testing.assert_allclose(inputs["features"][0, : len(alone)], alone, atol=1e-4)


def test_a_learnt_filter_bank_is_given_the_waveform_unspoilt(noises):
    # Masks over time may blank stretches, but a mask over "bins" would blank samples of every step.
    pipeline = _pipeline(noises, **{"front_end.feature": "leaf", "augment.frequency_masks": 5, "augment.time_masks": 0})
    steps, _ = next(iter(pipeline.training(np.arange(3)).as_numpy_iterator()))
    config = pipeline.config
    assert steps.shape[1:] == (config.front_end.num_frames(8000), config.front_end.frame_step)
    assert (np.abs(steps).max(axis=1) > 1e-3).all()  # no sample of the steps is blank throughout an example
    assert not pipeline.fit_normalization(np.arange(3))


def test_clips_of_several_classes_have_rows_of_ones(small_config):
    data = read_labelled_data(small_config, progress=False)
    rows = np.zeros((len(data.recordings.clips), 10), np.float32)
    rows[np.arange(len(rows)), np.arange(len(rows)) % 10] = 1
    rows[::3, 4] = 1
    config = small_config.override({"augment.mixup_alpha": 0.0})
    pipeline = Pipeline(data.recordings, rows, 10, config)
    indices = np.array([5, 0, 17, 3, 44, 9])
    for _, targets in pipeline.evaluation(indices, with_targets=True).as_numpy_iterator():
        np.testing.assert_array_equal(targets, rows[indices])
    weights = np.arange(1.0, 11.0)
    batches = pipeline.training(indices, class_weights=weights).take(1).as_numpy_iterator()
    ((_, targets, example_weights),) = batches
    order = [next(i for i in range(6) if np.array_equal(rows[indices[i]], row)) for row in targets]
    assert len(targets) == 6
    np.testing.assert_array_equal(targets, rows[indices][order])
    expected = [np.mean(weights[row > 0]) for row in targets]
    np.testing.assert_allclose(example_weights, expected, rtol=1e-6)


def test_what_has_several_classes_gives_no_single_one(tmp_path):
    for name in "ab":
        soundfile.write(tmp_path / f"{name}.wav", np.full(800, 0.1), 8000)
    (tmp_path / "clips.csv").write_text("path,labels\na.wav,dog;rain\nb.wav,cat\n")
    config = RunConfig().override({"data.dataset": "manifest", "data.data_dir": str(tmp_path / "clips.csv")})
    data = read_labelled_data(config, progress=False)
    labels = data.spec.labels
    np.testing.assert_array_equal(data.targets(labels, multi_hot=True), [[0, 1, 1], [1, 0, 0]])
    with pytest.raises(TfaudioError, match=r"several classes each.*model\.score_activation"):
        data.targets(labels)
