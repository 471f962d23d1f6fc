"""Seeds, groups, nested choices and the control of shuffled labels, by `tfaudio train`."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfaudio.bundle import check_whole, load_bundle, read_config
from tfaudio.cli.main import main
from tfaudio.cli.train import summary_line
from tfaudio.data.labelled import read_labelled_data
from tfaudio.errors import TfaudioError
from tfaudio.evaluation.evaluate import score_clips
from tfaudio.training.trainer import shuffled_labels

Train = Callable[..., dict[str, Any]]


@pytest.fixture
def train(tones: Path, tone_flags: list[str]) -> Train:
    """Trains on the tones, under further flags, and returns the result."""

    def run(output_dir: Path, *arguments: str) -> dict[str, Any]:
        assert main(["train", f"--data_dir={tones}", f"--output_dir={output_dir}", *tone_flags, *arguments]) == 0
        result: dict[str, Any] = json.loads((output_dir / "result.json").read_text())
        return result

    return run


def weights(folder: Path) -> dict[str, int]:
    """When each run below a folder was written."""
    return {str(file.parent.relative_to(folder)): file.stat().st_mtime_ns for file in folder.rglob("model.weights.h5")}


def test_seeds_are_averaged_and_those_that_are_there_are_not_trained_again(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = Path(f"{tmp_path}.json")
    first = train(tmp_path, "--folds=1", "--seeds=3", f"--json={document}")
    before = weights(tmp_path)
    more = ["train", f"--output_dir={tmp_path}", "--resume", "--folds=1", "--seeds=0,3"]
    assert main([*more, f"--json={document}"]) == 0
    assert json.loads(document.read_text())["seeds"] == [0, 3]
    after = weights(tmp_path)
    assert set(after) == {"seed_0", "seed_3"}
    assert after["seed_3"] == before["seed_3"]
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["protocol"], result["seeds"], result["num_clips"]) == ("folds", [0, 3], 12)
    by_seed = [json.loads((tmp_path / f"seed_{seed}" / "metrics.json").read_text())["accuracy"] for seed in (0, 3)]
    assert list(result["accuracy_per_seed"].values()) == pytest.approx(by_seed)
    assert by_seed[1] == first["accuracy"]
    assert result["accuracy"] == pytest.approx(np.mean(by_seed))
    assert result["standard_deviation_over_seeds"] == pytest.approx(np.std(by_seed, ddof=1))
    assert read_config(tmp_path / "seed_0") == read_config(tmp_path / "seed_3").override({"training.seed": 0})
    exported, report = Path(f"{tmp_path}_export"), Path(f"{tmp_path}_export.json")
    command = ["export", f"--run_dir={tmp_path}", f"--output_dir={exported}", "--formats=float32", f"--json={report}"]
    assert main(command) == 0
    record = json.loads(report.read_text())
    assert (record["seeds"], record["num_clips"]) == ([0, 3], 12)
    assert record["accuracy"] == pytest.approx(result["accuracy"])
    capsys.readouterr()
    assert main([*more[:3], "--folds=1,2"]) == 1
    assert "same --folds, --seeds" in capsys.readouterr().err


def test_each_group_is_left_out_and_stays_out_afterwards(train: Train, tmp_path: Path) -> None:
    run = tmp_path / "run"
    result = train(run, "--protocol=leave_one_group_out")
    assert result["protocol"] == "leave_one_group_out"
    assert set(result["accuracy_per_fold"]) == {"ann", "bob"}
    assert result["num_clips"] == 36
    split = json.loads((run / "group_ann" / "split.json").read_text())
    assert split["rule"].startswith("test: group 'ann'")
    assert {int("".join(filter(str.isdigit, name))) // 6 for name in split["test"]} == {0}
    again = tmp_path / "again"
    assert main(["evaluate", f"--run_dir={run / 'group_ann'}", f"--report_dir={again}"]) == 0
    assert (again / "predictions.csv").read_text() == (run / "group_ann" / "predictions.csv").read_text()
    wide = ["--max_accuracy_drop=1", "--min_agreement=0", "--formats=float32", f"--json={tmp_path / 'export.json'}"]
    assert main(["export", f"--run_dir={run / 'group_ann'}", f"--output_dir={tmp_path / 'out'}", *wide]) == 0
    export = json.loads((tmp_path / "export.json").read_text())
    assert (export["protocol"], export["num_clips"]) == ("leave_one_group_out", 18)
    assert export["accuracy_by_format"]["keras"] == pytest.approx(result["accuracy_per_fold"]["ann"])


def test_a_nested_choice_is_made_without_the_test_fold_and_told(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The first candidate learns nothing, so that the choice is not left to chance.
    candidates = [
        "--candidate=training.learning_rate=1e-9",
        "--candidate=training.learning_rate=0.03,training.epochs=10",
    ]
    arguments = ["--protocol=nested", "--folds=1", *candidates]
    result = train(tmp_path, *arguments)
    assert result["protocol"] == "nested"
    assert result["candidates"][1] == {"training.learning_rate": 0.03, "training.epochs": 10}
    choice = result["choices"]["1"]
    assert (choice["chosen_on"], choice["chosen"]) == ("2", 2)
    assert choice["accuracies"][1] > choice["accuracies"][0]
    assert result["accuracy"] > 0.8
    assert "chosen on fold 2: training.learning_rate=0.03" in capsys.readouterr().out
    assert read_config(tmp_path / "fold_1").training.epochs == 10
    for number in (1, 2):
        split = json.loads((tmp_path / "candidates" / "folds_1_2" / f"candidate_{number}" / "split.json").read_text())
        used = {int("".join(filter(str.isdigit, n))) % 3 + 1 for n in (*split["train"], *split["test"])}
        assert used == {2, 3}
    before = weights(tmp_path)
    assert len(before) == 3
    train(tmp_path, "--resume", *arguments)
    assert weights(tmp_path) == before


def test_one_training_chooses_for_two_folds(train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    candidates = ["--candidate=training.learning_rate=1e-9", "--candidate=training.epochs=5"]
    result = train(tmp_path, "--protocol=nested", "--folds=2,1", *candidates)
    assert [folder.name for folder in (tmp_path / "candidates").iterdir()] == ["folds_1_2"]
    assert "4 runs" in capsys.readouterr().err
    assert {fold: choice["chosen_on"] for fold, choice in result["choices"].items()} == {"2": "1", "1": "2"}
    for number in (1, 2):
        folder = tmp_path / "candidates" / "folds_1_2" / f"candidate_{number}"
        split = json.loads((folder / "split.json").read_text())
        assert {int("".join(filter(str.isdigit, name))) % 3 + 1 for name in split["train"]} == {3}
        # On fold 2 the run was tested like any other; on fold 1, which took no part, by another count of its scores.
        told = json.loads((folder / "metrics.json").read_text())["accuracy"]
        assert result["choices"]["1"]["accuracies"][number - 1] == told
        bundle = load_bundle(folder)
        data = read_labelled_data(bundle.config)
        first = np.asarray([index for index, clip in enumerate(data.recordings.clips) if clip.fold == 1])
        scores = score_clips(bundle, data.recordings, first)
        correct = scores.argmax(axis=1) == data.targets(bundle.labels)[first]
        assert result["choices"]["2"]["accuracies"][number - 1] == pytest.approx(correct.mean())


def test_what_a_nested_choice_made_is_told_by_all_that_is_made_of_it(train: Train, tmp_path: Path) -> None:
    nested, both, exported = tmp_path / "nested", tmp_path / "both", tmp_path / "exported"
    candidates = ["--candidate=training.epochs=1", "--candidate=training.epochs=2"]
    train(nested, "--protocol=nested", "--folds=1", "--seeds=0,1", *candidates)
    protocols = []
    for command in (
        ["ensemble", str(nested), f"--output_dir={both}"],
        ["export", f"--run_dir={nested}", f"--output_dir={exported}", "--formats=float32"],
        ["export", f"--run_dir={both}", f"--output_dir={exported}", "--formats=float32", "--overwrite"],
        ["ensemble", *map(str, nested.glob("candidates/folds_1_2/*")), f"--output_dir={tmp_path / 'losers'}"],
    ):
        document = tmp_path / f"{len(protocols)}.json"
        assert main([*command, f"--json={document}"]) == 0
        protocols.append(json.loads(document.read_text())["protocol"])
    assert protocols == ["nested", "nested", "nested", "folds"]  # candidates are what was chosen among


def test_shuffled_labels_leave_no_more_than_a_guess(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    learns = ["--folds=1", "--epochs=10", "--learning_rate=0.03"]
    result = train(tmp_path, *learns, "--shuffle_labels")
    assert result["protocol"] == "shuffled_labels"
    assert result["chosen_epoch"] == "last"
    assert result["control"] == {"guess": pytest.approx(1 / 3)}
    assert result["accuracy"] < 0.5  # with the true labels the same training finds nearly all, as above
    assert "a guess is right in 33.3%" in capsys.readouterr().out


def test_a_result_says_by_what_the_epoch_was_chosen(train: Train, tones: Path, tmp_path: Path) -> None:
    # An official validation part chooses the epoch, whatever --validation_fraction says.
    rows = [row.split(",") for row in tones.read_text().splitlines()]
    parts = {"1": "test", "2": "validation", "3": "train", "fold": "split"}
    lines = [
        ",".join([str(tones.parent / path) if fold != "fold" else path, label, parts[fold]])
        for path, label, fold, _ in rows
    ]
    (tmp_path / "parts.csv").write_text("\n".join(lines) + "\n")
    result = train(tmp_path / "run", f"--data_dir={tmp_path / 'parts.csv'}", "--early_stopping=5")
    assert (result["protocol"], result["chosen_epoch"]) == ("official", "lowest validation loss")


def test_early_stopping_needs_something_to_stop_by(
    tones: Path, tone_flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", f"--data_dir={tones}", f"--output_dir={tmp_path / 'run'}", *tone_flags, "--folds=1"]
    assert main([*command, "--early_stopping=5"]) == 1
    assert "--validation_fraction" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_refused_resumption_leaves_the_folder_as_it_was(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path, "--folds=1,2", "--epochs=1")
    before = (tmp_path / "shared_config.json").read_text()
    resume = ["train", f"--output_dir={tmp_path}", "--resume"]
    for other in (["--folds=1,2", "--epochs=2"], ["--folds=3,1", "--epochs=2"]):
        assert main([*resume, *other]) == 1
        assert "trained with other settings (training.epochs)" in capsys.readouterr().err
        assert (tmp_path / "shared_config.json").read_text() == before
        assert not (tmp_path / "fold_3").exists()
    assert main([*resume, "--folds=1,2"]) == 0


def test_a_result_names_the_model_that_was_chosen(train: Train, tmp_path: Path) -> None:
    # Whichever it is, it is not that of the flags.
    candidates = [f'--candidate=model.name=cnn,model.options={{"filters":[{width}]}}' for width in (4, 8)]
    result = train(tmp_path, "--protocol=nested", "--folds=1", "--epochs=1", *candidates)
    assert (result["model"], result["config"]["model"]["name"]) == ("cnn", "dense")


def test_a_folder_whose_checkpoints_could_not_be_read_is_refused(
    tones: Path, tone_flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run[1]"
    assert main(["train", f"--data_dir={tones}", f"--output_dir={out}", *tone_flags, "--folds=1"]) == 1
    assert "holds '['; choose another output folder" in capsys.readouterr().err
    assert not out.exists()


def test_shuffling_keeps_the_number_of_each_label_and_the_test_labels() -> None:
    targets = np.tile(np.arange(4), 25)
    train_part, validation = np.arange(0, 100, 2), np.arange(1, 50, 2)
    shuffled = shuffled_labels(targets, (train_part, validation), seed=1)
    rest = np.setdiff1d(np.arange(100), np.union1d(train_part, validation))
    np.testing.assert_array_equal(shuffled[rest], targets[rest])
    for part in (train_part, validation):
        np.testing.assert_array_equal(np.bincount(shuffled[part]), np.bincount(targets[part]))
        assert np.mean(shuffled[part] == targets[part]) < 0.6
    np.testing.assert_array_equal(shuffled, shuffled_labels(targets, (train_part, validation), seed=1))
    assert (shuffled != shuffled_labels(targets, (train_part, validation), seed=2)).any()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--seeds=0,1", "--seed=1"], 2, "--seeds and --seed"),
        (["--seeds=a"], 2, "numbers such as 1 or 1,3"),
        (["--candidate=training.epochs=1"], 2, "--protocol=nested"),
        (["--protocol=nested", "--candidate="], 2, "at least twice"),
        (["--protocol=nested", "--candidate=", "--candidate=epochs"], 2, "section.name=value"),
        (["--protocol=nested", "--candidate=", "--candidate=data.test_fold=1"], 1, "data.test_fold"),
        (["--protocol=leave_one_group_out", "--folds=1"], 2, "no place"),
        (["--protocol=official"], 2, "protocol"),
    ],
)
def test_flags_that_contradict_each_other(
    arguments: list[str], code: int, message: str, tones: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["train", "--dataset=manifest", f"--data_dir={tones}", f"--output_dir={tmp_path / 'run'}", *arguments]
    assert main(given) == code
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_run_for_use_is_trained_on_all_and_measured_on_none(
    tones: Path, tone_flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, exported, report = tmp_path / "run", tmp_path / "exported", tmp_path / "export.json"
    command = ["train", f"--data_dir={tones}", *tone_flags, "--set=data.train_on_all=true"]
    assert main([*command, f"--output_dir={run}"]) == 0
    assert "nothing was measured" in capsys.readouterr().out
    assert not [name for name in ("result.json", "metrics.json", "predictions.csv") if (run / name).exists()]
    split = json.loads((run / "split.json").read_text())
    assert (len(split["train"]), split["test"], split["rule"]) == (36, [], "test: none; no validation")
    export = ["export", f"--run_dir={run}", f"--output_dir={exported}", "--formats=float32,int8", f"--json={report}"]
    assert main([*export, "--min_agreement=0.8"]) == 0
    assert "calibration clips (no test data was given)" in capsys.readouterr().out
    assert "accuracy" not in json.loads(report.read_text())
    assert main(["predict", f"--model={exported / 'model_int8.tflite'}", str(tones.parent / "low0.wav")]) == 0
    capsys.readouterr()
    optimize = ["optimize", "--method=prune", f"--output_dir={tmp_path / 'optimized'}"]
    for asked in (["evaluate"], ["robustness"], ["calibrate"], optimize):
        assert main([*asked, f"--run_dir={run}"]) == 1, asked
        assert "was trained with data.train_on_all" in capsys.readouterr().err, asked
    for wrong in ("--folds=1", "--json=result.json"):
        assert main([*command, f"--output_dir={tmp_path / 'wrong'}", wrong]) in (1, 2)
        assert "data.train_on_all" in capsys.readouterr().err


def test_seeds_for_use_are_averaged(
    tones: Path, tone_flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", f"--data_dir={tones}", *tone_flags, "--set=data.train_on_all=true", "--seeds=0,1"]
    assert main([*command, f"--output_dir={tmp_path / 'all'}"]) == 0
    assert main(["ensemble", str(tmp_path / "all"), "--across_folds", f"--output_dir={tmp_path / 'mean'}"]) == 0
    assert read_config(tmp_path / "mean").model.name == "ensemble"


def test_what_stands_is_replaced_only_by_what_can_be_trained(
    train: Train, tones: Path, tone_flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path, "--folds=1")
    before = weights(tmp_path)
    command = ["train", f"--data_dir={tones}", f"--output_dir={tmp_path}", *tone_flags, "--folds=1", "--overwrite"]
    assert main([*command, "--model=audio_text"]) == 1
    assert "no training recording has a text" in capsys.readouterr().err
    assert weights(tmp_path) == before


def test_a_cross_validation_that_is_continued_is_not_whole_until_it_ends(
    train: Train, tones: Path, tone_flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(tmp_path, "--folds=1", "--seeds=0,1")
    command = ["train", f"--data_dir={tones}", f"--output_dir={tmp_path}", *tone_flags, "--folds=1", "--resume"]
    assert main([*command, "--seeds=0"]) == 1  # seed 1 would stand there and not count
    check_whole(tmp_path)

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tfaudio.training.trainer.train", stop)
    with contextlib.suppress(KeyboardInterrupt):
        main([*command, "--seeds=0,1,2"])
    with pytest.raises(TfaudioError, match="its training did not finish"):
        check_whole(tmp_path)


def test_a_nested_choice_takes_no_teacher(
    train: Train, tones: Path, tone_flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path / "teacher", "--folds=all")
    command = ["train", f"--data_dir={tones}", *tone_flags, f"--output_dir={tmp_path / 'run'}", "--protocol=nested"]
    assert main([*command, "--candidate=", "--candidate=training.epochs=2", f"--teacher={tmp_path / 'teacher'}"]) == 1
    assert "a nested choice leaves two folds out" in capsys.readouterr().err


@pytest.fixture
def with_a_damaged_clip(tones: Path, tmp_path: Path) -> Path:
    """The tones, and a clip that cannot be decoded: all that speaker cy said, and all of fold 4."""
    folder = tmp_path / "damaged"
    shutil.copytree(tones.parent, folder)
    (folder / "damaged.wav").write_bytes(b"RIFF and nothing else")
    with (folder / "clips.csv").open("a") as file:
        file.write("damaged.wav,low,4,cy\n")
    return folder / "clips.csv"


def test_a_group_whose_clips_cannot_be_used_is_left_out(
    with_a_damaged_clip: Path, tone_flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [f"--data_dir={with_a_damaged_clip}", f"--output_dir={tmp_path / 'run'}", *tone_flags]
    assert main(["train", *flags, "--protocol=leave_one_group_out"]) == 0
    told = capsys.readouterr()
    assert "left out: group cy has no recording that can be used" in told.err
    assert "damaged.wav" in told.err
    assert "over 36 recordings" in told.out
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert list(result["accuracy_per_fold"]) == ["ann", "bob"]


def test_a_fold_whose_clips_cannot_be_used_is_told_before_any_training(
    with_a_damaged_clip: Path, tone_flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [f"--data_dir={with_a_damaged_clip}", f"--output_dir={tmp_path / 'run'}", *tone_flags]
    assert main(["train", *flags, "--folds=1,4"]) == 1
    assert "Fold 4 has no recording that can be used" in capsys.readouterr().err
    assert not weights(tmp_path / "run")


def test_what_is_tested_on_may_not_be_heard_as_background(
    tones: Path, tone_flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noises = tmp_path / "noises"
    noises.mkdir()
    names = sorted(path.name for path in tones.parent.glob("*.wav"))
    shutil.copy(tones.parent / names[0], noises / "fan.wav")  # of fold 1
    flags = [f"--data_dir={tones}", *tone_flags, "--set=augment.background.probability=0.5"]
    flags.append(f"--set=augment.background.dir={noises}")
    assert main(["train", *flags, f"--output_dir={tmp_path / 'heard'}", "--folds=1"]) == 1
    assert "holds 1 of the recordings to validate or test on (fan.wav)" in capsys.readouterr().err
    assert main(["train", *flags, f"--output_dir={tmp_path / 'unheard'}", "--folds=2"]) == 0


def test_a_result_of_weights_that_saw_the_test_says_so_and_one_of_groups_too() -> None:
    record = {
        **{"accuracy": 0.9, "interval": [0.8, 1.0], "num_clips": 9, "seeds": [0], "accuracy_per_fold": {"1": 0.9}},
        "no_measure_of_unknown_recordings": "the weights to start from may know test recordings",
    }
    control = {**record, "control": {"guess": 0.1}, "accuracy_by_inputs": {"audio_and_shuffled_text": 0.5}}
    assert "given audio and shuffled text: 50.0%" in summary_line(control)
    assert "a guess is right in 10.0%, and the accuracy is ABOVE IT" in summary_line(control)
    of_groups = {
        **{**record, "accuracy_per_fold": {"ann": 0.8, "bob": 1.0}, "interval_over": "groups"},
        **{"mean_over_folds": 0.9, "standard_deviation_over_folds": 0.14},
    }
    assert "80.0% to 100.0% over 2 groups, 9 recordings in all" in summary_line(of_groups)
    assert summary_line(record).endswith(
        "\nno measure of unknown recordings: the weights to start from may know test recordings"
    )
