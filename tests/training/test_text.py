"""Sound and text through training, the run folder and evaluation, on data where the text alone tells the class."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.text_runs import CLIPS, FOLDS, WORDS, settings, text_run, write_data
from tfaudio.bundle import Bundle, load_bundle, read_split
from tfaudio.cli.main import main
from tfaudio.data.catalog import read_dataset
from tfaudio.data.labelled import read_labelled_data
from tfaudio.errors import TfaudioError
from tfaudio.evaluation.evaluate import INPUTS, evaluate, score_clips
from tfaudio.training.trainer import train


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return text_run(tmp_path_factory.mktemp("text"))


def data_of(run: Bundle) -> Path:
    return Path(str(run.config.data.data_dir))


def quiet_train(config, folder, **options):
    return train(config, folder, progress=False, log=lambda _: None, **options)


def test_the_text_is_worth_what_it_should_be(run):
    found = evaluate(run, progress=False)
    assert list(found.by_inputs) == list(INPUTS)
    accuracy = {name: metrics.accuracy for name, metrics in found.by_inputs.items()}
    assert found.metrics == found.by_inputs["audio_and_text"]
    assert found.metrics.num_clips == len(WORDS) * CLIPS // FOLDS
    assert accuracy["audio_and_text"] > 0.95
    assert accuracy["text"] > 0.95
    # A guess is right in a third; of 24 clips, 16 are more than three deviations above it.
    assert accuracy["audio"] < 0.65
    assert accuracy["audio_and_shuffled_text"] < 0.65


def test_shuffling_deals_the_texts_out_anew_by_the_seed(run):
    data = read_labelled_data(run.config, progress=False)
    indices = np.arange(12)
    first, again = (score_clips(run, data.recordings, indices, inputs="audio_and_shuffled_text") for _ in range(2))
    np.testing.assert_array_equal(first, again)
    # Who gets whose text is the generator's, never one's own; the sound stays where it is.
    clips = list(data.recordings.clips)
    order = np.random.default_rng(run.config.training.seed).permutation(indices)
    for index, other in zip(order, [order[-1], *order[:-1]], strict=True):
        assert index != other
        clips[index] = replace(clips[index], text=data.recordings.clips[other].text)
    dealt = replace(data.recordings, clips=tuple(clips))
    np.testing.assert_allclose(score_clips(run, dealt, indices), first, atol=1e-6)


def test_a_missing_text_is_no_text_and_missing_sound_is_silence(run):
    data = read_labelled_data(run.config, progress=False)
    indices = np.arange(10)
    mute = replace(data.recordings, clips=tuple(replace(clip, text=None) for clip in data.recordings.clips))
    without = score_clips(run, data.recordings, indices, inputs="audio")
    np.testing.assert_allclose(score_clips(run, mute, indices), without, atol=1e-6)
    silent = replace(data.recordings, samples=data.recordings.samples * 0)
    text = score_clips(run, data.recordings, indices, inputs="text")
    np.testing.assert_allclose(score_clips(run, silent, indices), text, atol=1e-6)
    assert np.abs(text - without).max() > 0.1


def test_the_vocabulary_is_of_the_training_texts_alone_and_without_classes(run):
    spec = read_dataset(run.config.data)
    training = {word for clip in spec.clips if clip.fold != 1 and clip.text for word in run.tokenizer.words(clip.text)}
    assert set(run.tokenizer.vocabulary) == training
    assert not {"bells", "drums", "horns"} & training
    lines = (run.path / "vocabulary.txt").read_text("utf-8").splitlines()
    assert lines == ["[PAD]", "[UNK]", *run.tokenizer.vocabulary]
    assert "барабан" in lines
    assert {"take2", "take3"} <= training
    assert "take1" not in lines  # of the test fold


def test_the_run_folder_comes_back_whole(run):
    again = load_bundle(run.path)
    assert again.tokenizer == run.tokenizer
    assert again.config.text.length == 6
    given = run.inputs(np.zeros((2, 2000), np.float32), ["tower", None])
    np.testing.assert_array_equal(
        again.end_to_end(2000).predict(given, verbose=0), run.end_to_end(2000).predict(given, verbose=0)
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file: file.unlink(), r"has no vocabulary\.txt: its training did not finish"),
        (lambda file: file.write_text("a\nb\n"), r"vocabulary\.txt is damaged \(it is no vocabulary"),
        (lambda file: file.write_bytes(b"\xff\xfe"), r"vocabulary\.txt is damaged"),
    ],
)
def test_a_damaged_vocabulary_is_told(run, tmp_path, change, message):
    for file in run.path.glob("*.*"):
        if file.is_file():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    change(tmp_path / "vocabulary.txt")
    with pytest.raises(TfaudioError, match=message):
        load_bundle(tmp_path)


def test_texts_that_changed_since_training_are_noticed(run, tmp_path):
    stored = read_split(run.path)["fingerprint"]
    spec = read_dataset(run.config.data)
    assert stored == spec.fingerprint(with_text=True) != spec.fingerprint()
    other = replace(spec, clips=tuple(replace(clip, text="x") for clip in spec.clips))
    assert other.fingerprint() == spec.fingerprint()  # of what takes sound alone
    assert other.fingerprint(with_text=True) != stored
    copy = write_data(tmp_path)
    copy.write_text(copy.read_text("utf-8").replace("TOWER", "steeple"), "utf-8")
    with pytest.raises(TfaudioError, match="has changed since this run was trained"):
        evaluate(run.moved_data(str(copy)), progress=False)


def test_a_stopped_run_resumes_with_the_same_texts_alone(tmp_path):
    data = write_data(tmp_path / "data")
    config = settings(data, **{"training.epochs": 1})
    whole = quiet_train(config, tmp_path / "run")
    for name in ("model.weights.h5", "vocabulary.txt"):  # what is written last
        (tmp_path / "run" / name).unlink()
    again = quiet_train(config, tmp_path / "run", resume=True)
    assert again.tokenizer == whole.tokenizer
    for ours, theirs in zip(again.classifier.get_weights(), whole.classifier.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    (tmp_path / "run" / "model.weights.h5").unlink()
    data.write_text(data.read_text("utf-8").replace("TOWER", "steeple"), "utf-8")
    with pytest.raises(TfaudioError, match=r"has changed since .* was begun"):
        quiet_train(config, tmp_path / "run", resume=True)


def test_recordings_taken_whole_train_too(tmp_path):
    data = write_data(tmp_path)
    run = quiet_train(settings(data, **{"training.epochs": 1, "clip.seconds": None}), tmp_path / "run")
    found = evaluate(run, progress=False)
    assert np.isfinite(found.scores).all()
    assert set(found.by_inputs) == set(INPUTS)


def test_a_data_set_without_texts_is_refused_before_anything_is_written(tmp_path):
    data = write_data(tmp_path)
    rows = [line.rsplit(",", 1)[0] for line in data.read_text("utf-8").splitlines()]
    data.write_text("\n".join(row.partition(',"')[0] for row in rows) + "\n", "utf-8")
    with pytest.raises(TfaudioError, match="no training recording has a text; fill the column `text`"):
        quiet_train(settings(data), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_command_tells_all_four_figures(run, tmp_path, capsys):
    assert main(["evaluate", f"--run_dir={run.path}", f"--json={tmp_path / 'found.json'}"]) == 0
    shown = capsys.readouterr().out
    found = json.loads((tmp_path / "found.json").read_text())["by_inputs"]
    assert list(found) == list(INPUTS)
    for name in INPUTS:
        (line,) = [line for line in shown.splitlines() if line.startswith(f"{name.replace('_', ' ')}  ")]
        assert f"{found[name]['accuracy']:.1%}" in line
    expected = evaluate(run, progress=False).by_inputs
    assert {name: metrics.to_dict() for name, metrics in expected.items()} == found


def test_training_stores_all_four_figures_over_the_folds(run, tmp_path, capsys):
    data = data_of(run)
    flags = ["--dataset=manifest", f"--data_dir={data}", "--model=audio_text", "--epochs=1", "--folds=1,2"]
    flags += ["--clip_seconds=0.25", "--sample_rate=8000", "--set=front_end.frame_length=256"]
    flags += ["--set=front_end.fft_length=256", "--set=front_end.num_mel_bins=16", "--set=front_end.frame_step=128"]
    flags += ['--set=model.options={"width": 16, "heads": 2, "depth": 1, "stem_filters": 4}']
    assert main(["train", *flags, f"--output_dir={tmp_path / 'runs'}", f"--json={tmp_path / 'result.json'}"]) == 0
    record = json.loads((tmp_path / "result.json").read_text())
    assert record["config"]["text"]["length"] == 16  # of the recipe
    by_inputs = record["accuracy_by_inputs"]
    assert list(by_inputs) == list(INPUTS)
    assert by_inputs["audio_and_text"] == pytest.approx(record["accuracy"])
    assert f"given audio: {by_inputs['audio']:.1%}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--model=cnn", "--set=text.length=8"], "text.length is 8, but model 'cnn' takes no text"),
        (["--model=audio_text", "--set=text.length=0"], "takes text beside the sound, but text.length is 0"),
    ],
)
def test_model_and_setting_that_do_not_fit_are_told_in_a_sentence(run, tmp_path, capsys, flags, message):
    command = ["train", "--dataset=manifest", f"--data_dir={data_of(run)}", f"--output_dir={tmp_path / 'run'}", *flags]
    assert main(command) != 0
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_esc10_titles_are_its_texts_and_leave_its_fingerprint_as_it_was(tmp_path):
    (tmp_path / "audio").mkdir()
    for name in ("1-1-A.ogg", "1-2-A.ogg"):
        (tmp_path / "audio" / name).write_bytes(b"x")
    fingerprints = set()
    for head, first, second in ((",title", ",A dog, barking", ","), ("", "", "")):
        rows = [f"filename,fold,category{head}", "1-1-A.ogg,1,dog{}", "1-2-A.ogg,1,rain{}"]
        quoted = f',"{first[1:]}"' if first else ""
        (tmp_path / "esc10.csv").write_text("\n".join(rows).format(quoted, second))
        spec = read_dataset(settings(tmp_path).data.replace(dataset="esc10", data_dir=str(tmp_path)))
        assert [clip.text for clip in spec.clips] == (["A dog, barking", None] if first else [None, None])
        fingerprints.add(spec.fingerprint())
    assert len(fingerprints) == 1
