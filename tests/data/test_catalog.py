from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

import pytest

from tests.data.folders import read, touch
from tfaudio.config import DataConfig
from tfaudio.data.catalog import DATASETS, read_dataset
from tfaudio.data.spec import NOT_AUDIO
from tfaudio.data.split import leave_group_out, split_dataset
from tfaudio.errors import TfaudioError

# --- folder


def test_folder_takes_one_subfolder_a_class(tmp_path: Path) -> None:
    touch(tmp_path, "dog/b.wav", "dog/a.FLAC", "cat/tom/x/1.ogg", "cat/tom/x/2.mp3", "cat/c.opus", "notes.txt")
    spec = read("folder", tmp_path)
    assert spec.labels.names == ("cat", "dog")
    rows = [(spec.relative_path(clip), clip.label, clip.group) for clip in spec.clips]
    assert rows == [
        ("cat/c.opus", "cat", "c"),
        ("cat/tom/x/1.ogg", "cat", "tom/x"),
        ("cat/tom/x/2.mp3", "cat", "tom/x"),
        ("dog/a.FLAC", "dog", "a"),
        ("dog/b.wav", "dog", "b"),
    ]
    assert spec.skipped == ()
    assert all(os.path.isabs(clip.path) for clip in spec.clips)


def test_folder_lists_what_it_leaves_out(tmp_path: Path) -> None:
    touch(tmp_path, "dog/a.wav", "cat/b.wav", "cat/.hidden.wav", ".git/x.wav", "cat/list.txt", "cat/c.m4a", "loose.wav")
    touch(tmp_path, "cat/empty.wav", content=b"")
    (tmp_path / "dog" / "link.wav").symlink_to(tmp_path / "gone.wav")
    (tmp_path / "fox").mkdir()
    spec = read("folder", tmp_path)
    assert [clip.label for clip in spec.clips] == ["cat", "dog"]
    reasons = {os.path.relpath(s.path, tmp_path): s.reason for s in spec.skipped}
    assert reasons == {
        "cat/c.m4a": ".m4a files cannot be decoded; convert them to WAV or FLAC",
        "cat/empty.wav": "the file is empty",
        "cat/list.txt": NOT_AUDIO,
        "dog/link.wav": "a symbolic link to a file that does not exist",
        "fox": "a class folder without audio files",
        "loose.wav": "it lies in no class folder",
    }


def test_strict_raises_for_recordings_and_not_for_other_files(tmp_path: Path) -> None:
    touch(tmp_path, "dog/a.wav", "cat/b.wav", "cat/list.txt")
    assert len(read("folder", tmp_path, strict=True).clips) == 2
    touch(tmp_path, "cat/empty.wav", content=b"")
    with pytest.raises(TfaudioError, match=r"cat/empty\.wav: the file is empty"):
        read("folder", tmp_path, strict=True)


def test_linked_folders_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    touch(tmp_path, "store/rex/a.wav", "data/cat/b.wav")
    (tmp_path / "data" / "dog").symlink_to(tmp_path / "store")
    (tmp_path / "store" / "rex" / "up").symlink_to(tmp_path / "store")
    spec = read("folder", tmp_path / "data")
    assert [(clip.label, clip.group) for clip in spec.clips] == [("cat", "b"), ("dog", "rex")]


@pytest.mark.parametrize("target", [".", "..", "../.."])
def test_a_link_upwards_does_not_bring_in_other_classes(tmp_path: Path, target: str) -> None:
    touch(tmp_path, "data/cat/b.wav", "data/dog/rex/a.wav", "aside/c.wav")
    (tmp_path / "data" / "dog" / "loop").symlink_to(target)
    spec = read("folder", tmp_path / "data")
    assert [(clip.label, clip.group) for clip in spec.clips] == [("cat", "b"), ("dog", "rex")]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_a_class_name_that_ends_a_line_is_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(TfaudioError, match=r"u2028.*rename the class"):
        read("folder", touch(tmp_path, "dog\u2028s/a.wav", "cat/b.wav"))


def test_class_names_of_other_scripts_have_one_form(tmp_path: Path) -> None:
    touch(tmp_path, "Türklingel/a.wav", "犬/b.wav", "two words, one comma/c.wav")
    assert set(read("folder", tmp_path).labels) == {"Türklingel", "犬", "two words, one comma"}


@pytest.mark.skipif(os.name == "nt" or os.uname().sysname == "Darwin", reason="this file system stores Unicode only")
def test_a_name_that_is_no_text_is_skipped(tmp_path: Path) -> None:
    touch(tmp_path, "dog/a.wav", "cat/b.wav")
    with open(os.path.join(os.fsencode(tmp_path), b"cat", b"\xff.wav"), "wb") as file:
        file.write(b"x")
    spec = read("folder", tmp_path)
    assert len(spec.clips) == 2
    assert spec.skipped[0].reason == "its name is not valid UTF-8; rename it"
    spec.skipped[0].path.encode()  # can be printed


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["a.wav"], "no class folders"),
        ([], "no class folders"),
        (["dog/a.txt"], "no usable audio files"),
        (["dog/a.m4a", "cat/b.m4a"], "convert them"),
        (["dog/a.wav"], "only the class 'dog'"),
        (["dog/a.wav", "dog/b.wav", "cat/c.txt"], "only the class 'dog'"),
        (["train/dog/a.wav", "test/dog/b.wav"], "parts of a split, not classes"),
    ],
)
def test_folders_that_are_no_data_set(tmp_path: Path, files: list[str], message: str) -> None:
    with pytest.raises(TfaudioError, match=message):
        read("folder", touch(tmp_path, *files))


def test_a_train_is_a_class_among_others(tmp_path: Path) -> None:
    assert read("folder", touch(tmp_path, "train/a.wav", "tram/b.wav")).labels.names == ("train", "tram")


def test_wrong_places(tmp_path: Path) -> None:
    with pytest.raises(TfaudioError, match=r"gone does not exist; set data\.data_dir \(--data_dir\)"):
        read("folder", tmp_path / "gone")
    with pytest.raises(TfaudioError, match="'manifest'"):
        read("folder", touch(tmp_path, "clips.csv") / "clips.csv")
    with pytest.raises(TfaudioError, match=r"has to be told where it lies; set data\.data_dir"):
        read_dataset(DataConfig(dataset="esc10"))
    with pytest.raises(TfaudioError, match="Did you mean 'esc10'"):
        read("esc-10", tmp_path)


def test_a_home_that_is_not_there_is_told() -> None:
    with pytest.raises(TfaudioError, match=r"~nobody_here/x begins with the home of a user who is not known here"):
        read("folder", Path("~nobody_here/x"))


def test_home_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "sounds/dog/a.wav", "sounds/cat/b.wav")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert len(read("folder", Path("~/sounds")).clips) == 2


# --- ESC


def esc50(root: Path, *, table: str = "meta/esc50.csv", extension: str = ".wav") -> Path:
    rows = [("1-100-A-0", 1, "dog", True), ("2-200-A-14", 2, "birds", False), ("2-200-B-10", 2, "rain", True)]
    lines = ["filename,fold,target,category,esc10,src_file,take"]
    lines += [f"{name}.wav,{fold},0,{label},{small},{name.split('-')[1]},A" for name, fold, label, small in rows]
    touch(root, *[f"audio/{name}{extension}" for name, *_ in rows])
    return touch(root, table, content="\n".join(lines).encode())


def test_esc50_and_its_subset_from_one_checkout(tmp_path: Path) -> None:
    esc50(tmp_path)
    spec = read("esc50", tmp_path)
    assert [(clip.label, clip.fold, clip.group) for clip in spec.clips] == [
        ("dog", 1, "100"), ("birds", 2, "200"), ("rain", 2, "200"),
    ]  # fmt: skip
    assert read("esc10", tmp_path).labels.names == ("dog", "rain")


@pytest.mark.parametrize("table", ["esc50.csv", "meta/esc50.csv"])
def test_esc_in_another_format_than_its_table_says(tmp_path: Path, table: str) -> None:
    esc50(tmp_path, table=table, extension=".ogg")
    assert [Path(clip.path).suffix for clip in read("esc50", tmp_path).clips] == [".ogg"] * 3


def test_esc_mistakes(tmp_path: Path) -> None:
    with pytest.raises(TfaudioError, match=r"holds no esc10\.csv or meta/esc10\.csv or esc50\.csv"):
        read("esc10", tmp_path)
    touch(tmp_path, "esc50.csv", content=b"filename,fold,category\ndog.wav,1,dog")
    with pytest.raises(TfaudioError, match="line 2: expected a filename like"):
        read("esc50", tmp_path)
    with pytest.raises(TfaudioError, match="lacks the column esc10"):
        read("esc10", tmp_path)
    esc50(tmp_path, table="esc50.csv")
    (tmp_path / "audio" / "2-200-B-10.wav").unlink()
    assert [s.reason for s in read("esc50", tmp_path).skipped] == ["the file does not exist"]


def test_real_esc10(shared_data: Path) -> None:
    if not (shared_data / "esc10").is_dir():
        pytest.skip(f"no ESC-10 in {shared_data}")
    spec = read("esc10", shared_data / "esc10")
    assert (len(spec.clips), len(spec.labels), spec.folds, spec.skipped) == (400, 10, (1, 2, 3, 4, 5), ())
    assert set(spec.class_counts().values()) == {40}
    folds_of = defaultdict(set)
    for clip in spec.clips:
        folds_of[clip.group].add(clip.fold)
    assert all(len(folds) == 1 for folds in folds_of.values())
    for fold in spec.folds:
        split = split_dataset(spec, test_fold=fold, validation_fraction=0.1)
        assert len(split.test) == 80
        assert set(spec.class_counts(split.test).values()) == {8}
        assert min(spec.class_counts(split.validation).values()) >= 1
        assert not {clip.group for clip in split.train} & {clip.group for clip in split.validation}


# --- FSDD


def test_fsdd_names(tmp_path: Path) -> None:
    touch(tmp_path, "recordings/0_ann_4.wav", "recordings/1_bob_lee_5.wav", "recordings/x.wav", "recordings/readme.md")
    spec = read("fsdd", tmp_path)
    assert [(clip.label, clip.group, clip.split) for clip in spec.clips] == [
        ("0", "ann", "test"),
        ("1", "bob_lee", "train"),
    ]
    assert [s.reason for s in spec.skipped] == [NOT_AUDIO, "its name is not DIGIT_SPEAKER_INDEX.wav"]
    assert read("fsdd", tmp_path / "recordings") == spec


def test_real_fsdd(shared_data: Path) -> None:
    if not (shared_data / "fsdd").is_dir():
        pytest.skip(f"no FSDD in {shared_data}")
    spec = read("fsdd", shared_data / "fsdd")
    assert (len(spec.clips), spec.labels.names, spec.skipped) == (3000, tuple("0123456789"), ())
    split = split_dataset(spec)
    assert (len(split.train), len(split.test)) == (2700, 300)
    speakers = sorted({spec.group_of(clip) for clip in spec.clips})
    assert speakers == ["george", "jackson", "lucas", "nicolas", "theo", "yweweler"]
    assert [len(leave_group_out(spec, speaker).test) for speaker in speakers] == [500] * 6


# --- the catalogue


def test_every_entry_describes_itself() -> None:
    assert DATASETS.names() == [
        "crema_d", "emodb", "esc10", "esc50", "fma_small", "folder", "freesound", "fsd50k", "fsdd", "gtzan", "manifest",
        "ravdess", "speech_commands_v1", "speech_commands_v1_12", "speech_commands_v2", "speech_commands_v2_12",
        "synthetic", "synthetic_tags", "urbansound8k",
    ]  # fmt: skip
    for name in DATASETS:
        entry = DATASETS[name]
        assert entry.name == name
        assert entry.description
        assert entry.licence
        assert entry.task
        assert bool(entry.built_in) == (name in ("synthetic", "synthetic_tags"))
        own = name in ("folder", "manifest", "synthetic", "synthetic_tags")
        assert bool(entry.url) == (not own)
        # What is known of elsewhere is either fetched or told how to get, never both.
        assert bool(entry.archives) != bool(entry.by_hand) or own


def test_archives_have_whole_checksums() -> None:
    lengths = {"md5": 32, "sha1": 40, "sha256": 64}
    archives = {archive for name in DATASETS for archive in DATASETS[name].archives}
    assert len(archives) == 6
    for archive in archives:
        kind, digest = archive.checksum.split(":")
        assert len(digest) == lengths[kind]
        assert int(digest, 16)
        assert archive.url.startswith("https://")
        assert archive.file_name.endswith((".zip", ".tar.gz"))
