from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.data.folders import read, touch
from tfaudio.errors import TfaudioError


def manifest(tmp_path: Path, *lines: str, files: Iterable[str] = ("a.wav", "b.wav"), encoding: str = "utf-8") -> Path:
    touch(tmp_path, *files)
    path = tmp_path / "clips.csv"
    path.write_bytes("\n".join(lines).encode(encoding))
    return path


def test_manifest_with_every_column(tmp_path: Path) -> None:
    path = manifest(
        tmp_path,
        "comment,path,label,fold,split,group,text,start,end",
        'x,b.wav,"two words, 犬",2,Test,g1,"hello, you",0.5,2',
        ",a.wav,dog,1,train,g2,,,",
    )
    spec = read("manifest", path)
    first, second = spec.clips
    assert (first.path, first.label, first.fold, first.split) == (str(tmp_path / "a.wav"), "dog", 1, "train")
    assert (first.group, first.text, first.start, first.end) == ("g2", None, None, None)
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


def test_parts_of_one_file_stay_together_however_it_is_written(tmp_path: Path) -> None:
    rows = ("a.wav,dog,0,1", "sub/../a.wav,cat,1,2", f"{tmp_path / 'a.wav'},cat,2,3", "b.wav,dog,,")
    spec = read("manifest", manifest(tmp_path, "path,label,start,end", *rows))
    assert [spec.group_of(clip) for clip in spec.clips] == ["a.wav", "a.wav", "a.wav", "b.wav"]


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
        (["path,label,start,end", "a.wav,dog,,", "a.wav,cat,0,"], "line 3, repeats the clip of line 2"),
        (["path,label,fold", "a.wav,dog,one"], "line 2: fold must be a whole number, not 'one'"),
        (["path,label,fold", "a.wav,dog,1.5"], "whole number"),
        (["path,label,fold", "a.wav,dog,1", "b.wav,cat,"], "line 3: column 'fold' is filled in some rows"),
        (["path,label,group", "a.wav,dog,", "b.wav,cat,ann"], "line 3: column 'group' is filled in some rows"),
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


def test_a_clip_may_have_several_labels(tmp_path: Path) -> None:
    path = manifest(tmp_path, "path,labels", 'a.wav,"dog, barking; 雨 ;a b"', "b.wav,雨")
    spec = read("manifest", path)
    assert [clip.labels for clip in spec.clips] == [("dog, barking", "雨", "a b"), ("雨",)]
    assert spec.labels.names == ("a b", "dog, barking", "雨")
    assert spec.multi_label


def test_the_column_of_single_labels_separates_nothing(tmp_path: Path) -> None:
    spec = read("manifest", manifest(tmp_path, "path,label", "a.wav,dog;cat", "b.wav,cat"))
    assert spec.labels.names == ("cat", "dog;cat")
    assert not spec.multi_label


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["path,label,labels", "a.wav,dog,dog", "b.wav,cat,cat"], "line 1, has the columns label and labels; keep one"),
        (["path,labels", "a.wav,dog;;cat", "b.wav,cat"], "line 2: labels 'dog;;cat' must be different names"),
        (["path,labels", "a.wav,dog", "b.wav,cat; cat"], "line 3: labels 'cat; cat' must be different names"),
        (["path,labels", "a.wav,", "b.wav,cat"], "line 2: column 'labels' is empty"),
        (["path,labels", "a.wav,cat", "b.wav,cat"], "only the class 'cat'"),
    ],
)
def test_mistakes_in_several_labels(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(TfaudioError, match=message):
        read("manifest", manifest(tmp_path, *lines))
