from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfaudio.data.spec import Clip, DatasetSpec
from tfaudio.data.split import Split, hash_fraction, leave_group_out, split_dataset
from tfaudio.errors import TfaudioError
from tfaudio.labels import LabelMap


def dataset(*rows: tuple[str, str | None], **columns: list[object]) -> DatasetSpec:
    """Clips from (label, group) pairs; columns give further fields row by row."""
    clips = tuple(
        Clip(f"/d/{i:04d}.wav", label, group=group, **{name: values[i] for name, values in columns.items()})
        for i, (label, group) in enumerate(rows)
    )
    return DatasetSpec("toy", clips, LabelMap.from_labels(label for label, _ in rows))


def paths(clips: tuple[Clip, ...]) -> list[str]:
    return [clip.path for clip in clips]


def check_parts(spec: DatasetSpec, split: Split) -> None:
    parts = (split.train, split.validation, split.test)
    assert sorted(path for part in parts for path in paths(part)) == paths(spec.clips)
    groups = [{spec.group_of(clip) for clip in part} for part in parts]
    assert sum(map(len, groups)) == len(set.union(*groups))  # no group is in two parts


def test_hash_fraction_against_sha256_by_hand() -> None:
    # printf '\\0' | sha256sum
    assert hash_fraction("") == pytest.approx(0x6E340B9CFFB37A98 / 2**64, abs=1e-15)


def test_hash_fraction_is_even() -> None:
    tenths = Counter(int(10 * hash_fraction(f"group {i}", "salt")) for i in range(5000))
    assert set(tenths) == set(range(10))
    assert all(400 < n < 600 for n in tenths.values())  # standard deviation 21


def test_official_fold() -> None:
    spec = dataset(*[("ab"[i % 2], f"g{i}") for i in range(10)], fold=[1 + i // 5 for i in range(10)])
    split = split_dataset(spec, test_fold=2)
    assert paths(split.test) == paths(spec.clips[5:])
    assert paths(split.train) == paths(spec.clips[:5])
    assert split.validation == ()
    assert "fold 2" in split.rule


def test_unknown_fold_lists_the_folds() -> None:
    spec = dataset(("a", "1"), ("b", "2"), fold=[1, 3])
    with pytest.raises(TfaudioError, match=r"no fold 2; its folds are 1, 3"):
        split_dataset(spec, test_fold=2)
    with pytest.raises(TfaudioError, match="no official folds"):
        split_dataset(dataset(("a", "1"), ("b", "2")), test_fold=1)


def test_the_only_fold_leaves_nothing_to_train_on() -> None:
    with pytest.raises(TfaudioError, match="All recordings"):
        split_dataset(dataset(("a", "1"), ("b", "2"), fold=[1, 1]), test_fold=1)


def test_official_split_with_and_without_validation() -> None:
    rows = [("ab"[i % 2], f"g{i}") for i in range(8)]
    spec = dataset(*rows, split=["train"] * 4 + ["validation"] * 2 + ["test"] * 2)
    split = split_dataset(spec)
    assert (len(split.train), len(split.validation), len(split.test)) == (4, 2, 2)
    spec = dataset(*rows, split=["train"] * 6 + ["test"] * 2)
    split = split_dataset(spec, validation_fraction=0.34)
    assert (len(split.train), len(split.validation), len(split.test)) == (4, 2, 2)
    assert spec.class_counts(split.validation) == {"a": 1, "b": 1}


def test_all_are_trained_on_where_nothing_is_to_be_tested() -> None:
    rows = [("ab"[i % 2], f"g{i}") for i in range(8)]
    spec = dataset(*rows, split=["train"] * 4 + ["validation"] * 2 + ["test"] * 2)
    split = split_dataset(spec, train_on_all=True)
    assert (paths(split.train), split.validation, split.test) == (paths(spec.clips), (), ())
    assert split.rule == "test: none; no validation"
    split = split_dataset(spec, train_on_all=True, validation_fraction=0.34)
    assert (len(split.train), len(split.validation), split.test) == (6, 2, ())
    split = split_dataset(dataset(*rows, fold=[1, 2] * 4), train_on_all=True)
    assert (paths(split.train), split.validation, split.test) == (paths(spec.clips), (), ())


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (["train"] * 4, "no usable recording as 'test'"),
        (["test"] * 4, "All recordings"),
        (["validation"] * 2 + ["test"] * 2, "nothing as 'train'"),
    ],
)
def test_official_split_without_a_part(column: list[object], message: str) -> None:
    with pytest.raises(TfaudioError, match=message):
        split_dataset(dataset(*[("ab"[i % 2], f"g{i}") for i in range(4)], split=column))


def test_hash_split_takes_its_share_of_every_class() -> None:
    spec = dataset(*[("a", f"a{i}") for i in range(100)], *[("b", f"b{i}") for i in range(10)], ("c", "1"), ("c", "2"))
    split = split_dataset(spec, test_fraction=0.2, validation_fraction=0.1)
    check_parts(spec, split)
    assert spec.class_counts(split.test) == {"a": 20, "b": 2, "c": 1}
    assert spec.class_counts(split.validation) == {"a": 8, "b": 1, "c": 0}


def test_a_class_of_one_group_trains() -> None:
    spec = dataset(("a", "1"), ("a", "1"), *[("b", f"b{i}") for i in range(5)])
    split = split_dataset(spec)
    assert spec.class_counts(split.train)["a"] == 2


def test_split_does_not_depend_on_the_order_or_place_of_the_files() -> None:
    rows = [("abc"[i % 3], f"speaker {i // 4}") for i in range(80)]
    spec = dataset(*rows)
    groups = {clip.group for clip in split_dataset(spec).test}
    shuffled = random.Random(1).sample(rows, len(rows))
    assert {clip.group for clip in split_dataset(dataset(*shuffled)).test} == groups
    moved = replace(spec, clips=tuple(replace(c, path=c.path.replace("/d/", "/other/place/")) for c in spec.clips))
    assert {clip.group for clip in split_dataset(moved).test} == groups


def test_split_is_the_same_in_every_version() -> None:
    """A changed split would put clips that a stored model was trained on into its test set."""
    spec = dataset(*[("ab"[i % 2], f"g{i}") for i in range(20)])
    split = split_dataset(spec, test_fraction=0.2, validation_fraction=0.2)
    # The two lowest of each class by: printf 'tfaudio test 1\\0g12' | sha256sum
    assert {c.group for c in split.test} == {"g6", "g12", "g9", "g15"}
    assert {c.group for c in split.validation} == {"g4", "g8", "g11", "g1"}


def test_speakers_who_say_all_words_stay_whole() -> None:
    spec = dataset(*[(word, f"speaker {s}") for s in range(10) for word in ("yes", "no", "stop")])
    split = split_dataset(spec, test_fraction=0.2, validation_fraction=0.2)
    check_parts(spec, split)
    assert len({clip.group for clip in split.test}) == 2
    assert len({clip.group for clip in split.validation}) == 2


def test_one_group_cannot_be_split() -> None:
    with pytest.raises(TfaudioError, match="two groups"):
        split_dataset(dataset(("a", "g"), ("b", "g"), ("a", "g")))


def test_validation_needs_two_groups_too() -> None:
    spec = dataset(*[("ab"[i % 2], f"g{i}") for i in range(4)])
    assert len(split_dataset(spec).train) == 2
    with pytest.raises(TfaudioError, match="validation_fraction to 0"):
        split_dataset(spec, validation_fraction=0.5)


@given(
    rows=st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 12).map(str)), min_size=2, max_size=60),
    fraction=st.floats(0.01, 0.99),
)
def test_hash_split_properties(rows: list[tuple[str, str]], fraction: float) -> None:
    spec = dataset(*rows)
    try:
        split = split_dataset(spec, test_fraction=fraction)
    except TfaudioError:
        # Only right if every group is the last one of a class.
        groups_of = {label: {g for other, g in rows if other == label} for label, _ in rows}
        assert {g for _, g in rows} == {g for groups in groups_of.values() if len(groups) == 1 for g in groups}
        return
    check_parts(spec, split)
    assert split.test
    assert {clip.label for clip in split.train} == {label for label, _ in rows}


def test_every_clip_is_tested_once_where_each_group_is_left_out() -> None:
    spec = dataset(*[("ab"[i % 2], f"g{i // 2 % 4}") for i in range(24)])
    splits = [leave_group_out(spec, group, validation_fraction=0.3) for group in ("g0", "g1", "g2", "g3")]
    assert [{clip.group for clip in split.test} for split in splits] == [{"g0"}, {"g1"}, {"g2"}, {"g3"}]
    assert sorted(path for split in splits for path in paths(split.test)) == paths(spec.clips)
    for split in splits:
        check_parts(spec, split)
        assert split.validation
        assert split.test[0].group in split.rule


def test_a_group_is_left_out_of_two_or_more_that_are_there() -> None:
    with pytest.raises(TfaudioError, match="1 group"):
        leave_group_out(dataset(("a", "g"), ("b", "g")), "g")
    with pytest.raises(TfaudioError, match=r"Unknown group of data set .* 'gg'"):
        leave_group_out(dataset(("a", "g"), ("b", "h")), "gg")


def test_clips_of_several_classes_are_split_so_that_each_class_is_learnt_and_tested() -> None:
    kinds = [("a",), ("a", "b"), ("b", "c"), ("c",), ("a", "c"), ("b",), ("a", "b", "c"), ("rare", "a"), ("rare", "b")]
    clips = [
        Clip(f"/d/{kind}{take}{part}.wav", labels[0], also=labels[1:], group=f"{kind}{take}")
        for kind, labels in enumerate(kinds)
        for take in range(1 if labels[0] == "rare" else 5)
        for part in range(2)
    ]
    spec = DatasetSpec("tags", tuple(clips), LabelMap(("a", "b", "c", "rare")))
    split = split_dataset(spec, validation_fraction=0.2)
    parts = (split.train, split.validation, split.test)
    groups = [{clip.group for clip in part} for part in parts]
    assert sum(map(len, groups)) == len(set.union(*groups))
    assert sum(map(len, parts)) == len(clips)
    assert min(spec.class_counts(split.train).values()) >= 1
    # Of each class a fifth of the groups: 21 of "a", 20 of "b", 15 of "c" and 2 of the rare one, two clips each.
    tested = spec.class_counts(split.test)
    assert tested["rare"] == 2
    assert all(tested[label] >= 2 * round(0.2 * count) for label, count in (("a", 21), ("b", 21), ("c", 20)))
    assert all(tested[label] <= 2 * 0.4 * count for label, count in (("a", 21), ("b", 21), ("c", 20)))
