"""The readers of published data sets, each on a small tree in the set's layout, and on the mistakes people make."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.data.folders import read, touch
from tfaudio.data.readers.environmental import URBANSOUND8K_CLASSES
from tfaudio.data.readers.music import GTZAN_GENRES
from tfaudio.data.readers.speech import SILENCE, UNKNOWN, WORDS_OF_VERSION
from tfaudio.data.spec import NOT_AUDIO, DatasetSpec
from tfaudio.data.split import split_dataset
from tfaudio.errors import TfaudioError


def rows(spec: DatasetSpec, *columns: str) -> list[tuple[object, ...]]:
    return [tuple(getattr(clip, column) for column in columns) for clip in spec.clips]


def reasons(spec: DatasetSpec) -> dict[str, str]:
    return {Path(skipped.path).name: skipped.reason for skipped in spec.skipped}


# --- UrbanSound8K


def urbansound(root: Path, *lines: str) -> Path:
    header = "slice_file_name,fsID,start,end,salience,fold,classID,class"
    return touch(root, "metadata/UrbanSound8K.csv", content="\n".join((header, *lines)).encode())


def test_urbansound8k(tmp_path: Path) -> None:
    urbansound(
        tmp_path,
        "100032-3-0-0.wav,100032,0.0,0.317551,1,5,3,dog_bark",
        "100263-2-0-117.wav,100263,58.5,62.5,1,10,2,children_playing",
        "100263-2-0-121.wav,100263,60.5,64.5,1,10,2,children_playing",
    )
    touch(tmp_path, "audio/fold5/100032-3-0-0.wav", "audio/fold10/100263-2-0-117.flac", "audio/fold10/.DS_Store")
    spec = read("urbansound8k", tmp_path)
    # 58.5 s is a place in the source recording: taken as one in the clip, it would leave no sound of it.
    assert rows(spec, "label", "fold", "group", "start", "end") == [
        ("children_playing", 10, "100263", None, None),
        ("dog_bark", 5, "100032", None, None),
    ]
    assert [Path(clip.path).suffix for clip in spec.clips] == [".flac", ".wav"]
    assert reasons(spec) == {"100263-2-0-121.wav": "the file does not exist"}
    assert spec.licence == "CC BY-NC"


def test_urbansound8k_with_the_folds_beside_the_table(tmp_path: Path) -> None:
    urbansound(tmp_path / "x", "1-3-0-0.wav,1,0,1,1,5,3,dog_bark", "2-1-0-0.wav,2,0,1,1,6,1,car_horn")
    (tmp_path / "x" / "metadata" / "UrbanSound8K.csv").rename(tmp_path / "UrbanSound8K.csv")
    touch(tmp_path, "fold5/1-3-0-0.wav", "fold6/2-1-0-0.wav")
    assert rows(read("urbansound8k", tmp_path), "label", "fold") == [("dog_bark", 5), ("car_horn", 6)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("100032-3-0-0.wav,100032,0,1,1,5,3,cat", "line 2: class 'cat' does not fit 100032-3-0-0.wav, where 3"),
        ("100032-3-0-0.wav,100032,0,1,1,5,3,siren", "where 3 stands for dog_bark"),
        ("100032-3-0-0.wav,100032,0,1,1,11,3,dog_bark", "line 2: expected a name like"),
        ("dog.wav,1,0,1,1,5,3,dog_bark", "line 2: expected a name like"),
    ],
)
def test_urbansound8k_rows_that_are_wrong(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(TfaudioError, match=message):
        read("urbansound8k", urbansound(tmp_path, line))


def test_urbansound8k_in_the_wrong_place(tmp_path: Path) -> None:
    urbansound(tmp_path / "sets" / "UrbanSound8K", "100032-3-0-0.wav,100032,0,1,1,5,3,dog_bark")
    inner = tmp_path / "sets" / "UrbanSound8K"
    with pytest.raises(TfaudioError, match=f"but {inner} does; set data.data_dir"):
        read("urbansound8k", tmp_path / "sets")
    with pytest.raises(TfaudioError, match=f"but {inner} does"):
        read("urbansound8k", touch(inner, "audio/x") / "audio")
    with pytest.raises(TfaudioError, match=r"holds no metadata/UrbanSound8K\.csv or UrbanSound8K\.csv; set"):
        read("urbansound8k", tmp_path)
    with pytest.raises(TfaudioError, match="no usable audio files"):
        read("urbansound8k", inner)
    assert len(set(URBANSOUND8K_CLASSES)) == 10


# --- Speech Commands

# From the published testing_list.txt and validation_list.txt.
TESTED = ("2aa787cf", "ffa76c4a", "24ad3ebe", "d7467392", "5828dfa2", "91223b83", "95ba4996", "0ea0e2f4")
VALIDATED = ("5fadb538", "471a0925", "b5d1e505", "eee9b9e2", "56eb74ae", "d197e3ae", "8b775397", "605ed0ff")


def commands(root: Path, words: Iterable[str], speakers: Iterable[str]) -> Path:
    for word in words:
        touch(root, *(f"{word}/{speaker}_nohash_0.wav" for speaker in speakers))
    return touch(root, "validation_list.txt", "testing_list.txt", "README.md", "LICENSE")


def noise(root: Path, **seconds: float) -> Path:
    folder = touch(root, "_background_noise_/README.md") / "_background_noise_"
    for name, length in seconds.items():
        soundfile.write(folder / f"{name}.wav", np.zeros(round(16_000 * length)), 16_000)
    return root


def made_up_speakers(count: int) -> list[str]:
    generator = random.Random(1)
    return [f"{generator.getrandbits(32):08x}" for _ in range(count)]


@pytest.mark.parametrize(("version", "classes"), [(1, 30), (2, 35)])
def test_speech_commands(tmp_path: Path, version: int, classes: int) -> None:
    commands(tmp_path, WORDS_OF_VERSION[version], (TESTED[0], VALIDATED[0]))
    touch(tmp_path, "no/notes.txt", "no/mine.wav", "_background_noise_/white_noise.wav")
    spec = read(f"speech_commands_v{version}", tmp_path)
    assert len(spec.labels) == classes
    assert len(spec.clips) == 2 * classes
    assert all(clip.text == clip.label for clip in spec.clips)
    assert {clip.group for clip in spec.clips} == {TESTED[0], VALIDATED[0]}
    assert reasons(spec) == {"mine.wav": "its name is not SPEAKER_nohash_INDEX.wav", "notes.txt": NOT_AUDIO}


def test_speech_commands_are_split_as_published(tmp_path: Path) -> None:
    others = made_up_speakers(1_000)
    commands(tmp_path, WORDS_OF_VERSION[1], (TESTED[0],))
    commands(tmp_path, ("yes",), (*TESTED, *VALIDATED, *others))
    part = {clip.group: clip.split for clip in read("speech_commands_v1", tmp_path).clips if clip.label == "yes"}
    assert {part[speaker] for speaker in TESTED} == {"test"}
    assert {part[speaker] for speaker in VALIDATED} == {"validation"}
    shares = Counter(part[speaker] for speaker in others)
    # Five standard deviations of a share of 10 % in 1,000.
    assert shares["test"] == pytest.approx(100, abs=47)
    assert shares["validation"] == pytest.approx(100, abs=47)


def test_keywords_have_silence_and_unknown_words(tmp_path: Path) -> None:
    speakers = (*TESTED, *VALIDATED, *made_up_speakers(40))
    noise(
        commands(tmp_path, WORDS_OF_VERSION[2], speakers), running_tap=2.2, dude_miaowing=1.0, pink_noise=3.0, short=0.9
    )
    spec = read("speech_commands_v2_12", tmp_path)
    assert set(spec.labels) == {"yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go", SILENCE, UNKNOWN}
    parts = {part: spec.class_counts(getattr(split_dataset(spec), part)) for part in ("train", "validation", "test")}
    assert parts["test"]["yes"] >= len(TESTED)
    for counts in parts.values():
        assert counts[UNKNOWN] == counts["yes"] == counts["go"]
    silence = [(Path(c.path).stem, c.split, c.start, c.end) for c in spec.clips if c.label == SILENCE]
    assert silence == [
        ("dude_miaowing", "validation", 0.0, 1.0),
        *(("pink_noise", "train", start, start + 1) for start in (0.0, 0.5, 1.0, 1.5, 2.0)),
        *(("running_tap", "test", start, start + 1) for start in (0.0, 0.5, 1.0)),
    ]
    unknown = {Path(clip.path).parent.name for clip in spec.clips if clip.label == UNKNOWN}
    assert len(unknown) > 10
    assert not unknown & {"yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go"}
    # A text that its label does not hide would say that the word is none of the ten.
    assert {clip.text for clip in spec.clips if clip.label in (UNKNOWN, SILENCE)} == {None}
    groups = {part: {c.group for c in getattr(split_dataset(spec), part)} for part in ("train", "validation", "test")}
    assert not groups["train"] & groups["test"]
    assert not groups["validation"] & (groups["train"] | groups["test"])


def test_keywords_stay_when_a_speaker_is_added(tmp_path: Path) -> None:
    """The choice of the unknown words does not depend on the others that are there."""
    speakers = made_up_speakers(30)
    noise(commands(tmp_path, WORDS_OF_VERSION[1], speakers), pink_noise=2.0)

    def chosen() -> set[str]:
        return {clip.path for clip in read("speech_commands_v1_12", tmp_path).clips if clip.label == UNKNOWN}

    before = chosen()
    commands(tmp_path, WORDS_OF_VERSION[1], ["0000ffff"])
    assert len(before & chosen()) >= 0.9 * len(before)


def test_speech_commands_mistakes(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    commands(first, WORDS_OF_VERSION[1], TESTED[:1])
    commands(second, WORDS_OF_VERSION[2], TESTED[:1])
    with pytest.raises(TfaudioError, match=r"holds the words of version 2 .*'speech_commands_v2'"):
        read("speech_commands_v1", second)
    with pytest.raises(TfaudioError, match=r"holds the words of version 1 .*'speech_commands_v1_12'"):
        read("speech_commands_v2_12", first)
    with pytest.raises(TfaudioError, match=f"but {first} does; set data.data_dir"):
        read("speech_commands_v1", tmp_path)
    with pytest.raises(TfaudioError, match=r"_background_noise_ holds no recordings.*without '_12'"):
        read("speech_commands_v1_12", first)
    (second / "wow" / f"{TESTED[0]}_nohash_0.wav").unlink()
    (second / "wow").rmdir()
    with pytest.raises(TfaudioError, match=r"lacks 1 of the 35 folders of words \(wow first\)"):
        read("speech_commands_v2", second)
    touch(first, "visual/a_nohash_0.wav")
    with pytest.raises(TfaudioError, match=r"words of version 2 of Speech Commands \(visual\) but not all"):
        read("speech_commands_v1", first)
    touch(first, "_background_noise_/broken.wav")
    (first / "visual" / "a_nohash_0.wav").unlink()
    (first / "visual").rmdir()
    assert "its length cannot be read" in reasons(read("speech_commands_v1_12", first))["broken.wav"]
    with pytest.raises(TfaudioError, match="holds no yes"):
        read("speech_commands_v1", touch(tmp_path / "empty", "a.txt"))


# --- emotions


def test_ravdess(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "Actor_12/03-01-06-01-02-01-12.wav",
        "Actor_12/03-01-01-01-01-02-12.wav",
        "Actor_03/03-01-08-02-01-01-03.wav",
        "Actor_03/03-02-08-02-01-01-03.wav",  # sung
        "Actor_03/03-01-09-02-01-01-03.wav",
        "Actor_03/first try.wav",
        "audio_speech_actors_01-24/Actor_12/03-01-06-01-02-01-12.wav",  # as a well-known copy has it
    )
    spec = read("ravdess", tmp_path)
    assert rows(spec, "label", "group", "text", "split", "fold") == [
        ("surprised", "03", "Kids are talking by the door", None, None),
        ("neutral", "12", "Kids are talking by the door", None, None),
        ("fearful", "12", "Dogs are sitting by the door", None, None),
    ]
    assert reasons(spec) == {
        "03-01-06-01-02-01-12.wav": "a recording of this name was found in another folder",
        "03-01-09-02-01-01-03.wav": "no emotion has the code 09, which its name gives",
        "first try.wav": "its name is not seven numbers of two digits with dashes between",
    }
    assert rows(read("ravdess", tmp_path / "Actor_12"), "label") == [("neutral",), ("fearful",)]
    with pytest.raises(TfaudioError, match="no usable audio files"):
        read("ravdess", touch(tmp_path / "other", "a.wav"))


def test_emodb(tmp_path: Path) -> None:
    touch(tmp_path, "wav/03a01Fa.wav", "wav/16b10Wb.wav", "wav/08a02Xa.wav", "wav/x.wav", "lab/03a01Fa.lab")
    for place in (tmp_path, tmp_path / "wav"):
        spec = read("emodb", place)
        assert rows(spec, "label", "group") == [("happiness", "03"), ("anger", "16")]
        assert reasons(spec) == {
            "08a02Xa.wav": "no emotion has the code X, which its name gives",
            "x.wav": "its name is not like 03a01Fa.wav",
        }
    codes = {"W": "anger", "L": "boredom", "E": "disgust", "A": "fear", "F": "happiness", "T": "sadness"} | {
        "N": "neutral"
    }
    touch(tmp_path / "all" / "wav", *(f"09a07{code}a.wav" for code in codes))
    assert {Path(c.path).stem[5]: c.label for c in read("emodb", tmp_path / "all").clips} == codes
    with pytest.raises(TfaudioError, match=r"holds no wav, but .*all does"):
        read("emodb", touch(tmp_path / "all" / "lab", "x.lab"))
    with pytest.raises(TfaudioError, match="holds no wav; set"):
        read("emodb", touch(tmp_path / "elsewhere" / "deep", "x.lab"))


def test_crema_d(tmp_path: Path) -> None:
    touch(tmp_path, "AudioWAV/1001_DFA_ANG_XX.wav", "AudioWAV/1040_ITH_SAD_X.wav", "AudioWAV/1002_IEO_HAP_LO.wav")
    touch(tmp_path, "AudioWAV/1002_IEO_JOY_LO.wav", "AudioMP3/1001_DFA_ANG_XX.mp3", "VideoFlash/1001_DFA_ANG_XX.flv")
    spec = read("crema_d", tmp_path)
    assert rows(spec, "label", "group") == [("anger", "1001"), ("happiness", "1002"), ("sadness", "1040")]
    assert reasons(spec) == {"1002_IEO_JOY_LO.wav": "no emotion has the code JOY, which its name gives"}
    with pytest.raises(TfaudioError, match="holds no AudioWAV"):
        read("crema_d", tmp_path / "VideoFlash" / ".." / ".." / "..")


# --- music


@pytest.mark.parametrize("folder", ["", "genres", "genres_original"])
def test_gtzan_without_lists(tmp_path: Path, folder: str) -> None:
    genres = tmp_path / folder
    touch(genres, *(f"{genre}/{genre}.00000.wav" for genre in GTZAN_GENRES))
    touch(genres, "jazz/jazz.00054.au", "jazz/rock.00001.wav", "features_30_sec.csv")
    spec = read("gtzan", tmp_path)
    assert len(spec.labels) == 10
    assert not spec.has_official_split
    assert [clip.group for clip in spec.clips if clip.label == "jazz"] == ["jazz.00000", "jazz.00054"]
    assert reasons(spec) == {"rock.00001.wav": "its name is not GENRE.NUMBER"}


@pytest.mark.parametrize("beside", ["", "genres"])
def test_gtzan_with_the_fault_filtered_lists(tmp_path: Path, beside: str) -> None:
    touch(tmp_path / "genres", *(f"{genre}/{genre}.0000{i}.au" for genre in ("blues", "rock") for i in range(4)))
    lists = {"train": "blues/blues.00000.wav\nrock/rock.00001.wav\n", "valid": "rock/rock.00003.wav"}
    lists["test"] = "blues/blues.00002.wav\r\nrock/rock.00009.wav\r\n"
    for name, text in lists.items():
        touch(tmp_path / beside, f"{name}_filtered.txt", content=text.encode())
    spec = read("gtzan", tmp_path)
    assert [(Path(c.path).name, c.label, c.split) for c in spec.clips] == [
        ("blues.00000.au", "blues", "train"),
        ("blues.00002.au", "blues", "test"),
        ("rock.00001.au", "rock", "train"),
        ("rock.00003.au", "rock", "validation"),
    ]
    assert reasons(spec) == {"rock.00009.wav": "the file does not exist"}
    touch(tmp_path / beside, "test_filtered.txt", content=b"blues/blues.00002.wav\nblues/rock.00001.wav\n")
    with pytest.raises(TfaudioError, match=r"test_filtered\.txt, line 2: expected a track like"):
        read("gtzan", tmp_path)
    (tmp_path / beside / "valid_filtered.txt").unlink()
    with pytest.raises(TfaudioError, match=r"but not valid_filtered\.txt; put all three"):
        read("gtzan", tmp_path)


def test_gtzan_in_the_wrong_place(tmp_path: Path) -> None:
    with pytest.raises(TfaudioError, match="holds no genres_original/blues or genres/blues or blues; set"):
        read("gtzan", tmp_path)
    touch(tmp_path / "Data" / "genres_original", "blues/blues.00000.wav", "rock/rock.00000.wav")
    with pytest.raises(TfaudioError, match=f"but {tmp_path / 'Data'} does"):
        read("gtzan", tmp_path)


FMA_TABLE = """\
,album,artist,set,set,track
,comments,id,split,subset,genre_top
track_id,,,,,
2,"two
lines, and a comma",1,training,small,Hip-Hop
5,0,1,training,small,Hip-Hop
10,0,6,validation,small,Rock
140,0,54,test,small,Folk
20,0,4,training,large,
"""


def fma(root: Path, *, table: str = "fma_metadata/tracks.csv", text: str = FMA_TABLE) -> Path:
    touch(root / "fma_small", "000/000002.mp3", "000/000005.mp3", "000/000010.mp3", "000/000020.mp3", "checksums")
    return touch(root, table, content=text.encode())


@pytest.mark.parametrize(
    ("table", "place"),
    [("fma_metadata/tracks.csv", "."), ("fma_metadata/tracks.csv", "fma_small"), ("fma_small/tracks.csv", "fma_small")],
)
def test_fma_small(tmp_path: Path, table: str, place: str) -> None:
    spec = read("fma_small", fma(tmp_path, table=table) / place)
    assert [(Path(c.path).name, c.label, c.split, c.group) for c in spec.clips] == [
        ("000002.mp3", "Hip-Hop", "train", "1"),
        ("000005.mp3", "Hip-Hop", "train", "1"),
        ("000010.mp3", "Rock", "validation", "6"),
    ]
    assert reasons(spec) == {"000140.mp3": "the file does not exist"}


def test_fma_small_takes_long_biographies(tmp_path: Path) -> None:
    import csv

    before = csv.field_size_limit()
    spec = read("fma_small", fma(tmp_path, text=FMA_TABLE.replace("two\n", "b" * 200_000)))
    assert len(spec.clips) == 3
    assert csv.field_size_limit() == before


def test_fma_small_mistakes(tmp_path: Path) -> None:
    with pytest.raises(TfaudioError, match=r"holds no fma_metadata/tracks\.csv or tracks\.csv; set"):
        read("fma_small", touch(tmp_path / "a" / "fma_small", "000/000002.mp3"))
    with pytest.raises(TfaudioError, match=r"lacks the column track\.genre_top; take tracks\.csv"):
        read("fma_small", fma(tmp_path / "b", text=FMA_TABLE.replace("genre_top", "genre")))
    with pytest.raises(TfaudioError, match="line 6: a track of the small set needs"):
        read("fma_small", fma(tmp_path / "c", text=FMA_TABLE.replace("5,0,1,training", "5,0,1,practice")))
    (tmp_path / "c" / "fma_metadata" / "tracks.csv").write_bytes(FMA_TABLE.encode() + b"\xff\xfe,\n")
    with pytest.raises(TfaudioError, match="is damaged"):
        read("fma_small", tmp_path / "c")


# --- Freesound


def test_freesound_with_metadata_beside_each(tmp_path: Path) -> None:
    records = {
        "dogs/1_a": {"username": "ann", "tags": ["dog", "bark"]},
        "dogs/2_b": {"uploader": "bob", "label": "wolf"},
        "3_c": {"username": "ann", "label": "Türe"},
        "dogs/6_f": {"username": "eve", "label": None},
        "4_d": {"username": "ann", "tags": ["rain"]},
    }
    for name, record in records.items():
        touch(tmp_path, f"{name}.wav")
        touch(tmp_path, f"{name}.json", content=json.dumps(record).encode())
    touch(tmp_path, "5_e.flac", "readme.txt")
    spec = read("freesound", tmp_path)
    assert rows(spec, "label", "group") == [("Türe", "ann"), ("dogs", "ann"), ("wolf", "bob"), ("dogs", "eve")]
    assert reasons(spec) == {
        "4_d.wav": 'its metadata has no "label", and it lies in no class folder',
        "5_e.flac": "there is no 5_e.json beside it and no entry in metadata.json",
        "readme.txt": NOT_AUDIO,
    }


@pytest.mark.parametrize(
    "document",
    [
        {"1234": {"label": "dog", "username": "ann"}, "77": {"label": "cat", "username": "bob"}},
        {"1234_dog.wav": {"label": "dog", "username": "ann"}, "77": {"label": "cat", "uploader": "bob"}},
        [{"id": 1234, "label": "dog", "username": "ann"}, {"id": 77, "label": "cat", "username": "bob"}],
        {"results": [{"id": 1234, "label": "dog", "username": "ann"}, {"id": 77, "label": "cat", "uploader": "bob"}]},
    ],
)
def test_freesound_with_metadata_in_one_file(tmp_path: Path, document: object) -> None:
    touch(tmp_path, "1234_dog.wav", "deep/er/77.ogg")
    touch(tmp_path, "metadata.json", content=json.dumps(document).encode())
    assert rows(read("freesound", tmp_path), "label", "group") == [("dog", "ann"), ("cat", "bob")]


def test_freesound_mistakes(tmp_path: Path) -> None:
    touch(tmp_path, "dog/1.wav", "cat/2.wav")
    with pytest.raises(TfaudioError, match=r"no usable audio files \(.*there is no 2\.json beside it"):
        read("freesound", tmp_path)
    for content, message in ((b"{", r"1\.json is not valid JSON"), (b"[1]", r"1\.json must hold a JSON object")):
        touch(tmp_path, "dog/1.json", content=content)
        with pytest.raises(TfaudioError, match=message):
            read("freesound", tmp_path)
    touch(tmp_path, "metadata.json", content=b'{"1": "dog"}')
    with pytest.raises(TfaudioError, match=r"metadata\.json must hold a JSON object of objects"):
        read("freesound", tmp_path)
    with pytest.raises(TfaudioError, match="is not a folder"):
        read("freesound", tmp_path / "metadata.json")


# --- FSD50K


def fsd50k(root: Path, *, dev: Iterable[str] = (), audio: Iterable[str] = ()) -> Path:
    rows = dev or ('64760,"Electric_guitar,Guitar,Music",/m/02sgy,train', "16399,Rain,/m/06mb1,val")
    touch(root, "FSD50K.ground_truth/dev.csv", content="\n".join(("fname,labels,mids,split", *rows)).encode())
    evaluation = b'fname,labels,mids\n37199,"Guitar,Music","/m/0342h,/m/04rlf"\n175151,Rain,/m/06mb1\n'
    touch(root, "FSD50K.ground_truth/eval.csv", content=evaluation)
    names = audio or ("dev_audio/64760.wav", "dev_audio/16399.wav", "eval_audio/37199.wav", "eval_audio/175151.wav")
    return touch(root, *(f"FSD50K.{name}" for name in names))


def test_fsd50k(tmp_path: Path) -> None:
    spec = read("fsd50k", fsd50k(tmp_path))
    assert [(Path(clip.path).stem, clip.labels, clip.split) for clip in spec.clips] == [
        ("16399", ("Rain",), "validation"),
        ("64760", ("Electric_guitar", "Guitar", "Music"), "train"),
        ("175151", ("Rain",), "test"),
        ("37199", ("Guitar", "Music"), "test"),
    ]
    assert spec.multi_label
    assert spec.class_counts() == {"Electric_guitar": 1, "Guitar": 2, "Music": 2, "Rain": 2}
    split = split_dataset(spec)
    assert [len(part) for part in (split.train, split.validation, split.test)] == [1, 1, 2]
    assert "some of them CC BY-NC" in spec.licence


def test_clips_of_fsd50k_are_grouped_by_who_uploaded_them(tmp_path: Path) -> None:
    about = {"64760": {"title": "riff", "uploader": "ann"}, "16399": {"title": "drops", "uploader": "bob"}}
    told = "FSD50K.metadata/dev_clips_info_FSD50K.json"
    root = touch(fsd50k(tmp_path), told, content=json.dumps(about).encode())
    assert {Path(clip.path).stem: clip.group for clip in read("fsd50k", root).clips} == {
        **{"64760": "ann", "16399": "bob"},
        **{"37199": None, "175151": None},
    }
    (root / told).write_text(json.dumps({**about, "16399": {"uploader": ""}}))
    with pytest.raises(TfaudioError, match=r"dev\.csv, line 3: .*FSD50K\.json does not say who uploaded 16399"):
        read("fsd50k", root)
    for damaged in (b"{", b"[1]", b'{"64760": {}}', b'{"64760": {"uploader": 3}}'):
        (root / told).write_bytes(damaged)
        with pytest.raises(TfaudioError, match=r"dev_clips_info_FSD50K\.json does not say who uploaded each clip"):
            read("fsd50k", root)


def test_fsd50k_in_another_format_and_in_part(tmp_path: Path) -> None:
    spec = read("fsd50k", fsd50k(tmp_path, audio=["dev_audio/64760.flac", "eval_audio/37199.wav"]))
    assert {Path(clip.path).name for clip in spec.clips} == {"64760.flac", "37199.wav"}
    assert reasons(spec) == {"16399.wav": "the file does not exist", "175151.wav": "the file does not exist"}


@pytest.mark.parametrize(
    "row",
    ["64760,Guitar,/m/1,test", "64760,Guitar,/m/1,", "x,Guitar,/m/1,train", '1,"Guitar,",/m/1,val', '1,"A,A",,val'],
)
def test_fsd50k_rows_that_are_wrong(tmp_path: Path, row: str) -> None:
    with pytest.raises(TfaudioError, match=r"dev\.csv, line 2: expected a number, labels such as"):
        read("fsd50k", fsd50k(tmp_path, dev=[row]))


def test_fsd50k_in_the_wrong_place(tmp_path: Path) -> None:
    inner = fsd50k(tmp_path / "FSD50K")
    with pytest.raises(TfaudioError, match=f"but {inner} does; set data.data_dir"):
        read("fsd50k", tmp_path)
    (inner / "FSD50K.ground_truth" / "eval.csv").unlink()
    with pytest.raises(TfaudioError, match=r"holds no FSD50K\.ground_truth/eval\.csv"):
        read("fsd50k", inner)
