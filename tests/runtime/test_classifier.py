from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.export.small_files import Tensor, bare_file
from tests.export.small_runs import FRONT_END, LABELS, SAMPLE_RATE, Exported, exported
from tfaudio import interpreter
from tfaudio.config import ClipConfig
from tfaudio.errors import TfaudioError
from tfaudio.export.metadata import with_metadata
from tfaudio.labels import LabelMap
from tfaudio.model_settings import ModelMetadata
from tfaudio.runtime import Classifier, Prediction, average, classify_windows, read_metadata
from tfaudio.runtime.audio import read_windows


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return exported("cnn", tmp_path_factory.mktemp("cnn"))


@pytest.fixture(scope="module")
def model(run: Exported) -> Classifier:
    return Classifier(run.report.paths["float32"])


def test_labels_rate_and_length_come_from_the_file(model: Classifier) -> None:
    assert (model.labels, model.sample_rate, model.num_samples) == (LABELS, SAMPLE_RATE, SAMPLE_RATE)
    assert (model.metadata.model, model.metadata.variant) == ("cnn", "float32")


def test_scores_are_those_of_keras(model: Classifier, run: Exported) -> None:
    for waveform, expected in zip(run.waveforms[:10], run.keras_scores[:10], strict=True):
        np.testing.assert_allclose(model.scores(waveform), expected, atol=1e-4)
    doubles = run.waveforms[0].astype(np.float64)
    np.testing.assert_allclose(model.scores(doubles), run.keras_scores[0], atol=1e-4)
    np.testing.assert_allclose(model.score_batch(run.waveforms[:3]), run.keras_scores[:3], atol=1e-4)


def test_a_long_recording_is_averaged_over_its_windows(model: Classifier, run: Exported, tmp_path: Path) -> None:
    file = tmp_path / "long.flac"
    rate = 16_000
    soundfile.write(file, np.concatenate([*run.waveforms[:3], run.waveforms[3][:9000]]), rate, "PCM_24")
    each = model.classify(file, per_window=True)
    assert [(p.start, p.end) for p in each] == [(0.0, 1.0), (1.0, 2.0), (2.0, 3.0), (3.0, 4.0)]
    np.testing.assert_allclose([p.scores for p in each[:3]], run.keras_scores[:3], atol=1e-3)
    whole = model.classify(file)
    assert (whole.start, whole.end) == (0.0, 4.0)
    np.testing.assert_allclose(whole.scores, np.mean([p.scores for p in each], axis=0), atol=1e-6)
    assert [p.label for p in model.windows(file)] == [p.label for p in each]


def test_other_rates_channels_and_file_objects(model: Classifier, run: Exported) -> None:
    stereo = io.BytesIO()
    soundfile.write(stereo, np.stack([run.waveforms[4]] * 2, axis=1), SAMPLE_RATE, "FLOAT", format="WAV")
    stereo.seek(0)
    found = model.classify(stereo)
    np.testing.assert_allclose(found.scores, run.keras_scores[4], atol=1e-4)
    assert found.label == LABELS[int(run.keras_scores[4].argmax())]


def test_top_is_sorted_and_bounded() -> None:
    prediction = Prediction(0.0, 1.0, np.array([0.2, 0.5, 0.3], np.float32), LabelMap(("a", "b", "c")))
    assert [label for label, _ in prediction.top(2)] == ["b", "c"]
    assert [label for label, _ in prediction.top(9)] == ["b", "c", "a"]
    assert (prediction.label, prediction.score) == ("b", 0.5)
    with pytest.raises(TfaudioError, match="at least 1"):
        prediction.top(0)


def test_what_scores_too_low_is_unknown() -> None:
    labels = LabelMap(("a", "b"))
    windows = [(0.0, np.array([0.9, 0.1], np.float32)), (1.0, np.array([0.0, 1.0], np.float32))]
    for cut, expected, together in (
        (None, [False, False], False),
        (0.95, [True, False], True),
        (0.5, [False] * 2, False),
    ):
        found = list(classify_windows(windows, lambda b: b, labels=labels, sample_rate=2, unknown_below=cut))
        assert [prediction.unknown for prediction in found] == expected
        assert average(found).unknown == together  # of 0.45 and 0.55
        assert average(found).to_dict().get("unknown") == (None if cut is None else together)
    assert average(found).label == "b"


@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_windows_are_scored_in_batches_as_they_come(batch_size: int) -> None:
    labels = LabelMap(("a", "b"))
    windows = [(index * 0.5, np.full(4, index, np.float32)) for index in range(5)]
    sizes: list[int] = []

    def score(batch: np.ndarray) -> np.ndarray:
        sizes.append(len(batch))
        return np.stack([batch[:, 0], -batch[:, 0]], axis=1)

    found = list(classify_windows(iter(windows), score, labels=labels, sample_rate=8, batch_size=batch_size))
    assert [(p.start, p.end, p.scores.tolist()) for p in found] == [(i * 0.5, i * 0.5 + 0.5, [i, -i]) for i in range(5)]
    assert sizes == {1: [1] * 5, 2: [2, 2, 1], 16: [5]}[batch_size]
    assert average(found).scores.tolist() == [2.0, -2.0]
    with pytest.raises(TfaudioError, match="3 scores, but there are 2 labels"):
        list(classify_windows(windows, lambda b: np.zeros((len(b), 3)), labels=labels, sample_rate=8))
    with pytest.raises(TfaudioError, match="no window"):
        average([])


@pytest.mark.parametrize("score", [np.nan, np.inf])
def test_scores_that_are_no_numbers_are_refused(score: float) -> None:
    windows = [(0.0, np.zeros(4, np.float32))]
    with pytest.raises(TfaudioError, match=r"scores are not numbers.*lower learning rate"):
        list(
            classify_windows(windows, lambda b: np.full((len(b), 2), score), labels=LabelMap(("a", "b")), sample_rate=8)
        )


@pytest.mark.parametrize(
    ("waveform", "message"),
    [
        (np.zeros(8000, np.float32), r"\(8000,\).*1 s of mono audio at 16000 Hz"),
        (np.zeros((1, SAMPLE_RATE), np.float32), r"\(1, 16000\)"),
        (np.zeros(SAMPLE_RATE, np.int16), "int16 values; scale"),
        (np.full(SAMPLE_RATE, np.nan, np.float32), "NaN"),
        (np.full(SAMPLE_RATE, np.inf), "infinite"),
        (np.full(SAMPLE_RATE, -12_000.0, np.float32), "reaches 12000 where full scale is 1"),
    ],
)
def test_a_waveform_that_does_not_fit_is_refused(model: Classifier, waveform: np.ndarray, message: str) -> None:
    with pytest.raises(TfaudioError, match=message):
        model.scores(waveform)


def rezip(content: bytes, **changes: bytes) -> bytes:
    """The file with other associated files behind the same model."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
        body = content[: min(member.header_offset for member in archive.infolist())]
    files.update({name.replace("_", "."): data for name, data in changes.items()})
    result = io.BytesIO(body)
    with zipfile.ZipFile(result, "a") as archive:
        for name, data in files.items():
            if data:
                archive.writestr(name, data)
    return result.getvalue()


def bodies(content: bytes) -> dict[str, tuple[bytes, str]]:
    """Files that cannot be used, and what the message must say."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        body = content[: min(member.header_offset for member in archive.infolist())]
        settings = json.loads(archive.read("tfaudio.json"))
    flipped = bytearray(content)
    flipped[len(body) // 2] ^= 0xFF

    def with_settings(**changes: object) -> bytes:
        kept = {key: value for key, value in {**settings, **changes}.items() if value is not None}
        return rezip(content, tfaudio_json=json.dumps(kept).encode())

    return {
        "empty": (b"", "is empty"),
        "text": (b"this is a text file, not a model", "not a TFLite file"),
        "tiny": (b"TFL3", "not a TFLite file"),
        "half": (content[: len(content) // 2], "cut short"),
        "tail": (content[:-30], "cut short"),
        "bare": (body, "cut short"),
        "foreign": (body.replace(b"TFLITE_METADATA", b"OTHER__METADATA"), "no tfaudio metadata"),
        "no settings": (rezip(content, tfaudio_json=b""), r"no tfaudio metadata \(tfaudio.json\)"),
        "flipped": (bytes(flipped), "damaged or was changed"),
        "labels": (rezip(content, labels_txt=b"a\nb\n"), "6 outputs but 2 labels"),
        "count": (
            rezip(
                rezip(content, labels_txt=b"a\nb\n"), tfaudio_json=json.dumps({**settings, "num_labels": 2}).encode()
            ),
            r"gives float32 \[1, 6\], but its 2 labels want float32 \[1, 2\]",
        ),
        "later": (with_settings(format=99), "format 99.*upgrade tfaudio"),
        "unversioned": (with_settings(format=None), "without a format version"),
        "incomplete": (with_settings(clip=None), "without 'clip'"),
        "unknown": (with_settings(front_end={"sample_rates": 1}), "front_end|sample_rates"),
        "no json": (rezip(content, tfaudio_json=b"{"), "damaged"),
        "other length": (
            with_settings(clip=ClipConfig(seconds=2.0).to_dict()),
            r"takes float32 \[1, 16000\], but its metadata says float32 \[1, 32000\]",
        ),
    }


def test_a_file_that_cannot_be_used_is_refused_by_name(run: Exported, tmp_path: Path) -> None:
    for kind, (content, message) in bodies(run.content("float32")).items():
        file = tmp_path / f"{kind}.tflite"
        file.write_bytes(content)
        with pytest.raises(TfaudioError, match=message) as error:
            Classifier(file)
        assert str(file) in str(error.value), kind
    with pytest.raises(TfaudioError, match=r"no model file .*missing\.tflite"):
        Classifier(tmp_path / "missing.tflite")
    with pytest.raises(TfaudioError, match="cannot be read"):
        read_metadata(tmp_path)


def described(content: bytes) -> bytes:
    """The file with metadata of two labels and a second of sound."""
    about = ModelMetadata(LabelMap(("a", "b")), FRONT_END, ClipConfig(seconds=1.0), "cnn", "float32", "softmax", "0")
    return with_metadata(content, about)


WAVEFORM: Tensor = ("FLOAT32", [1, SAMPLE_RATE])
SCORES: Tensor = ("FLOAT32", [1, 2])


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        ([("FLOAT32", [16000])], [SCORES], "takes float32 [16000], but its metadata says float32 [1, 16000]"),
        ([("FLOAT32", [1, 16000, 1])], [SCORES], "takes float32 [1, 16000, 1], but its metadata says"),
        ([("INT8", [1, 16000])], [SCORES], "takes int8 [1, 16000], but its metadata says float32 [1, 16000]"),
        ([], [SCORES], "takes nothing, but its metadata says"),
        ([WAVEFORM, ("INT32", [1, 6])], [SCORES], "takes float32 [1, 16000] and int32 [1, 6], but its metadata says"),
        ([WAVEFORM], [("FLOAT32", [2])], "gives float32 [2], but its 2 labels want float32 [1, 2]"),
        ([WAVEFORM], [("INT8", [1, 2])], "gives int8 [1, 2], but its 2 labels want"),
        ([WAVEFORM], [SCORES, SCORES], "gives float32 [1, 2] and float32 [1, 2], but its 2 labels want"),
    ],
)
def test_inputs_and_outputs_of_another_form_are_told_whole(
    inputs: list[Tensor], outputs: list[Tensor], message: str, tmp_path: Path
) -> None:
    file = tmp_path / "model.tflite"
    file.write_bytes(described(bare_file([WAVEFORM], [SCORES])))
    assert Classifier(file).num_samples == SAMPLE_RATE
    file.write_bytes(described(bare_file(inputs, outputs)))
    with pytest.raises(TfaudioError, match=rf"model\.tflite {re.escape(message)}.*export it again"):
        Classifier(file)


def test_every_cut_is_noticed(run: Exported, tmp_path: Path) -> None:
    content = run.content("int8")
    file = tmp_path / "cut.tflite"
    for length in np.linspace(0, len(content) - 1, 40).astype(int):
        file.write_bytes(content[:length])
        with pytest.raises(TfaudioError, match=r"cut\.tflite"):
            Classifier(file)


def test_a_missing_interpreter_says_what_to_install(run: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interpreter, "_INTERPRETERS", ("no_such_package.interpreter",))
    with pytest.raises(TfaudioError, match="pip install ai-edge-litert"):
        Classifier(run.report.paths["float32"])


DEVICE = """
import json, sys
from tfaudio.runtime import Classifier
found = {variant: Classifier(f"model_{variant}.tflite").classify("sound.wav").scores.tolist()
         for variant in ("float32", "float16", "dynamic_range", "int8")}
heavy = {m.split(".")[0] for m in sys.modules} & {"tensorflow", "keras", "scipy", "librosa", "flatbuffers", "absl"}
print(json.dumps([found, sorted(heavy)]))
"""


def test_a_device_needs_neither_tensorflow_nor_keras(run: Exported, repository: Path, tmp_path: Path) -> None:
    for path in run.report.output_dir.glob("*.tflite"):
        shutil.copy(path, tmp_path)
    soundfile.write(tmp_path / "sound.wav", run.waveforms[7], SAMPLE_RATE, "FLOAT")
    program = f"import sys; sys.path.insert(0, {str(repository)!r})\n" + DEVICE
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found, heavy = json.loads(done.stdout.splitlines()[-1])
    assert set(heavy) <= {"flatbuffers"}  # which the interpreter brings along
    for variant, scores in found.items():
        np.testing.assert_allclose(scores, run.keras_scores[7], atol=1e-4 if variant == "float32" else 0.1)


def test_the_windows_of_any_model_can_be_scored_alike(model: Classifier, run: Exported, tmp_path: Path) -> None:
    """What `predict` does with a run folder: the same windows and the same average, other arithmetic."""
    file = tmp_path / "long.wav"
    soundfile.write(file, np.concatenate(list(run.waveforms[:3])), SAMPLE_RATE, "FLOAT")
    windows = read_windows(file, sample_rate=SAMPLE_RATE, clip=run.bundle.config.clip)
    score = run.bundle.end_to_end(SAMPLE_RATE).predict_on_batch
    found = average(classify_windows(windows, score, labels=LABELS, sample_rate=SAMPLE_RATE, batch_size=16))
    np.testing.assert_allclose(found.scores, model.classify(file).scores, atol=1e-4)


def test_a_tagger_gives_all_that_reach_their_thresholds() -> None:
    labels = LabelMap(("a", "b", "c"))
    cuts = {"a": 0.5, "b": 0.2, "c": 0.9}
    scores = np.array([0.5, 0.7, 0.8], np.float32)
    prediction = Prediction(0.0, 1.0, scores, labels, thresholds=cuts)
    assert [label for label, _ in prediction.tags()] == ["b", "a"]
    assert prediction.to_dict() == {"start": 0.0, "end": 1.0, "labels": {"b": 0.7, "a": 0.5}}
    assert prediction.label == "c"  # the best one is still told
    silent = Prediction(0.0, 1.0, np.zeros(3, np.float32), labels, thresholds=cuts)
    assert silent.tags() == []
    assert silent.to_dict()["labels"] == {}
    joined = average([prediction, silent])
    assert joined.thresholds == cuts
    assert [label for label, _ in joined.tags()] == ["b"]
    assert Prediction(0.0, 1.0, scores, labels).tags() == [("c", pytest.approx(0.8))]


def test_windows_of_a_tagger_keep_their_thresholds() -> None:
    labels, cuts = LabelMap(("a", "b")), {"a": 0.5, "b": 0.5}
    windows = iter([(0.0, np.zeros(8, np.float32))])
    found = classify_windows(
        windows, lambda b: np.full((len(b), 2), 0.6), labels=labels, sample_rate=8, thresholds=cuts
    )
    assert [label for label, _ in next(found).tags()] == ["a", "b"]
