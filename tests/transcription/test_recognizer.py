"""The recogniser end to end, on words that are tones; its loss against that of all ways to say a string."""

from __future__ import annotations

import contextlib
import json
import shutil

import numpy as np
import pytest
import soundfile

from tfaudio.cli.main import main
from tfaudio.config import RunConfig
from tfaudio.data.labelled import read_labelled_data
from tfaudio.features.normalization import Normalization
from tfaudio.models.ctc import ctc_recognizer
from tfaudio.recipes import recipe
from tfaudio.transcription.recognizer import _errors, _training_batches, load_recognizer, words_of_speakers
from tfaudio.transcription.strings import StringConfig

RATE = 8000
TONES = {"high": 2500.0, "low": 400.0, "middle": 1100.0}
SETTINGS = [
    "--set=front_end.sample_rate=8000", "--set=front_end.frame_length=256", "--set=front_end.frame_step=80",
    "--set=front_end.fft_length=256", "--set=front_end.num_mel_bins=20", "--set=strings.longest=3",
    '--set=model.options={"width": 16, "depth": 1, "heads": 2, "stem_filters": 8}', "--set=training.batch_size=16",
    "--set=strings.per_epoch=160", "--set=strings.per_speaker=30", "--set=training.learning_rate=0.01", "--epochs=12",
]  # fmt: skip


def tone(word: str, speaker: int, number: int) -> np.ndarray:
    """A fifth of a second of a word by a speaker, who has his own pitch."""
    time = np.arange(int(RATE * (0.18 + 0.02 * number))) / RATE
    pitch = TONES[word] * (1 + 0.05 * speaker)
    breath = np.random.default_rng(number).normal(scale=0.003, size=len(time))
    return (0.3 * np.sin(2 * np.pi * pitch * time) + breath) * np.hanning(len(time))


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """A manifest of words by three speakers."""
    folder = tmp_path_factory.mktemp("words")
    rows = ["path,label,group"]
    for speaker, name in enumerate(("ann", "bob", "eve")):
        for word in TONES:
            for number in range(3):
                file = f"{name}_{word}_{number}.wav"
                soundfile.write(folder / file, tone(word, speaker, number), RATE)
                rows.append(f"{file},{word},{name}")
    (folder / "words.csv").write_text("\n".join(rows) + "\n")
    return folder / "words.csv"


@pytest.fixture(scope="module")
def run(words, tmp_path_factory):
    folder = tmp_path_factory.mktemp("recognizer") / "run"
    command = ["transcribe", "--dataset=manifest", f"--data_dir={words}", f"--output_dir={folder}"]
    assert main([*command, "--test_speakers=bob", *SETTINGS]) == 0
    return folder


def test_changes_of_features_reach_the_training(words):
    settings = {"front_end.sample_rate": RATE, "front_end.num_mel_bins": 20, "training.epochs": 1}
    settings |= {"front_end.frame_length": 256, "front_end.frame_step": 80, "front_end.fft_length": 256}
    settings |= {"data.dataset": "manifest", "data.data_dir": str(words), "training.batch_size": 4}
    config = RunConfig().override({**recipe("manifest", "ctc"), "model.name": "ctc", **settings})
    spoken = words_of_speakers(read_labelled_data(config, progress=False))
    found = []
    for extra in ({}, {}, {"augment.frequency_shift": 5}, {"augment.filter_augment.probability": 1.0}):
        changed = config.override(extra)
        normalization = Normalization(mean=(0.0,) * 20, stddev=(1.0,) * 20)
        ((inputs, _),) = _training_batches(
            spoken, changed, StringConfig(longest=2), normalization, 1
        ).as_numpy_iterator()
        found.append(inputs["features"])
    np.testing.assert_array_equal(found[0], found[1])
    assert np.abs(found[2] - found[0]).max() > 0.1
    assert np.abs(found[3] - found[0]).max() > 0.1


def test_a_voice_that_was_never_heard_is_understood(run):
    result = json.loads((run / "result.json").read_text())
    assert result["train_speakers"] == ["ann", "eve"]
    assert set(result["by_speaker"]) == {"bob"}
    for found in result["by_speaker"]["bob"].values():
        assert found["interval"][0] <= found["word_error_rate"] <= found["interval"][1]
        assert found["strings"] == 30
    assert result["by_speaker"]["bob"]["beam"]["word_error_rate"] < 0.15


def test_a_recording_is_written_down(run, tmp_path, capsys):
    silence = np.zeros(800)
    said = ["low", "high", "middle"]
    parts = [part for word in said for part in (silence, tone(word, 1, 1))]
    soundfile.write(tmp_path / "said.wav", np.concatenate([*parts, silence]), RATE)
    (tmp_path / "empty.wav").write_bytes(b"")
    capsys.readouterr()
    code = main(["transcribe", f"--run_dir={run}", str(tmp_path / "said.wav"), str(tmp_path / "empty.wav")])
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["words"] == said
    assert "empty (0 bytes)" in second["error"]
    assert code == 1  # one of the two could not be read


def test_what_would_not_fit_into_memory_is_refused(run, tmp_path, capsys):
    soundfile.write(tmp_path / "hour.wav", np.zeros(3600 * RATE), RATE)
    assert main(["transcribe", f"--run_dir={run}", str(tmp_path / "hour.wav")]) == 1
    assert "is 3600 s long, and a recogniser takes 300 s at most" in json.loads(capsys.readouterr().out)["error"]


@pytest.mark.parametrize("command", [["predict", "--model={run}", "{run}/a.wav"], ["info", "{run}"]])
def test_what_takes_classifiers_says_what_takes_this(command, run, capsys):
    soundfile.write(run / "a.wav", tone("low", 0, 0), RATE)
    assert main([part.format(run=run) for part in command]) == 1
    assert f"is a recogniser of words; use `tfaudio transcribe --run_dir={run}`" in capsys.readouterr().err


def test_a_batch_changes_nothing(run):
    recognizer = load_recognizer(run)
    short, long = (tone("low", 1, n).astype(np.float32) for n in (0, 2))
    alone = recognizer.logits([short])[0]
    beside = recognizer.logits([short, np.concatenate([long] * 5)])[0]
    np.testing.assert_allclose(beside, alone, atol=1e-4)


def test_strings_of_other_lengths_are_no_doubt_about_the_rate():
    said = [[1] * (1 + number % 6) for number in range(200)]
    found = _errors([[2] * len(words) for words in said], said)
    assert (found["word_error_rate"], found["interval"]) == (1.0, [1.0, 1.0])
    # Of strings of one word each, errors are throws of a coin: Wald's interval is exact enough.
    coin = _errors([[1 + number % 2] for number in range(400)], [[1]] * 400)
    assert coin["interval"] == pytest.approx([0.5 - 1.96 * 0.025, 0.5 + 1.96 * 0.025], abs=0.005)


def test_the_loss_is_that_of_all_ways_to_say_the_words():
    model = ctc_recognizer(input_shape=(None, 8), num_symbols=2, width=4, depth=1, heads=1, stem_filters=2)
    features = np.random.default_rng(0).normal(size=(1, 16, 8)).astype(np.float32)
    mask = np.arange(16)[None] < 13  # four steps
    inputs = {"features": features * mask[..., None], "mask": mask}
    logits = model(inputs, training=False).numpy()[0, :4].astype(np.float64)
    shares = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    ways = [(1, 2, 0, 0), (1, 0, 2, 0), (1, 0, 0, 2), (0, 1, 2, 0), (0, 1, 0, 2), (0, 0, 1, 2), (1, 1, 2, 0),
            (1, 2, 2, 0), (1, 1, 0, 2), (0, 1, 1, 2), (0, 1, 2, 2), (1, 0, 2, 2), (1, 1, 1, 2), (1, 1, 2, 2),
            (1, 2, 2, 2)]  # fmt: skip
    expected = -np.log(sum(np.prod(shares[range(4), way]) for way in ways)) / 2  # a word at a time
    loss = model.compute_loss(inputs, np.array([[0, 1, -1]], np.int32), model(inputs, training=False))
    assert float(loss) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Give --run_dir with recordings to transcribe, or --output_dir to train"),
        (["--run_dir=nowhere"], "Name at least one recording"),
        (["--run_dir=nowhere", "a.wav"], "There is no folder nowhere"),
        (["--run_dir=.", "a.wav"], "not the folder of a recogniser"),
        (["--run_dir=nowhere", "a.wav", "--json=x.json"], "--json is for training"),
        (["--run_dir=nowhere", "a.wav", "--set=strings.longest=3"], "--set is for training"),
        (["--output_dir=new"], "--test_speakers is needed"),
        (["--output_dir=new", "--test_speakers=zoe"], "zoe"),
        (["--output_dir=new", "--test_speakers=ann,bob,eve"], "none is left to train on"),
        (["--output_dir=new", "--test_speakers=ann", "--set=strings.longest=0"], "strings.longest"),
        (["--output_dir=new", "--test_speakers=ann", "--set=training.swa_fraction=0.2"], "swa_fraction has no part"),
        (["--output_dir=new", "--test_speakers=ann", "--set=training.shuffle_labels=true"], "shuffle_labels has no"),
        (
            ["--output_dir=new", "--test_speakers=ann", "--set=augment.cutmix.probability=1"],
            "cutmix.probability must be",
        ),
        (["--output_dir=new", "--test_speakers=ann", "--set=augment.mixup_alpha=1"], "mixup_alpha must be 0"),
        (["--output_dir=new", "--test_speakers=ann", "--set=augment.time_shift=0.1"], "time_shift must be 0"),
        (["--output_dir=new", "--test_speakers=ann", "--set=augment.speed.probability=0.5"], "slowed down would lose"),
        (["--output_dir=new", "--test_speakers=ann", "--set=augment.time_stretch.probability=1"], "time_stretch.prob"),
        (["--output_dir=new", "--test_speakers=ann", "--set=front_end.feature=leaf"], "of which nothing is learnt"),
        (["--output_dir=new", "--test_speakers=ann", "--set=training.mixed_precision=true"], "in float32 on one"),
        (["--output_dir=new", "--test_speakers=ann", '--set=model.options={"with": 3}'], "with"),
        (["--output_dir=new", "--test_speakers=ann", "--beam=1"], "--beam=1 searches greedily"),
        *(
            (["--output_dir=new", "--test_speakers=ann", f"--set={setting}"], "has no effect here")
            for setting in ("model.name=crnn", "clip.seconds=2", "data.test_fold=1", "training.label_smoothing=0.4")
        ),
    ],
)
def test_mistakes_are_told_in_a_sentence(arguments, said, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    data = [] if "--run_dir" in " ".join(arguments) else ["--dataset=manifest", f"--data_dir={words}"]
    assert main(["transcribe", *data, *arguments]) in (1, 2)
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error
    assert not (tmp_path / "new").exists()


def test_speakers_to_test_on_are_no_background(words, tmp_path, capsys):
    folder = tmp_path / "street"
    folder.mkdir()
    shutil.copy(words.parent / "ann_low_0.wav", folder / "somebody.wav")
    command = ["transcribe", "--dataset=manifest", f"--data_dir={words}", f"--output_dir={tmp_path / 'new'}"]
    command += ["--set=augment.background.probability=0.5", f"--set=augment.background.dir={folder}"]
    assert main([*command, "--test_speakers=ann"]) == 1
    assert "somebody.wav" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_recognizer_is_kept_before_it_is_measured(words, tmp_path, monkeypatch):
    def stopped(*_args, **_settings):
        raise KeyboardInterrupt

    monkeypatch.setattr("tfaudio.transcription.recognizer.evaluate_recognizer", stopped)
    command = ["transcribe", "--dataset=manifest", f"--data_dir={words}", f"--output_dir={tmp_path / 'run'}"]
    command += ["--test_speakers=bob", *SETTINGS, "--epochs=1", "--set=strings.per_epoch=16"]
    with contextlib.suppress(KeyboardInterrupt):
        assert main(command) != 0
    assert load_recognizer(tmp_path / "run").speakers == ("ann", "eve")


def test_what_else_lies_in_the_folder_stays(words, run, tmp_path, capsys):
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "dear.wav").write_bytes(b"mine")
    (tmp_path / "run" / "config.json").write_text("{}")  # of a classifier that lay here
    command = ["transcribe", "--dataset=manifest", f"--data_dir={words}", f"--output_dir={tmp_path / 'run'}"]
    command += ["--test_speakers=bob", *SETTINGS, "--epochs=1", "--set=strings.per_epoch=16"]
    assert main(command) == 1
    assert "pass --overwrite" in capsys.readouterr().err
    assert main([*command, "--overwrite"]) == 0
    assert (tmp_path / "run" / "dear.wav").read_bytes() == b"mine"
    assert load_recognizer(tmp_path / "run").config.training.epochs == 1
    assert not (tmp_path / "run" / "config.json").exists()


def test_a_damaged_recognizer_says_so(run, tmp_path, capsys):
    for name in ("recognizer.json", "model.weights.h5"):
        folder = tmp_path / name
        folder.mkdir()
        for file in run.iterdir():
            content = file.read_bytes()
            (folder / file.name).write_bytes(content[: len(content) // 2] if file.name == name else content)
        assert main(["transcribe", f"--run_dir={folder}", "a.wav"]) == 1
        assert f"{folder / name} cannot be used" in capsys.readouterr().err
