"""A run that takes text beside the sound, in every form: what it computes, what it says of itself, what it refuses."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import unicodedata
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import tensorflow as tf

from tests.export.test_metadata import mediapipe_metadata_of
from tests.text_runs import RATE, text_run
from tfaudio.bundle import Bundle
from tfaudio.cli.main import main
from tfaudio.data.labelled import read_labelled_data
from tfaudio.errors import TfaudioError
from tfaudio.export import saved_model
from tfaudio.export.artifact import export_run
from tfaudio.export.report import ALL_FORMATS, WITH_TEXT, ExportReport
from tfaudio.export.tflite import TfliteModel
from tfaudio.optimize.run import optimize_run
from tfaudio.runtime.__main__ import main as runtime_main
from tfaudio.runtime.classifier import Classifier
from tfaudio.runtime.metadata import parse_metadata, read_metadata, read_settings_folder
from tfaudio.runtime.self_test import run_self_test

SAMPLES = RATE // 4
TFLITE = WITH_TEXT[1:]
# Known and unknown words, hidden ones, other scripts, too many, none.
TEXTS = [
    "recorded TOWER",
    "барабан!",
    "valves " * 9,
    "bells drums",
    "",
    "録音 blech, e\u0301cole 狗",
    "skin_sticks",
    "?",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return text_run(tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="module")
def report(run: Bundle, tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    data = read_labelled_data(run.config, progress=False)
    waveforms = [np.asarray(data.recordings.samples)[i * 4000 :][:SAMPLES] for i in range(len(data.recordings.clips))]
    return export_run(
        run,
        formats=ALL_FORMATS,
        output_dir=tmp_path_factory.mktemp("text_export") / "out",
        calibration=np.stack(waveforms[:4]),
        test_waveforms=waveforms,
        test_targets=data.targets(run.labels).tolist(),
        test_texts=[clip.text or "" for clip in data.recordings.clips],
    )


def waveforms(count: int) -> np.ndarray:
    return (0.1 * np.random.default_rng(5).standard_normal((count, SAMPLES))).astype(np.float32)


def keras_scores(run: Bundle, sounds: np.ndarray, texts: list[str]) -> np.ndarray:
    scores: np.ndarray = run.end_to_end(SAMPLES).predict(run.inputs(sounds, texts), verbose=0)
    return scores


def test_what_can_be_had_passes_the_gate_and_the_rest_says_why_not(report):
    assert set(report.paths) == set(WITH_TEXT)
    assert {found.name for found in report.failed} == set(ALL_FORMATS) - set(WITH_TEXT)
    for found in report.failed:
        (problem,) = found.problems
        assert problem.startswith(f"{found.name} cannot be made of a model that takes text beside the sound")
        assert "export saved_model, float32, float16, dynamic_range" in problem
    assert report.keras_accuracy > 0.9  # with the texts: without them it is a guess
    for found in report.formats:
        if found.passed:
            assert found.accuracy == pytest.approx(report.keras_accuracy, abs=0.02)


@pytest.mark.parametrize("variant", TFLITE)
def test_files_compute_what_keras_does_with_any_text(run, report, variant):
    sounds = waveforms(len(TEXTS))
    sounds[1] = 0  # no sound
    expected = keras_scores(run, sounds, TEXTS)
    assert np.ptp(expected, axis=0).max() > 0.5
    classifier = Classifier(report.paths[variant])
    scores = [classifier.scores(sound, text) for sound, text in zip(sounds, TEXTS, strict=True)]
    np.testing.assert_allclose(scores, expected, atol={"float32": 1e-4}.get(variant, 0.05))
    model = TfliteModel(report.paths[variant].read_bytes(), tokenizer=run.tokenizer)
    np.testing.assert_allclose(model.score(sounds, TEXTS), scores, atol=1e-6)
    np.testing.assert_allclose(model.score(sounds), [classifier.scores(sound) for sound in sounds], atol=1e-6)
    # A text is forgotten after its call.
    np.testing.assert_array_equal(classifier.scores(sounds[0]), classifier.scores(sounds[0], ""))


def test_any_runtime_can_make_the_tokens_by_the_file_alone(run, report):
    """By its signature and its vocabulary, with nothing of this package."""
    from ai_edge_litert.interpreter import Interpreter

    content = report.paths["float32"].read_bytes()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        lines = archive.read("vocabulary.txt").decode("utf-8").splitlines()
        settings = json.loads(archive.read("tfaudio.json"))
    words = settings["text"]["length"]
    assert settings["text"] == {"length": 6, "vocabulary_size": len(lines), "mask_labels": True}
    assert settings["format"] == 2
    tokens = np.zeros((1, words), np.int32)
    tokens[0, :2] = lines.index("recorded"), lines.index("tower")
    sound = waveforms(1)
    runner = Interpreter(model_content=content).get_signature_runner()
    scores = runner(waveform=sound, tokens=tokens)["scores"]
    np.testing.assert_allclose(scores, keras_scores(run, sound, ["recorded tower"]), atol=1e-4)


SERVER = """
import json, sys
import numpy as np
import tensorflow as tf
folder, work = sys.argv[1:]
loaded = tf.saved_model.load(folder)
texts = json.load(open(work + "/texts.json", encoding="utf-8"))
waveforms = np.load(work + "/waveforms.npy")
wavs = [open(f"{work}/{i}.wav", "rb").read() for i in range(len(texts))]
results = {}
for name in ("serving_default", "waveform"):
    results[name] = loaded.signatures[name](waveform=tf.constant(waveforms), text=tf.constant(texts))["scores"]
results["wav"] = loaded.signatures["wav"](wav=tf.constant(wavs), text=tf.constant(texts))["scores"]
long = np.concatenate([waveforms[:1], waveforms[1:2]], axis=1)
results["long"] = loaded.signatures["waveform"](waveform=tf.constant(long), text=tf.constant(texts[:1]))["scores"]
none = loaded.signatures["waveform"](waveform=tf.zeros([0, 2000]), text=tf.constant([], tf.string))["scores"]
assert none.shape == (0, 3), none.shape
assert not [m for m in sys.modules if m.split(".")[0] in ("tfaudio", "tensorflow_io")]
json.dump({k: v.numpy().tolist() for k, v in results.items()}, open(work + "/results.json", "w"))
"""


def test_a_process_with_tensorflow_alone_takes_strings(run, report, tmp_path):
    sounds = waveforms(len(TEXTS))
    texts = [unicodedata.normalize("NFC", text) for text in TEXTS]
    np.save(tmp_path / "waveforms.npy", sounds)
    (tmp_path / "texts.json").write_text(json.dumps(texts), "utf-8")
    for index, sound in enumerate(sounds):
        soundfile.write(tmp_path / f"{index}.wav", sound, RATE, "PCM_16")
    command = [sys.executable, "-c", SERVER, str(report.paths["saved_model"]), str(tmp_path)]
    # Where I is no capital i, and nothing may come of it.
    turkish = {**os.environ, "LANG": "tr_TR.UTF-8", "LC_ALL": "tr_TR.UTF-8"}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=turkish)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "results.json").read_text())
    expected = keras_scores(run, sounds, TEXTS)
    np.testing.assert_allclose(results["serving_default"], expected, atol=1e-4)
    np.testing.assert_allclose(results["waveform"], expected, atol=1e-4)
    np.testing.assert_allclose(results["wav"], expected, atol=1e-2)
    halves = keras_scores(run, sounds[:2], [TEXTS[0], TEXTS[0]])
    np.testing.assert_allclose(results["long"][0], halves.mean(axis=0), atol=1e-4)


def test_the_saved_model_has_core_operators_only_and_says_the_same(report):
    found = saved_model.operators(report.paths["saved_model"])
    assert {"LookupTableFindV2", "StringLower"} <= found
    assert not [name for name in found if ">" in name or name in ("PyFunc", "EagerPyFunc", "NumpyFunction")]
    about = read_settings_folder(report.paths["saved_model"] / "assets")
    assert about == replace(read_metadata(report.paths["float32"]), variant="saved_model")


def test_the_device_reads_the_vocabulary_back(run, report):
    for variant in TFLITE:
        assert read_metadata(report.paths[variant]).tokenizer == run.tokenizer


def test_the_metadata_tell_both_inputs(run, report):
    (graph,) = mediapipe_metadata_of(report.paths["float32"].read_bytes()).children(3)
    waveform, tokens = graph.children(2)
    assert (waveform.text(0), waveform.child(3).byte(0)) == ("waveform", 4)
    assert (tokens.text(0), tokens.child(3).byte(0)) == ("tokens", 1)
    (words,) = tokens.children(6)
    assert (words.text(0), words.byte(2)) == ("vocabulary.txt", 5)  # VOCABULARY
    assert tokens.child(5).floats(0) == [len(run.tokenizer.vocabulary) + 1.0]


def test_a_file_without_its_vocabulary_is_refused(report):
    content = report.paths["float32"].read_bytes()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {member.filename: archive.read(member) for member in archive.infolist()}
        start = min(member.header_offset for member in archive.infolist())

    def rebuilt(**files: bytes) -> bytes:
        whole = io.BytesIO(content[:start])
        with zipfile.ZipFile(whole, "a") as archive:
            for name, data in {**members, **files}.items():
                if data:
                    archive.writestr(name, data)
        return whole.getvalue()

    parse_metadata(rebuilt(), "model")
    with pytest.raises(TfaudioError, match=r"the model takes text, but has no vocabulary\.txt"):
        parse_metadata(rebuilt(**{"vocabulary.txt": b""}), "model")
    with pytest.raises(TfaudioError, match=r"vocabulary\.txt: it is no vocabulary"):
        parse_metadata(rebuilt(**{"vocabulary.txt": b"a\nb\n"}), "model")


def test_the_card_says_what_it_takes_and_who_does_not_run_it(report):
    card = (report.output_dir / "card.md").read_text("utf-8")
    assert "takes a text of up to 6 words" in card
    assert "MediaPipe's AudioClassifier takes sound alone" in card


@pytest.mark.parametrize("variant", TFLITE)
def test_the_self_test_replays_files_with_text(report, variant):
    assert run_self_test(report.paths[variant]).ok


def test_the_commands_take_a_text_or_none(run, report, tmp_path, capsys):
    sound = waveforms(1)[0]
    soundfile.write(tmp_path / "a.wav", sound, RATE, "FLOAT")
    for text in ("tower", None):
        expected = keras_scores(run, sound[None], [text or ""])[0]
        flags = [] if text is None else [f"--text={text}"]
        for model in (run.path, report.paths["saved_model"], report.paths["float32"]):
            command = ["predict", f"--model={model}", "--format=jsonl", *flags, str(tmp_path / "a.wav")]
            assert main(command) == 0
            scores = json.loads(capsys.readouterr().out)["scores"]
            np.testing.assert_allclose(list(scores.values()), expected, atol=1e-3, err_msg=str(model))
        assert runtime_main([str(report.paths["float32"]), str(tmp_path / "a.wav"), *flags]) == 0
        told = json.loads(capsys.readouterr().out)
        assert (told["label"], told["score"]) == (
            run.labels[int(expected.argmax())],
            pytest.approx(expected.max(), abs=1e-3),
        )
    assert main(["predict", f"--model={run.path}", "--text=", str(tmp_path / "a.wav")]) == 0
    capsys.readouterr()
    assert main(["info", "--json", str(report.paths["float32"])]) == 0
    assert json.loads(capsys.readouterr().out)["text"] == run.tokenizer.settings()


def test_the_command_exports_with_the_texts_of_the_data_set(run, tmp_path, capsys):
    assert main(["export", f"--run_dir={run.path}", f"--output_dir={tmp_path / 'out'}"]) == 0
    told = json.loads((tmp_path / "out" / "report.json").read_text())
    assert told["keras"]["accuracy"] > 0.9
    assert told["text"]["length"] == 6
    assert set(told["formats"]) == {"saved_model", "float32", "float16", "dynamic_range"}  # all that it can be had as
    assert "float32" in capsys.readouterr().out


def test_a_gate_wants_a_text_for_each_clip(run, tmp_path):
    with pytest.raises(TfaudioError, match="got 3 clips or more but 2 texts"):
        export_run(
            run,
            formats=["float32"],
            output_dir=tmp_path / "out",
            calibration=waveforms(1),
            test_waveforms=waveforms(3),
            test_texts=["a", "b"],
        )


def test_tfmot_is_refused_before_it_begins(run, tmp_path):
    with pytest.raises(TfaudioError, match="takes text beside the sound, and tfmot's models one input"):
        optimize_run(run, ["prune"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_model_of_sound_alone_takes_no_text(cnn, tmp_path, capsys):
    file = cnn.report.paths["float32"]
    with pytest.raises(TfaudioError, match="takes no text; leave the text"):
        Classifier(file).scores(np.zeros(16_000, np.float32), "a text")
    soundfile.write(tmp_path / "a.wav", np.zeros(16_000), 16_000)
    for model in (file, cnn.report.paths["saved_model"]):
        assert main(["predict", f"--model={model}", "--text=tower", str(tmp_path / "a.wav")]) != 0
        assert "takes no text; leave the text (--text) out" in capsys.readouterr().err
    assert runtime_main([str(file), str(tmp_path / "a.wav"), "--text=tower"]) == 1
    assert "takes no text" in capsys.readouterr().err


def test_the_saved_model_wants_one_text_for_each_sound(report):
    served = saved_model.load_score(report.paths["saved_model"]).loaded.signatures["waveform"]
    for sounds, texts in ((33, 32), (33, 64), (1, 3), (3, 1)):
        with pytest.raises(tf.errors.InvalidArgumentError, match="Give one text for each sound"):
            served(waveform=tf.constant(waveforms(sounds)), text=tf.constant(["walk"] * texts))
    assert served(waveform=tf.constant(waveforms(33)), text=tf.constant(["walk"] * 33))["scores"].shape[0] == 33


def test_texts_are_composed_for_the_saved_model(run, report):
    composed = "école tower"
    taken_apart = unicodedata.normalize("NFD", composed)
    score = saved_model.load_score(report.paths["saved_model"])
    np.testing.assert_array_equal(score(waveforms(1), [taken_apart]), score(waveforms(1), [composed]))


def test_a_run_of_one_window_is_exported_with_no_other(run, tmp_path, capsys):
    command = ["export", f"--run_dir={run.path}", f"--output_dir={tmp_path / 'out'}", "--clip_seconds=2"]
    assert main(command) == 1
    assert "this run learnt to hear 0.25 s at a time" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_options_may_stand_between_model_and_recordings(run, report, tmp_path, capsys):
    soundfile.write(tmp_path / "a.wav", waveforms(1)[0], RATE)
    assert runtime_main([str(report.paths["float32"]), "--text=walk", str(tmp_path / "a.wav")]) == 0
    assert json.loads(capsys.readouterr().out)["label"] in run.labels.names


def test_a_table_has_no_more_columns_than_there_are_labels(run, report, tmp_path, capsys):
    soundfile.write(tmp_path / "a.wav", waveforms(1)[0], RATE)
    model = f"--model={report.paths['float32']}"
    assert main(["predict", model, "--format=csv", "--top=9", str(tmp_path / "a.wav")]) == 0
    header, row = csv.reader(capsys.readouterr().out.splitlines())
    assert len(header) == len(row) == 3 + 2 * len(run.labels)
