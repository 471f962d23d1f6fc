from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import pytest

from tfaudio.config import DataConfig
from tfaudio.data.catalog import DATASETS, read_dataset
from tfaudio.data.spec import NOT_AUDIO, DatasetSpec
from tfaudio.data.split import leave_one_group_out, split_dataset
from tfaudio.errors import TfaudioError


def touch(root: Path, *names: str, content: bytes = b"not empty") -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def read(dataset: str, path: Path, **options: object) -> DatasetSpec:
    return read_dataset(DataConfig(dataset=dataset, data_dir=str(path), **options))  # type: ignore[arg-type]


def manifest(tmp_path: Path, *lines: str, files: Iterable[str] = ("a.wav", "b.wav"), encoding: str = "utf-8") -> Path:
    touch(tmp_path, *files)
    path = tmp_path / "clips.csv"
    path.write_bytes("\n".join(lines).encode(encoding))
    return path


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


def test_home_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "sounds/dog/a.wav", "sounds/cat/b.wav")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert len(read("folder", Path("~/sounds")).clips) == 2


# --- manifest


def test_manifest_with_every_column(tmp_path: Path) -> None:
    path = manifest(
        tmp_path,
        "comment,path,label,fold,split,group,text,start,end",
        'x,b.wav,"two words, 犬",2,Test,g1,"hello, you",0.5,2',
        ",a.wav,dog,1,train,,,,",
    )
    spec = read("manifest", path)
    first, second = spec.clips
    assert (first.path, first.label, first.fold, first.split) == (str(tmp_path / "a.wav"), "dog", 1, "train")
    assert (first.group, first.text, first.start, first.end) == ("a.wav", None, None, None)
    assert (second.label, second.fold, second.split, second.group) == ("two words, 犬", 2, "test", "g1")
    assert (second.text, second.start, second.end) == ("hello, you", 0.5, 2.0)
    assert spec.folds == (1, 2)
    assert spec.has_official_split


def test_manifest_as_spreadsheets_write_it(tmp_path: Path) -> None:
    """With a byte-order mark, Windows line ends, spaces after commas and blank lines at the end."""
    path = manifest(tmp_path, "path, label\r", "a.wav, dog\r", "b.wav, cat\r", ",\r", "\r", "", encoding="utf-8-sig")
    spec = read("manifest", path)
    assert [(Path(clip.path).name, clip.label) for clip in spec.clips] == [("a.wav", "dog"), ("b.wav", "cat")]


def test_manifest_takes_absolute_paths_and_parts_of_a_file(tmp_path: Path) -> None:
    other = touch(tmp_path / "other", "x.wav") / "x.wav"
    path = manifest(
        tmp_path, "path,label,start,end", "a.wav,dog,0,1", "a.wav,cat,1,2", f"{other},cat,,", "sub/../b.wav,dog,,"
    )
    spec = read("manifest", path)
    assert [Path(clip.path).name for clip in spec.clips] == ["a.wav", "a.wav", "b.wav", "x.wav"]
    assert [spec.group_of(clip) for clip in spec.clips[:2]] == ["a.wav", "a.wav"]  # parts of one file stay together
    assert spec.group_of(spec.clips[3]) == "other/x.wav"  # not the absolute path, which is another elsewhere


def test_manifest_in_a_folder(tmp_path: Path) -> None:
    manifest(tmp_path, "path,label", "a.wav,dog", "b.wav,cat").rename(tmp_path / "manifest.csv")
    assert len(read("manifest", tmp_path).clips) == 2
    with pytest.raises(TfaudioError, match=r"manifest\.csv does not exist"):
        read("manifest", touch(tmp_path / "empty", "x").parent / "empty")


def test_manifest_with_missing_files(tmp_path: Path) -> None:
    path = manifest(tmp_path, "path,label", "a.wav,dog", "b.wav,cat", "gone.wav,dog")
    spec = read("manifest", path)
    assert [(Path(s.path).name, s.reason) for s in spec.skipped] == [("gone.wav", "the file does not exist")]
    with pytest.raises(TfaudioError, match=r"gone\.wav: the file does not exist"):
        read("manifest", path, strict=True)
    with pytest.raises(TfaudioError, match="no usable audio files"):
        read("manifest", manifest(tmp_path, "path,label", "x.wav,dog", "y.wav,cat"))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["path,name", "a.wav,dog"], r"line 1, lacks the column label; it has: path, name"),
        (["file;class", "a.wav;dog"], r"line 1, lacks the columns path, label; .* separated by commas"),
        ([""], r"line 1, lacks the columns path, label; it has: nothing"),
        (["path,label,label", "a.wav,dog,dog"], "names the column label twice"),
        (["path,label", "a.wav,dog", "", "b.wav,cat"], "line 3, is blank"),
        (["path,label", "a.wav,dog", ",", "b.wav,cat"], "line 3, is blank"),
        (["path,label", "a.wav,"], "line 2: column 'label' is empty"),
        (["path,label", "a.wav"], "line 2: column 'label' is empty"),
        (["path,label", ",dog"], "line 2: column 'path' is empty"),
        (["path,label", "a.wav,dog, barking"], "line 2, has 3 cells for 2 columns"),
        (["path,label", "a.wav,dog", "b.wav,cat", "a.wav,dog"], "line 4, repeats the clip of line 2"),
        (["path,label", "a.wav,dog", "./a.wav,cat"], "line 3, repeats the clip of line 2"),
        (["path,label,fold", "a.wav,dog,one"], "line 2: fold must be a whole number, not 'one'"),
        (["path,label,fold", "a.wav,dog,1.5"], "whole number"),
        (["path,label,fold", "a.wav,dog,1", "b.wav,cat,"], "line 3: column 'fold' is filled in some rows"),
        (["path,label,split", "a.wav,dog,exam"], "line 2: split must be train, validation or test, not 'exam'"),
        (["path,label,start", "a.wav,dog,-1"], "line 2: start must be a number of seconds"),
        (["path,label,start", "a.wav,dog,nan"], "start must be a number of seconds"),
        (["path,label,start,end", "a.wav,dog,2,1"], r"line 2: end \(1 s\) must come after start \(2 s\)"),
        (["path,label,end", "a.wav,dog,0"], "end"),
        (["path,label", "a.wav,dog", "b.wav,dog"], "only the class 'dog'"),
        (["path,label"], "no usable audio files"),
        (["path,label", 'a.wav,"dog'], "not valid CSV"),
    ],
)
def test_mistakes_in_a_manifest_are_found_by_line(tmp_path: Path, lines: list[str], message: str) -> None:
    path = manifest(tmp_path, *lines)
    with pytest.raises(TfaudioError, match=message) as error:
        read("manifest", path)
    assert str(path) in str(error.value)


def test_manifest_of_another_encoding(tmp_path: Path) -> None:
    path = manifest(tmp_path, "path,label", "a.wav,Türklingel", "b.wav,cat", encoding="latin-1")
    with pytest.raises(TfaudioError, match="UTF-8"):
        read("manifest", path)


def test_folds_as_spreadsheets_round_them(tmp_path: Path) -> None:
    assert read("manifest", manifest(tmp_path, "path,label,fold", "a.wav,dog,1.0", "b.wav,cat,2.0")).folds == (1, 2)


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
    speakers = [part.test[0].group for part in leave_one_group_out(spec)]
    assert speakers == ["george", "jackson", "lucas", "nicolas", "theo", "yweweler"]


# --- the catalogue


def test_every_entry_describes_itself() -> None:
    assert DATASETS.names() == ["esc10", "esc50", "folder", "fsdd", "manifest", "synthetic"]
    for name in DATASETS:
        entry = DATASETS[name]
        assert entry.name == name
        assert entry.description
        assert entry.licence
        assert entry.task
        assert entry.needs_data_dir == (name != "synthetic")
    assert read_dataset.__doc__
