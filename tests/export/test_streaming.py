"""Step models against the Keras model of clips: the same scores, hop by hop, whatever the front end."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np
import pytest
import soundfile
import tensorflow as tf

from tests.export.small_runs import FRONT_END, LABELS, SAMPLE_RATE, tones, train
from tfaudio import golden
from tfaudio.bundle import Bundle
from tfaudio.config import ClipConfig, FrontEndConfig, ModelConfig, RunConfig
from tfaudio.errors import TfaudioError
from tfaudio.export import candidates, parity
from tfaudio.export.artifact import export_run
from tfaudio.export.flatbuffer import operators, parse
from tfaudio.export.report import GateConfig
from tfaudio.export.streaming import StreamingConverter
from tfaudio.export.streaming_layers import Step
from tfaudio.export.streaming_model import NEXT_STATE, STATE, Runner, StreamingModel, hops
from tfaudio.export.streaming_timing import Timing, check_front_end
from tfaudio.export.tflite import TfliteConverter, TfliteModel
from tfaudio.features.front_end import compute_features
from tfaudio.features.normalization import NormalizationFitter
from tfaudio.golden import Golden
from tfaudio.models.classifier import build_classifier
from tfaudio.models.registry import build_model
from tfaudio.runtime import Classifier, read_metadata
from tfaudio.runtime.__main__ import main as runtime_main
from tfaudio.runtime.audio import resample
from tfaudio.runtime.self_test import run_self_test

OPTIONS = {"ds_cnn": {"filters": 16, "blocks": 2, "causal": True}, "bc_resnet": {"width": 0.5, "causal": True}}
TEN_MS = FRONT_END.replace(frame_length=400, frame_step=160)


def causal_run(name: str, front_end: FrontEndConfig = TEN_MS) -> Bundle:
    """A run with random layers, normalised, and logits of mean zero and deviation one over tones: made in a second."""
    keras.utils.set_random_seed(0)
    config = RunConfig(
        front_end=front_end, clip=ClipConfig(seconds=1.0), model=ModelConfig(name=name, options=OPTIONS[name])
    )
    waveforms, _ = tones(48, seed=1)
    fitter = NormalizationFitter()
    fitter.add(compute_features(waveforms, front_end).numpy())
    features = compute_features(waveforms, front_end, fitter.result()).numpy()
    model = build_classifier(config, len(LABELS), masked=False)
    train_step = tf.function(lambda: model(features[::4], training=True))
    for _ in range(30):  # moves the statistics of batch normalisation
        train_step()
    logits = model(features).numpy()
    kernel, bias = model.get_layer("logits").get_weights()
    deviation = logits.std(axis=0)
    model.get_layer("logits").set_weights([kernel / deviation, (bias - logits.mean(axis=0)) / deviation])
    return Bundle(Path("run"), config, LABELS, fitter.result(), model)


@dataclass(frozen=True)
class Converted:
    """A run and its step models."""

    bundle: Bundle
    timing: Timing
    content: dict[str, bytes]

    def scores(self, kind: str, waveform: np.ndarray) -> np.ndarray:
        """Scores after each hop."""
        return StreamingModel(self.content[kind], self.timing).step_scores(waveform)


def convert(bundle: Bundle, hop_seconds: float = 0.02) -> Converted:
    with tempfile.TemporaryDirectory() as folder:
        converter = StreamingConverter(bundle, SAMPLE_RATE, tones(12, seed=1)[0], Path(folder), hop_seconds=hop_seconds)
        content = {kind: converter.convert(int8=kind == "int8").content for kind in ("float", "int8")}
        nothing = np.zeros([0, SAMPLE_RATE], np.float32)
        of_clips = TfliteConverter(bundle, SAMPLE_RATE, nothing, Path(folder), to_int8=converter.clip_classifier)
        content["int8 of clips"] = of_clips.convert("int8").content
    return Converted(bundle, converter.timing, content)


@pytest.fixture(scope="module", params=list(OPTIONS))
def converted(request: pytest.FixtureRequest) -> Converted:
    return convert(causal_run(request.param))


def keras_scores(bundle: Bundle, waveforms: np.ndarray) -> np.ndarray:
    return np.asarray(bundle.end_to_end(waveforms.shape[1]).predict(waveforms, verbose=0))


def test_a_clip_hop_by_hop_has_the_scores_of_the_clip(converted: Converted) -> None:
    for samples in (SAMPLE_RATE, 9_333, 100):  # a whole window, a shorter one, less than a frame
        waveforms = tones(6, seed=2)[0][:, :samples]
        expected = keras_scores(converted.bundle, waveforms)
        found = [converted.scores("float", waveform) for waveform in waveforms]
        frames = samples // converted.timing.frame_step + converted.timing.delay_frames
        if frames % converted.timing.hop_frames == 0:  # the clip's last frame is the last one of a hop
            np.testing.assert_allclose([scores[-1] for scores in found], expected, atol=1e-5)
    assert np.ptp(expected) > 0.05


def test_real_words_and_sounds_have_the_scores_of_the_clip(converted: Converted, shared_data: Path) -> None:
    files = [
        *sorted((shared_data / "fsdd" / "recordings").glob("*_0.wav"))[::12],
        *sorted((shared_data / "esc10" / "audio").glob("*.ogg"))[::80],
    ]
    assert len(files) >= 8
    clips = []
    for file in files:
        samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
        clips.append(np.resize(resample(samples.mean(axis=1), rate, SAMPLE_RATE), SAMPLE_RATE))
    of_clips = {
        "float": keras_scores(converted.bundle, np.stack(clips)),
        "int8": TfliteModel(converted.content["int8 of clips"]).score(np.stack(clips)),
    }
    for kind, expected in of_clips.items():
        found = np.stack([converted.scores(kind, clip)[-1] for clip in clips])
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_every_hop_has_the_scores_of_the_newest_window(converted: Converted) -> None:
    """The reference: all frames at once before the pooling, and the mean of the last ones in NumPy."""
    timing, bundle = converted.timing, converted.bundle
    waveform = tones(1, seed=3, seconds=2.5)[0][0]
    body = bundle.body()
    pooling = next(op for op in reversed(body.operations) if type(op).__name__ == "Mean" and op.axis == [1])
    frames = keras.Model(body.inputs, pooling.input)(bundle.front_end()(waveform[np.newaxis])).numpy()[0]
    weights, bias = (np.asarray(w, np.float64) for w in body.get_layer("logits").get_weights())
    found = converted.scores("float", waveform)
    assert len(found) * timing.hop_samples > 2 * timing.window_frames * timing.frame_step
    for hop in range(timing.delay_frames, len(found)):
        heard = (hop + 1) * timing.hop_frames - timing.delay_frames + 1
        newest = frames[max(0, heard - timing.window_frames) : heard].astype(np.float64)
        logits = newest.mean(axis=0) @ weights + bias
        expected = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        np.testing.assert_allclose(found[hop], expected, atol=1e-4)


def test_int8_stays_near(converted: Converted) -> None:
    waveforms, _ = tones(60, seed=4)
    expected = keras_scores(converted.bundle, waveforms)
    found = np.stack([converted.scores("int8", waveform)[-1] for waveform in waveforms])
    # Random layers are touchier than trained ones, above all the many small steps of BC-ResNet.
    least = 0.8 if converted.bundle.config.model.name == "ds_cnn" else 0.5
    assert (found.argmax(axis=1) == expected.argmax(axis=1)).mean() >= least
    assert np.abs(found - expected).mean() < 0.03
    kinds = {tensor.type for tensor in parse(converted.content["int8"]).subgraphs[0].tensors}
    assert 9 in kinds  # int8, by the schema
    assert not [name for name in operators(converted.content["int8"]) if name.startswith("CUSTOM")]


def test_a_value_that_is_no_number_leaves_the_state(converted: Converted) -> None:
    timing = converted.timing
    runner = Runner(converted.content["float"])
    size = runner.input_shape(STATE)
    assert size[1] < 100_000
    clean, hurt = np.zeros(size, np.float32), np.zeros(size, np.float32)
    sound = np.resize(tones(1, seed=5, seconds=3.0)[0][0], 4 * SAMPLE_RATE)
    for index, hop in enumerate(hops(sound, timing.hop_samples, len(sound) // timing.hop_samples)):
        left = runner({"waveform": hop, STATE: clean})
        right = runner({"waveform": np.full_like(hop, np.nan) if index == 3 else hop, STATE: hurt})
        clean, hurt = left[NEXT_STATE], right[NEXT_STATE]
        if index == 3:
            assert np.isnan(hurt).any()  # the scores may be any: a ReLU drops it on some processors
    np.testing.assert_array_equal(left["scores"], right["scores"])
    np.testing.assert_array_equal(clean, hurt)
    assert clean[0, 0] == timing.window_frames + timing.delay_frames  # the only counter has come to its end


@pytest.mark.parametrize(
    ("front_end", "hop_seconds"),
    [
        (
            FRONT_END.replace(
                feature="mfcc+rms+zero_crossing_rate+spectral_centroid", frame_length=401, frame_step=100, num_mfcc=12
            ),
            0.03,
        ),
        (FRONT_END.replace(frame_length=300, spectrum="magnitude", compression="db", implementation="matmul"), 0.001),
    ],
)
def test_other_features_and_hops(front_end: FrontEndConfig, hop_seconds: float) -> None:
    run = convert(causal_run("ds_cnn", front_end), hop_seconds=hop_seconds)
    waveforms = tones(3, seed=6)[0]
    of_clips = {
        "float": keras_scores(run.bundle, waveforms),
        "int8": TfliteModel(run.content["int8 of clips"]).score(waveforms),
    }
    for kind, expected in of_clips.items():
        # A feature next to the border of two integers may be rounded to either.
        tolerance = 1e-4 if kind == "float" else 1e-3
        np.testing.assert_allclose([run.scores(kind, w)[-1] for w in waveforms], expected, atol=tolerance)
    assert run.timing.hop_frames == max(1, round(hop_seconds * SAMPLE_RATE / front_end.frame_step))


def test_a_clip_ends_where_a_hop_does() -> None:
    for hop_seconds in (0.01, 0.02, 0.03, 0.05):
        for step in (80, 160, 256):
            timing = Timing.of(TEN_MS.replace(frame_step=step), num_samples=SAMPLE_RATE, hop_seconds=hop_seconds)
            assert timing.hops_of_clip * timing.hop_frames == timing.window_frames - 1 + timing.delay_frames
            assert timing.delay_frames * step >= 200  # half a frame of 400 samples
            assert timing.delay_frames * step < 200 + step + timing.hop_samples


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"deltas": 1}, "deltas"),
        ({"feature": "cqt"}, "cqt"),
        ({"compression": "pcen"}, "pcen"),
        ({"compression": "db", "top_db": 80.0}, "top_db"),
        ({"feature": "leaf"}, "learnt"),
    ],
)
def test_features_that_look_beyond_their_frame_are_refused(changes: dict[str, object], word: str) -> None:
    with pytest.raises(TfaudioError, match=f"A stream cannot have .*{word}"):
        check_front_end(FRONT_END.replace(**changes))
    check_front_end(FRONT_END.replace(compression="db"))


@pytest.mark.parametrize("name", ["cnn", "attention", "dense", "ds_cnn", "bc_resnet"])
def test_a_model_that_looks_ahead_is_refused(name: str) -> None:
    model = build_model(ModelConfig(name=name), input_shape=(None, 40), num_classes=3)
    with pytest.raises(TfaudioError, match=rf"'{name}' cannot run on a stream: its layer .*causal=true"):
        Step(model, tf.ones([1, 2, 1])).run(tf.zeros([1, 2, 40]))


# What a causal model must not have between features [frames, 8] and a mean over time.
REFUSED = {
    "gru": lambda x: keras.layers.GRU(8, return_sequences=True)(x),
    "reversed": lambda x: keras.ops.flip(x, axis=1),
    "softmax over frames": lambda x: keras.ops.softmax(x, axis=1),
    "same padding": lambda x: keras.layers.Conv2D(1, 3, padding="same")(keras.ops.expand_dims(x, -1))[..., 0],
    "a frame less": lambda x: x[:, 1:],
    "unpadded": lambda x: keras.layers.Reshape((-1, 8))(
        keras.layers.Conv2D(1, (5, 1))(keras.layers.Reshape((-1, 8, 1))(x))
    ),
    "batch and time": lambda x: keras.ops.concatenate([x, x], axis=1),
}


@pytest.mark.parametrize("kind", list(REFUSED))
def test_a_layer_without_a_counterpart_is_refused(kind: str) -> None:
    features = keras.Input((None, 8))
    pooled = keras.ops.mean(REFUSED[kind](features), axis=1)
    model = keras.Model(features, keras.layers.Dense(3)(pooled))
    with pytest.raises(TfaudioError, match="cannot run on a stream"):
        Step(model, tf.ones([1, 2, 1])).run(tf.zeros([1, 2, 8]))


def test_an_export_on_request_passes_the_gate_and_tells_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parity, "median_latency_ms", lambda *_: 51.0)
    monkeypatch.setattr(candidates, "median_latency_ms", lambda *_: 102.0)
    bundle = causal_run("ds_cnn")
    waveforms, targets = tones(60, seed=2)
    report = export_run(
        bundle,
        formats=("int8", "streaming_int8", "streaming"),
        output_dir=tmp_path / "out",
        calibration=tones(24, seed=1)[0],
        test_waveforms=waveforms,
        test_targets=targets,
        gate=GateConfig(min_agreement=0.8, max_accuracy_drop=0.1),
    )
    assert not report.failed, report.to_text()
    of_clips, exact, integer = report.formats
    assert (of_clips.name, exact.name) == ("int8", "streaming")
    # Of one hop: 101 frames of 10 ms take 51 hops of 20 ms.
    assert (exact.latency_ms, exact.latency_2_threads_ms) == (1.0, 2.0)
    assert exact.max_score_difference is not None
    assert exact.max_score_difference < 1e-5
    # The same integers, so the same scores.
    assert integer.agreement == of_clips.agreement
    assert integer.max_score_difference == pytest.approx(of_clips.max_score_difference, abs=1e-5)
    metadata = read_metadata(report.paths["streaming"])
    assert metadata.streaming is not None
    assert (metadata.variant, metadata.streaming.hop_samples, metadata.labels) == ("streaming", 320, LABELS)
    assert metadata.streaming.window_samples == 101 * 160
    assert read_metadata(report.paths["streaming_int8"]).variant == "streaming_int8"
    with pytest.raises(TfaudioError, match="takes a stream"):
        Classifier(report.paths["streaming"])
    for path in report.paths.values():
        assert run_self_test(path).ok
        assert runtime_main([str(path), "--self_test"]) == 0
    # Floats are held to a 10,000th, as those of clips are; integers may differ between processors.
    vectors = Golden.read(tmp_path / "out" / golden.FILE)
    off = replace(vectors, scores={file: scores + np.float32(1e-3) for file, scores in vectors.scores.items()})
    (tmp_path / "out" / golden.FILE).write_bytes(off.to_bytes())
    assert not run_self_test(report.paths["streaming"]).ok
    assert run_self_test(report.paths["streaming_int8"]).ok


def test_what_is_withheld_is_taken_apart_whatever_it_takes(tmp_path: Path) -> None:
    report = export_run(
        causal_run("ds_cnn"),
        formats=("int8", "streaming_int8", "tflm"),
        output_dir=tmp_path / "out",
        calibration=tones(12, seed=1)[0],
        test_waveforms=tones(60, seed=2)[0],
        gate=GateConfig(min_agreement=1.0),
    )
    assert {found.name for found in report.failed} == {"int8", "streaming_int8", "tflm"}
    for found in report.failed:
        first = {layer["operator"]: layer["snr_db"] for layer in reversed(found.layers)}
        last = {layer["operator"]: layer["snr_db"] for layer in found.layers}
        assert 20 < first["CONV_2D"] < 60, found.name
        assert 10 < last["FULLY_CONNECTED"] < 60, found.name


def test_a_run_that_is_not_causal_is_withheld_with_the_reason(tmp_path: Path) -> None:
    bundle = train("cnn", epochs=1)
    report = export_run(
        bundle, formats=("float32", "streaming"), output_dir=tmp_path / "out", calibration=tones(6, seed=1)[0]
    )
    assert list(report.paths) == ["float32"]
    assert "causal=true" in report.failed[0].problems[0]


def test_features_of_the_stream_are_those_of_the_clip(converted: Converted) -> None:
    """Named as in every model file, so that golden vectors reach them."""
    names = [t.name for t in parse(converted.content["float"]).subgraphs[0].tensors]
    assert names.count(b"features") == 1
    config = converted.bundle.config.front_end
    assert compute_features(np.zeros([1, SAMPLE_RATE], np.float32), config).shape[1] == converted.timing.window_frames
