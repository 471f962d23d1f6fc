"""Each fault is planted into a clean data set, and that fault alone is found."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from tests.data.folders import read, touch
from tfaudio.data import audit_report
from tfaudio.data.audit import KINDS, Audit, audit_dataset
from tfaudio.data.audit_report import audit_png, audit_summary, audit_text, findings_csv, write_audit
from tfaudio.data.measure import measure, read_clip
from tfaudio.data.spec import Clip
from tfaudio.data.synthetic import make_sound
from tfaudio.errors import TfaudioError
from tfaudio.sound_file import DecodeError

RATE = 16_000
Waveform = npt.NDArray[np.float32]


def sound(kind: str, index: int, seconds: float = 0.6) -> Waveform:
    return make_sound(kind, seed=3, index=index, sample_rate=RATE, seconds=seconds)


@dataclass
class Pets:
    """A data set to plant faults into: rows of its manifest by file name."""

    root: Path
    rows: dict[str, dict[str, str]] = field(default_factory=dict)

    def add(self, name: str, waveform: Waveform, label: str, split: str, *, rate: int = RATE, **more: str) -> None:
        soundfile.write(self.root / name, waveform, rate, subtype="PCM_16" if name.endswith("wav") else None)
        self.rows[name] = {"label": label, "split": split, "group": Path(name).stem, **more}

    def sound_of(self, name: str) -> Waveform:
        return soundfile.read(self.root / name, dtype="float32")[0]

    def audit(self) -> Audit:
        columns = ["path", "label", "split", "group", "fold", "start", "end"]
        used = [c for c in columns if c == "path" or any(row.get(c) for row in self.rows.values())]
        with (self.root / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, used, extrasaction="ignore")
            writer.writeheader()
            # A file may stand under two names in the table, apart from its start.
            writer.writerows({"path": name.split("#")[0], **row} for name, row in self.rows.items())
        return audit_dataset(read("manifest", self.root), progress=False)

    def found(self) -> list[tuple[str, bool, str, str]]:
        return [
            (f.kind, f.leak, Path(f.first.path).name if f.first else "", Path(f.second.path).name if f.second else "")
            for f in self.audit().findings
        ]


@pytest.fixture
def pets(tmp_path: Path) -> Pets:
    """Four clips of each class to train on, two to test on, each a group of its own."""
    made = Pets(tmp_path)
    for label, kind in (("bird", "whistle"), ("fire", "crackle")):
        for index in range(6):
            name = f"{label}{index}.wav"
            made.add(name, sound(kind, index), label, "train" if index < 4 else "test")
    return made


def test_a_clean_set_is_found_clean(pets: Pets) -> None:
    audit = pets.audit()
    assert audit.findings == ()
    assert audit.leaks == ()
    assert len(audit.measures) == 12
    assert audit.part_names == ("train", "test")
    assert audit.rule == "official split"
    assert "nothing was found that speaks against it" in audit_text(audit)
    assert findings_csv(audit).count("\n") == 1
    assert not any(audit_summary(audit)["findings"].values())


def test_the_same_samples_on_both_sides(pets: Pets) -> None:
    pets.add("x.flac", pets.sound_of("bird0.wav"), "bird", "test")
    assert pets.found() == [("exact_duplicate", True, "bird0.wav", "x.flac")]


def test_the_same_samples_on_one_side(pets: Pets) -> None:
    pets.add("x.flac", pets.sound_of("bird0.wav"), "bird", "train")
    assert pets.found() == [("exact_duplicate", False, "bird0.wav", "x.flac")]


CHANGES: dict[str, Callable[[Waveform], Waveform]] = {
    "softer": lambda x: 0.1 * x,
    "cut": lambda x: x[500:],
    "padded": lambda x: np.pad(x, (2_000, 700)),
    "other polarity": lambda x: -0.7 * x,
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("part", ["train", "test"])
def test_the_same_sound_changed(pets: Pets, change: str, part: str) -> None:
    pets.add("x.wav", CHANGES[change](pets.sound_of("fire1.wav")), "fire", part)
    assert pets.found() == [("near_duplicate", part == "test", "fire1.wav", "x.wav")]


@pytest.mark.parametrize("extension", ["mp3", "ogg"])
def test_the_same_sound_coded(pets: Pets, extension: str) -> None:
    pets.add(f"x.{extension}", pets.sound_of("fire1.wav"), "fire", "test")
    assert pets.found() == [("near_duplicate", True, "fire1.wav", f"x.{extension}")]


def test_cuts_of_one_recording_that_stay_together_are_no_fault(pets: Pets) -> None:
    pets.add("x.wav", pets.sound_of("fire1.wav")[500:], "fire", "train", group="fire1")
    assert pets.found() == []
    pets.rows["x.wav"]["split"] = "test"
    assert pets.found() == [
        ("near_duplicate", True, "fire1.wav", "x.wav"),
        ("shared_group", True, "", ""),
    ]


@pytest.mark.parametrize(("changed", "kind"), [(False, "exact_duplicate"), (True, "near_duplicate")])
def test_one_sound_with_two_labels(pets: Pets, changed: bool, kind: str) -> None:
    waveform = pets.sound_of("bird2.wav")
    pets.add("x.wav", 0.2 * waveform if changed else waveform, "fire", "train")
    assert pets.found() == [
        (kind, False, "bird2.wav", "x.wav"),
        ("label_conflict", False, "bird2.wav", "x.wav"),
    ]
    assert "conflict: one sound is called 'bird' and 'fire'" in audit_text(pets.audit())


def test_a_group_on_both_sides(pets: Pets) -> None:
    for name in ("bird0.wav", "bird5.wav", "fire3.wav"):
        pets.rows[name]["group"] = "ann"
    audit = pets.audit()
    assert [(f.kind, f.leak, f.detail) for f in audit.findings] == [
        ("shared_group", True, "group 'ann' is torn apart: 1 in test, 2 in train")
    ]


def test_folds_are_parts_too(pets: Pets) -> None:
    for index, row in enumerate(pets.rows.values()):
        row.update(split="", fold=str(index % 3))
    pets.rows["bird1.wav"]["group"] = pets.rows["bird4.wav"]["group"] = "ann"
    assert pets.found() == []  # 1 and 4 lie in one fold
    pets.rows["bird2.wav"]["group"] = "ann"
    audit = pets.audit()
    assert [f.detail for f in audit.findings] == ["group 'ann' is torn apart: 2 in fold 1, 1 in fold 2"]
    assert audit.part_names == ("fold 0", "fold 1", "fold 2")


def test_a_split_and_folds_at_once(pets: Pets) -> None:
    for row in pets.rows.values():
        row["fold"] = "1"
    assert pets.audit().part_names == ("test, fold 1", "train, fold 1")
    assert pets.audit().rule == "official split and official folds"


def test_without_an_official_split_that_by_hash_is_looked_at(pets: Pets) -> None:
    for row in pets.rows.values():
        row["split"] = ""
    audit = pets.audit()
    assert audit.part_names == ("train", "test")
    assert "by hash" in audit.rule
    test = next(Path(clip.path).name for clip, part in audit.parts.items() if part == "test")
    train = next(Path(c.path).name for c, p in audit.parts.items() if p == "train" and c.label == test[:4])
    pets.add("x.wav", pets.sound_of(test), test[:4], "", group=pets.rows[train]["group"])
    assert [(kind, leak) for kind, leak, *_ in pets.found()] == [("exact_duplicate", True)]


def test_groups_that_cannot_be_split(pets: Pets) -> None:
    for row in pets.rows.values():
        row.update(split="", group=row["label"])
    audit = pets.audit()
    assert audit.findings == ()
    assert (audit.part_names, audit.rule) == (("all",), "no split: no class has two groups")


def test_rare_and_missing_classes(pets: Pets) -> None:
    for index in range(6, 12):
        pets.add(f"bird{index}.wav", sound("whistle", index), "bird", "train")
    pets.add("bell.wav", sound("bell", 0), "bell", "train")
    details = [(f.kind, f.leak, f.detail) for f in pets.audit().findings]
    assert details == [
        ("missing_class", False, "class 'bell' has no clip in test"),
        ("rare_class", False, "class 'bell' has 1 clips, the largest 12"),
    ]


def test_spoilt_recordings(pets: Pets) -> None:
    rng = np.random.default_rng(0)
    pets.add("silent.wav", (np.sign(rng.standard_normal(RATE // 2)) / 4_096).astype(np.float32), "bird", "train")
    clipped = np.clip(20 * sound("whistle", 20), -1, 1)
    pets.add("clipped.wav", clipped, "bird", "train")
    pets.add("long.wav", sound("whistle", 21, seconds=6.5), "bird", "train")
    pets.add("short.wav", sound("crackle", 22)[:800], "fire", "train")
    pets.add("rate.wav", sound("whistle", 23)[::2], "bird", "train", rate=8_000)
    touch(pets.root, "broken.wav", content=b"RIFF no sound")
    pets.rows["broken.wav"] = {"label": "bird", "split": "train", "group": "broken"}
    pets.rows["gone.wav"] = {"label": "bird", "split": "train", "group": "gone"}
    audit = pets.audit()
    assert pets.found() == [
        ("unreadable", False, "broken.wav", ""),
        ("unreadable", False, "", ""),
        ("silent", False, "silent.wav", ""),
        ("clipped", False, "clipped.wav", ""),
        ("odd_length", False, "long.wav", ""),
        ("odd_length", False, "short.wav", ""),
        ("other_rate", False, "rate.wav", ""),
    ]
    details = {f.kind: f.detail for f in audit.findings}
    assert details["unreadable"].endswith("gone.wav: the file does not exist")
    assert details["silent"] == "nothing is louder than -72 dB of full scale"
    share = np.mean(np.abs(clipped) >= 0.999)
    assert details["clipped"] == f"{share:.1%} of the samples are at full scale"
    assert details["other_rate"] == "1 clip has 8000 Hz where most have 16000 Hz"


def test_silent_clips_are_not_called_copies(pets: Pets) -> None:
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        pets.add(f"{name}.wav", 1e-4 * rng.standard_normal(9_000).astype(np.float32), "bird", "test")
    pets.add("c.wav", np.zeros(9_000, np.float32), "bird", "test")
    pets.add("d.wav", np.zeros(9_000, np.float32), "fire", "train")
    assert [kind for kind, *_ in pets.found()] == ["silent"] * 4


def test_parts_of_one_file(pets: Pets) -> None:
    pets.add("long.wav", np.concatenate([sound("whistle", 30), sound("whistle", 31)]), "bird", "train", end="0.6")
    pets.rows["long.wav#2"] = {**pets.rows["long.wav"], "start": "0.6", "end": "1.2"}
    assert pets.found() == []
    seconds = [m.seconds for clip, m in pets.audit().measures.items() if clip.path.endswith("long.wav")]
    assert seconds == pytest.approx([0.6, 0.6])
    pets.rows["long.wav#3"] = {**pets.rows["long.wav"], "start": "5", "end": "6"}
    pets.rows["bird0.wav"]["end"] = "0.000001"
    pets.rows["bird1.wav"]["start"] = "7"
    audit = pets.audit()
    assert [f.detail.split(".wav ")[1] for f in audit.findings] == [
        "has no samples from 0 s to 1e-06 s; mend start and end.",
        "has no samples from 7 s to its end; mend start and end.",
        "has no samples from 5 s to 6 s; mend start and end.",
    ]


@pytest.mark.parametrize("extension", ["wav", "flac", "ogg", "aiff", "mp3"])
def test_a_part_is_cut_from_the_whole(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"x.{extension}"
    soundfile.write(path, np.stack([sound("whistle", 1, 2.0), 0.5 * sound("hum", 1, 2.0)], axis=1), RATE)
    whole = soundfile.read(path, dtype="float64", always_2d=True)[0].mean(axis=1)
    for start, end in ((None, 0.5), (0.25, 1.25), (1.5, None), (1.75, 9.0)):
        waveform, rate = read_clip(Clip(str(path), "x", start=start, end=end))
        assert rate == RATE
        expected = whole[round((start or 0) * RATE) : None if end is None else round(end * RATE)]
        np.testing.assert_allclose(waveform, expected, atol=2e-4 if extension == "ogg" else 1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_a_part_within_the_last_page_of_an_ogg(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "x.ogg"
    noise = np.random.default_rng(seed).normal(scale=0.1, size=44_100 * 4 + 777 * seed)
    soundfile.write(path, noise, 44_100)
    whole, _ = soundfile.read(path, dtype="float32")
    for before_end in (0.02, 0.1, 0.3, 0.6):
        start = round(len(whole) / 44_100 - before_end, 3)
        part, _ = read_clip(Clip(str(path), "x", start=start))
        np.testing.assert_array_equal(part, whole[round(start * 44_100) :])


@pytest.mark.parametrize("subtype", ["GSM610", "G721_32"])
def test_a_part_of_a_file_in_which_there_is_no_seeking(tmp_path: Path, subtype: str) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, sound("whistle", 1, 2.0), 8_000, subtype=subtype)
    whole, _ = soundfile.read(path, dtype="float32")
    part, _ = read_clip(Clip(str(path), "x", start=0.5, end=1.0))
    np.testing.assert_array_equal(part, whole[4_000:8_000])


def test_parts_of_damaged_files(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, np.array([0.1, np.nan] * 8_000, np.float32), RATE, subtype="FLOAT")
    with pytest.raises(DecodeError, match=r"x\.wav holds NaN or infinite samples"):
        read_clip(Clip(str(path), "x", start=0.5))
    path.write_bytes(path.read_bytes()[:9_000])
    with pytest.raises(DecodeError, match=r"x\.wav is truncated"):
        read_clip(Clip(str(path), "x", end=0.1))


def test_a_set_that_cannot_be_read(tmp_path: Path) -> None:
    touch(tmp_path, "dog/a.wav", "cat/b.wav")
    with pytest.raises(TfaudioError, match=r"None of the 2 recordings can be read \(first: .*cat/b\.wav"):
        audit_dataset(read("folder", tmp_path), progress=False)


def test_measures_of_known_signals() -> None:
    time = np.arange(RATE) / RATE
    half = np.where(time < 0.5, 0.5 * np.sin(2 * np.pi * 400 * time), 0).astype(np.float32)
    found = measure(half, RATE)
    assert found.seconds == 1.0
    assert found.peak_db == pytest.approx(-6.02, abs=0.01)
    assert found.level_db == pytest.approx(-6.02 - 3.01 - 3.01, abs=0.01)
    assert (found.clipped, found.silent) == (0.0, 0.5)
    square = measure(np.sign(np.sin(2 * np.pi * 400 * time + 0.1)).astype(np.float32), RATE)
    assert (square.peak_db, square.clipped, square.silent) == (0.0, 1.0, 0.0)
    assert measure(np.zeros(3, np.float32), RATE).peak_db == -120.0
    assert measure(half, RATE).digest == found.digest
    assert len({found.digest, measure(half, 8_000).digest, measure(-half, RATE).digest}) == 3
    assert found.digest == hashlib.sha256(b"16000 " + half.tobytes()).hexdigest()


def test_what_is_written(pets: Pets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_report, "audit_png", lambda audit: b"drawn")  # which takes a second, and has its own test
    pets.add("x,1.flac", pets.sound_of("bird0.wav"), "fire", "test")
    audit = pets.audit()
    paths = write_audit(tmp_path / "out", audit)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(paths)
    assert paths["audit.png"].read_bytes() == b"drawn"
    rows = list(csv.DictReader(io.StringIO(paths["findings.csv"].read_text("utf-8"))))
    assert [row["kind"] for row in rows] == ["exact_duplicate", "label_conflict"]
    assert {key: rows[0][key] for key in ("leak", "path", "part", "other_path", "other_label", "other_part")} == {
        "leak": "yes", "path": "bird0.wav", "part": "train", "other_path": "x,1.flac", "other_label": "fire",
        "other_part": "test",
    }  # fmt: skip
    summary = json.loads(paths["summary.json"].read_text("utf-8"))
    assert summary["leaks"] == {"exact_duplicate": 1, "label_conflict": 1}
    assert set(summary["findings"]) == set(KINDS)
    assert summary["classes"]["fire"]["parts"] == {"train": 4, "test": 3}
    assert summary["seconds"]["total"] == pytest.approx(13 * 0.6, abs=0.01)
    assert summary["sample_rates"] == {"16000": 13}
    assert summary["fingerprint"] == audit.spec.fingerprint()


def test_the_page_of_plots_takes_any_names(pets: Pets) -> None:
    import matplotlib.image

    for index in range(60):
        pets.add(f"many{index}.wav", sound("bell", index), f"a$b$ {index} 時計 " + "x" * 40, "train")
    audit = pets.audit()
    picture = audit_png(audit)
    height, width, _ = matplotlib.image.imread(io.BytesIO(picture)).shape
    assert width > 1_000
    assert height > 1.5 * 715  # grows with the classes
    assert audit_text(audit, most=3).count("\n") < 12


def test_clips_of_several_classes_conflict_where_their_classes_differ(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    sounds = [rng.uniform(-0.5, 0.5, 4000) for _ in range(2)]
    for name, sound in zip("abcd", (*sounds, *sounds), strict=True):
        soundfile.write(tmp_path / f"{name}.wav", sound, 8000)
    lines = ("path,labels,fold", "a.wav,dog;rain,1", "b.wav,dog,1", "c.wav,rain;dog,1", "d.wav,dog;rain,1")
    (tmp_path / "clips.csv").write_text("\n".join(lines))
    audit = audit_dataset(read("manifest", tmp_path / "clips.csv"), progress=False)
    conflicts = [found.detail for found in audit.findings if found.kind == "label_conflict"]
    assert conflicts == ["one sound is called 'dog' and 'dog;rain'"]  # the order of labels is none
    summary = audit_summary(audit)
    assert [summary["classes"][label]["clips"] for label in ("dog", "rain")] == [4, 3]
    assert "dog;rain" in findings_csv(audit)
    assert not [found for found in audit.findings if found.kind == "missing_class"]
