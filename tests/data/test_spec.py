from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from tfaudio.data.spec import NOT_AUDIO, Clip, DatasetSpec, why_not_audio, why_unusable
from tfaudio.errors import TfaudioError
from tfaudio.labels import LabelMap

PETS = LabelMap(("cat", "dog"))


def pets(root: str = "/data", **changes: object) -> DatasetSpec:
    clips = (
        Clip(f"{root}/dog/b.wav", "dog", fold=2),
        Clip(f"{root}/cat/a.wav", "cat", fold=1, group="tom"),
        Clip(f"{root}/cat/c.wav", "cat", fold=2),
    )
    return replace(DatasetSpec("pets", clips, PETS), **changes)


def test_clips_come_in_one_order_whatever_order_they_were_found_in() -> None:
    spec = pets()
    assert [clip.path for clip in spec.clips] == ["/data/cat/a.wav", "/data/cat/c.wav", "/data/dog/b.wav"]
    assert replace(spec, clips=spec.clips[::-1]) == spec


def test_parts_of_one_file_are_ordered_by_their_start() -> None:
    parts = tuple(Clip("/d/x.wav", "dog", start=start, end=start + 1) for start in (10.0, 2.0, 0.0))
    spec = DatasetSpec("parts", (*parts, Clip("/d/x.wav", "cat", end=0.5)), PETS)
    assert [(c.start, c.end) for c in spec.clips] == [(None, 0.5), (0.0, 1.0), (2.0, 3.0), (10.0, 11.0)]


def test_folds_counts_and_groups() -> None:
    spec = pets()
    assert spec.folds == (1, 2)
    assert not spec.has_official_split
    assert spec.class_counts() == {"cat": 2, "dog": 1}
    assert spec.class_counts(spec.clips[:1]) == {"cat": 1, "dog": 0}
    assert [spec.group_of(clip) for clip in spec.clips] == ["tom", "cat/c.wav", "dog/b.wav"]


def test_unknown_labels_are_refused() -> None:
    with pytest.raises(ValueError, match="fox"):
        DatasetSpec("pets", (Clip("/d/a.wav", "fox"),), PETS)


def test_fingerprint_is_that_of_the_data_and_not_of_their_place() -> None:
    spec = pets()
    assert len(spec.fingerprint()) == 64
    assert pets("/mnt/elsewhere").fingerprint() == spec.fingerprint()
    assert replace(spec, clips=spec.clips[::-1], description="other").fingerprint() == spec.fingerprint()


@pytest.mark.parametrize(
    "change",
    [{"label": "dog"}, {"fold": 3}, {"split": "test"}, {"group": "g"}, {"start": 1.0}, {"path": "/data/cat/z.wav"}],
)
def test_fingerprint_changes_with_what_is_learnt_or_tested(change: dict[str, object]) -> None:
    spec = pets()
    other = replace(spec, clips=(replace(spec.clips[0], **change), *spec.clips[1:]))
    assert other.fingerprint() != spec.fingerprint()


def test_fingerprint_of_an_empty_data_set() -> None:
    assert DatasetSpec("none", (), PETS).fingerprint() != pets().fingerprint()


@pytest.mark.parametrize("name", ["a.wav", "a.WAV", "a.b.Flac", "x.opus", "犬.mp3"])
def test_audio_is_known_by_its_extension(name: str) -> None:
    assert why_not_audio(Path(name)) is None


def test_other_files_are_told_from_audio_that_cannot_be_read() -> None:
    assert why_not_audio(Path("notes.txt")) == NOT_AUDIO
    assert why_not_audio(Path("wav")) == NOT_AUDIO
    assert "convert" in (why_not_audio(Path("a.M4A")) or "")


def test_every_extension_is_one_that_libsndfile_reads() -> None:
    soundfile = pytest.importorskip("soundfile")
    from tfaudio.data.spec import AUDIO_EXTENSIONS

    known = {
        ".wave": "WAV", ".oga": "OGG", ".opus": "OGG", ".aif": "AIFF", ".aifc": "AIFF", ".snd": "AU",
    }  # fmt: skip
    for extension in AUDIO_EXTENSIONS:
        assert known.get(extension, extension[1:].upper()) in soundfile.available_formats()


def test_unusable_files(tmp_path: Path) -> None:
    good, empty, link = tmp_path / "good.wav", tmp_path / "empty.wav", tmp_path / "link.wav"
    good.write_bytes(b"x")
    empty.touch()
    link.symlink_to(tmp_path / "gone.wav")
    assert why_unusable(str(good)) is None
    assert why_unusable(str(empty)) == "the file is empty"
    assert why_unusable(str(link)) == "a symbolic link to a file that does not exist"
    assert why_unusable(str(tmp_path / "gone.wav")) == "the file does not exist"
    assert why_unusable(str(tmp_path)) == "not a regular file"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    assert why_unusable(str(tmp_path / "pipe.wav")) == "not a regular file"


def tagged(*clips: tuple[str, ...], labels: tuple[str, ...] = ("bark", "dog", "rain")) -> DatasetSpec:
    made = (Clip(f"/d/{i}.wav", first, also=tuple(also)) for i, (first, *also) in enumerate(clips))
    return DatasetSpec("tags", tuple(made), LabelMap(labels))


def test_a_clip_of_several_classes_counts_in_each() -> None:
    spec = tagged(("dog", "bark"), ("rain",), ("dog", "rain"))
    assert spec.multi_label
    assert not pets().multi_label
    assert spec.clips[0].labels == ("dog", "bark")
    assert spec.clips[0].label_text == "dog;bark"
    assert spec.class_counts() == {"bark": 1, "dog": 2, "rain": 2}
    assert spec.class_counts(spec.clips[:1]) == {"bark": 1, "dog": 1, "rain": 0}


def test_fingerprints_that_are_stored_stay_and_further_labels_change_them() -> None:
    # As stored before clips could have further labels.
    assert pets().fingerprint() == "60d7c11e306ace93bc9ebbd2535e57a86e790a4b073119d00e45d00ec9a788f4"
    plain = tagged(("dog",), ("rain",), ("bark",))
    assert plain.fingerprint() != tagged(("dog", "bark"), ("rain",), ("bark",)).fingerprint()


def test_labels_of_clips_of_several_classes_are_checked() -> None:
    with pytest.raises(ValueError, match="fox"):
        tagged(("dog", "fox"), ("rain",))
    with pytest.raises(TfaudioError, match=r"/d/0\.wav has a label twice \(dog;bark;dog\)"):
        tagged(("dog", "bark", "dog"))
    with pytest.raises(TfaudioError, match="Class name 'a;b' of data set 'tags' holds a ';'"):
        tagged(("dog", "a;b"), labels=("a;b", "dog"))
    tagged(("a;b",), labels=("a;b", "dog"))  # of one class each, nothing is separated
