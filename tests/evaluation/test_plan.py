"""Which runs a protocol makes, and that none of them knows what it is tested on."""

from __future__ import annotations

import pytest

from tfaudio.config import RunConfig
from tfaudio.data.labelled import split_of
from tfaudio.data.spec import Clip, DatasetSpec
from tfaudio.errors import TfaudioError
from tfaudio.evaluation.plan import Choice, check_known_runs, plan_candidates, plan_runs
from tfaudio.evaluation.protocol import protocol_of
from tfaudio.labels import LabelMap


def dataset(folds: int = 4, speakers: tuple[str, ...] = ("ann", "b/o b", "cy")) -> DatasetSpec:
    """One clip of each class by each speaker in each fold; the path says which."""
    clips = [
        Clip(f"/d/{label}{fold}{number}.wav", label, fold=fold, group=speaker)
        for label in ("yes", "no")
        for fold in range(folds)
        for number, speaker in enumerate(speakers)
    ]
    return DatasetSpec("words", tuple(clips), LabelMap(("no", "yes")))


def test_one_run_takes_the_output_folder_itself() -> None:
    (run,) = plan_runs(RunConfig(), dataset())
    assert (run.fold, run.folder, run.title) == ("test", "", "")
    assert run.config == RunConfig()
    (run,) = plan_runs(RunConfig(), dataset(), folds=[0])
    assert (run.fold, run.folder, run.title, run.config.data.test_fold) == ("0", "", "fold 0", 0)
    (run,) = plan_runs(RunConfig().override({"data.test_fold": 0}), dataset())
    assert run.fold == "0"


def test_every_fold_is_trained_with_every_seed() -> None:
    runs = plan_runs(RunConfig(), dataset(), folds=[0, 2], seeds=[5, 7])
    assert [run.folder for run in runs] == ["fold_0_seed_5", "fold_0_seed_7", "fold_2_seed_5", "fold_2_seed_7"]
    assert [(run.config.data.test_fold, run.config.training.seed) for run in runs] == [(0, 5), (0, 7), (2, 5), (2, 7)]
    assert runs[3].title == "fold 2, seed 7"
    assert [run.folder for run in plan_runs(RunConfig(), dataset(), seeds=[1])] == ["seed_1"]


def test_each_group_is_tested_once_by_a_run_that_never_heard_it() -> None:
    spec = dataset()
    config = RunConfig().override({"data.test_fold": 1, "data.validation_fraction": 0.5})
    runs = plan_runs(config, spec, by_group=True)
    assert [run.fold for run in runs] == ["ann", "b/o b", "cy"]
    assert len({run.folder for run in runs}) == 3
    for run in runs:
        assert "/" not in run.folder
        assert protocol_of(run.config, spec) == "leave_one_group_out"
        split = split_of(run.config, spec)
        assert {clip.group for clip in split.test} == {run.fold}
        assert run.fold not in {clip.group for clip in (*split.train, *split.validation)}
        assert len(split.validation) > 0
        assert len(split.train) + len(split.validation) + len(split.test) == len(spec.clips)


def test_names_of_groups_that_look_alike_keep_their_own_folders() -> None:
    spec = dataset(speakers=("a b", "a/b", "a-b", "x" * 300))
    folders = [run.folder for run in plan_runs(RunConfig(), spec, by_group=True)]
    assert len(set(folders)) == 4
    assert max(map(len, folders)) < 70
    assert "group_a-b" in folders


@pytest.mark.parametrize(
    ("folds", "inner_of"), [(4, {0: 1, 1: 0, 2: 3, 3: 2}), (5, {0: 1, 1: 0, 2: 3, 3: 2, 4: 0}), (3, {0: 1, 1: 0, 2: 0})]
)
def test_a_choice_never_sees_the_fold_that_is_tested(folds: int, inner_of: dict[int, int]) -> None:
    spec = dataset(folds)
    trained: dict[str, RunConfig] = {}
    for outer, inner in inner_of.items():
        (run,) = plan_runs(RunConfig(), spec, folds=[outer])
        tried = plan_candidates(run, [{}, {"training.epochs": 9}], spec)
        assert [candidate.run.config.training.epochs for candidate in tried] == [RunConfig().training.epochs, 9]
        for number, candidate in enumerate(tried, 1):
            assert candidate.run.folder.endswith(f"/candidate_{number}")
            assert candidate.run.folder == candidate.scored.folder
            # One folder is one training, whichever fold it is for.
            assert trained.setdefault(candidate.run.folder, candidate.run.config) == candidate.run.config
            split, scored = split_of(candidate.run.config, spec), split_of(candidate.scored.config, spec)
            assert split.train == scored.train
            assert {clip.fold for clip in split.train} == set(range(folds)) - {outer, inner}
            assert {clip.fold for clip in scored.test} == {inner}
            assert candidate.scored.fold == str(inner)
            assert f"fold {outer} takes no part" in scored.rule
        final = split_of(run.with_settings({"training.epochs": 9}).config, spec)
        assert {clip.fold for clip in final.test} == {outer}
        assert {clip.fold for clip in final.train} == set(range(folds)) - {outer}
    assert len(trained) == 2 * -(-folds // 2)


@pytest.mark.parametrize(
    "key",
    [
        *("data.test_fold", "training.seed", "front_end.sample_rate", "training.shuffle_labels"),
        *("training.initial_weights_saw_test", "training", "data", "model.score_activation", "model"),
    ],
)
def test_candidates_may_not_change_what_they_are_compared_by(key: str) -> None:
    (run,) = plan_runs(RunConfig(), dataset(), folds=[1])
    with pytest.raises(TfaudioError, match=key):
        plan_candidates(run, [{key: 1}], dataset())


@pytest.mark.parametrize(("folds", "outer"), [(2, 0), (4, 9), (4, None)])
def test_a_nested_choice_needs_three_folds(folds: int, outer: int | None) -> None:
    (run,) = plan_runs(RunConfig().override({"data.test_fold": outer}), dataset(folds))
    with pytest.raises(TfaudioError, match="at least three"):
        plan_candidates(run, [{}], dataset(folds))


def test_the_best_candidate_is_chosen_and_the_first_of_equals() -> None:
    choice = Choice("1", "2", (0.5, 0.75, 0.75))
    assert choice.chosen == 1
    assert choice.to_dict() == {"chosen_on": "2", "accuracies": [0.5, 0.75, 0.75], "chosen": 2}


def test_a_control_is_called_one_however_its_test_set_was_found() -> None:
    spec = dataset()
    config = RunConfig().override({"data.test_fold": 1})
    assert protocol_of(config, spec) == "folds"
    assert protocol_of(config.override({"training.shuffle_labels": True}), spec) == "shuffled_labels"
    assert protocol_of(RunConfig(), spec) == "hash"


def test_mistaken_folds_and_groups_are_told() -> None:
    spec = dataset()
    with pytest.raises(TfaudioError, match="Did you mean 'ann'"):
        split_of(RunConfig().override({"data.test_group": "anna"}), spec)
    with pytest.raises(TfaudioError, match="no fold 8"):
        split_of(RunConfig().override({"data.left_out_fold": 8}), spec)
    with pytest.raises(TfaudioError, match="exclude each other"):
        RunConfig().override({"data.test_group": "ann", "data.test_fold": 1})
    with pytest.raises(TfaudioError, match="takes no part"):
        RunConfig().override({"data.left_out_fold": 1, "data.test_fold": 1})
    with pytest.raises(TfaudioError, match="no two groups"):
        plan_runs(RunConfig(), dataset(speakers=("ann",)), by_group=True)


def test_runs_of_another_kind_are_not_resumed() -> None:
    planned = plan_runs(RunConfig(), dataset(), folds=[0, 1], seeds=[0, 1])
    check_known_runs(planned, [])
    check_known_runs(planned, ["fold_0_seed_0"])
    check_known_runs(planned, ["fold_0_seed_0", "candidates"], nested=True)
    # What is not planned would stand there and count in no figure.
    for standing in (["fold_0", "fold_1"], [""], ["fold_0_seed_0", "fold_2_seed_0"], ["candidates"]):
        with pytest.raises(TfaudioError, match="same --folds, --seeds and --protocol"):
            check_known_runs(planned, standing)
