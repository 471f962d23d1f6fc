"""`tfaudio features`: what it writes, draws and compares, and what it refuses."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tfaudio.cli.main import main
from tfaudio.config import FrontEndConfig, RunConfig

RATE = 8_000
SMALL = [
    "--set=front_end.sample_rate=8000",
    "--set=front_end.frame_length=512",
    "--set=front_end.fft_length=512",
    "--set=front_end.frame_step=256",
    "--set=front_end.num_mel_bins=24",
    "--set=front_end.contrast_bands=4",
    "--set=front_end.cqt.num_bins=36",
]


def recording(path: Path, *, seconds: float = 0.5, scale: float = 0.1, rate: int = RATE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).normal(size=round(seconds * rate))
    soundfile.write(path, scale * noise, rate, subtype="FLOAT")
    return path


def test_a_name_that_is_no_utf8_is_drawn(tmp_path: Path) -> None:
    file = tmp_path / "caf\udce9.wav"
    recording(tmp_path / "a.wav").rename(file)
    assert main(["features", str(file), f"--output={tmp_path / 'a.png'}", *SMALL]) == 0
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"


def test_features_of_a_recording(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tfaudio.features.front_end import compute_features

    file, output = recording(tmp_path / "a.wav"), tmp_path / "a.npz"
    feature = "--set=front_end.feature=mfcc+rms"
    assert main(["features", str(file), f"--output={output}", feature, *SMALL]) == 0
    assert f"{output}: 16 frames of 21 bins" in capsys.readouterr().out
    with np.load(output) as stored:
        config = FrontEndConfig.from_dict(json.loads(str(stored["settings"])))
        assert config.features == ("mfcc", "rms")
        assert stored["names"].tolist()[-2:] == ["mfcc_19", "rms"]
        np.testing.assert_allclose(stored["times"], np.arange(16) * 256 / RATE)
        waveform, _ = soundfile.read(file, dtype="float32")
        np.testing.assert_array_equal(stored["features"], compute_features(waveform, config))


def test_a_folder_of_recordings_as_tables_and_pictures(tmp_path: Path) -> None:
    recording(tmp_path / "in" / "a.wav")
    recording(tmp_path / "in" / "deeper" / "b.wav", rate=16_000)
    arguments = ["features", str(tmp_path / "in"), f"--output={tmp_path / 'out'}", "--format=csv", "--picture"]
    stack = "--set=front_end.feature=chroma+spectral_centroid"
    assert main([*arguments, stack, "--set=front_end.deltas=1", *SMALL]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.csv", "a.png", "b.csv", "b.png"]
    assert (tmp_path / "out" / "b.png").read_bytes().startswith(b"\x89PNG")
    with (tmp_path / "out" / "b.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 16
    assert list(rows[0])[:2] == ["seconds", "chroma_0"]
    assert "slope_of_spectral_centroid" in rows[0]
    assert float(rows[3]["seconds"]) == pytest.approx(3 * 256 / RATE)
    assert 500 < float(rows[8]["spectral_centroid"]) < 3_500


def test_the_settings_of_a_run_are_taken(tmp_path: Path) -> None:
    settings = RunConfig().override({"front_end.sample_rate": RATE, "front_end.num_mel_bins": 12})
    (tmp_path / "config.json").write_text(json.dumps(settings.to_dict()))
    output = tmp_path / "a.npz"
    file = recording(tmp_path / "a.wav")
    assert main(["features", str(file), f"--output={output}", f"--config={tmp_path / 'config.json'}"]) == 0
    with np.load(output) as stored:
        assert stored["features"].shape[1] == 12


@pytest.mark.parametrize("setting", ["standardize=false", "feature=waveform", "feature=mfcc+chroma"])
def test_no_augmentation_stands_in_the_way_of_features(setting: str, tmp_path: Path) -> None:
    """Which a run by one recipe has for its own features, and the defaults for mel."""
    run = RunConfig().override({"augment.frequency_shift": 2, "augment.filter_augment.probability": 0.5})
    (tmp_path / "config.json").write_text(json.dumps(run.to_dict()))
    file, command = recording(tmp_path / "a.wav"), "--set=front_end."
    for number, extra in enumerate(([], [f"--config={tmp_path / 'config.json'}"])):
        output = tmp_path / f"{number}.npz"
        assert main(["features", str(file), f"--output={output}", f"{command}{setting}", *extra]) == 0
        assert output.is_file()


def test_settings_that_librosa_knows_nothing_of_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    chosen = ["deltas=1", "compression=pcen"]
    assert main(["features", "--compare=librosa", *(f"--set=front_end.{text}" for text in chosen)]) == 0
    assert "not equal" not in capsys.readouterr().out


@pytest.mark.parametrize("extra", [[], ["real.wav"]])
def test_the_table_says_that_all_is_equal(extra: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(recording(tmp_path / name)) for name in extra]
    table = tmp_path / "table.json"
    assert main(["features", "--compare=librosa", *files, f"--json={table}", *SMALL]) == 0
    printed = capsys.readouterr().out
    assert "against librosa 0.11" in printed
    assert "all 25 equal" in printed
    record = json.loads(table.read_text())
    assert record["equal"] is True
    assert len(record["rows"]) == 25
    assert {"tone", "chirp", "noise", "clicks", "silence", *extra} <= set(record["signals"])


def test_one_feature_that_is_not_equal_is_told_by_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tfaudio.evaluation import front_end

    true = front_end.compute_features
    monkeypatch.setattr(front_end, "compute_features", lambda w, c: true(w, c) * (1.01 if c.feature == "rms" else 1.0))
    assert main(["features", "--compare=librosa", *SMALL]) == 1
    assert "not equal: rms\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "Name at least one file or folder"),
        (["{file}"], 2, "--output is needed"),
        (["{file}", "{file}2", "--output={out}/x.npz"], 1, "There is no file or folder"),
        (["{file}", "{other}", "--output={out}/x.npz"], 2, "is one file, but there are 2 recordings"),
        (["{file}", "{twin}", "--output={out}"], 1, "would both be written to"),
        (["{file}", "--output={file}/sub"], 1, "is not a folder"),
        (["{file}", "--output={out}", "--json=x"], 2, "--json goes with --compare"),
        (["{file}", "--output={out}", "--set=training.epochs=3"], 2, "no effect here"),
        (["{file}", "--output={out}", "--set=front_end.feature=mfc"], 1, "Did you mean 'mfcc'"),
        (["{file}", "--output={out}", "--set=front_end.feature=leaf"], 1, "is learnt with a classifier"),
        (["{file}", "--output={out}", "--set=front_end.feature=cqt", "--set=front_end.cqt.num_bins=99"], 1, "beyond"),
        (["--compare=librosa", "--output={out}"], 2, "--compare writes no features"),
        (["--compare=librosa", "--format=csv"], 2, "--compare writes no features"),
        (["{file}", "--output={out}/x.npz", "--format=csv"], 2, "contradict each other"),
        (["{integers}", "--output={out}"], 1, "16-bit integers"),
    ],
)
def test_what_does_not_fit_is_one_sentence(
    arguments: list[str], code: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {
        "file": recording(tmp_path / "a.wav"),
        "other": recording(tmp_path / "b.wav"),
        "twin": recording(tmp_path / "twin" / "a.wav"),
        "integers": recording(tmp_path / "integers.wav", scale=3_000.0),
        "out": tmp_path / "out",
    }
    assert main(["features", *(argument.format(**names) for argument in arguments)]) == code
    captured = capsys.readouterr()
    assert message in captured.err
    assert not captured.out
    assert not (tmp_path / "out").exists()


def test_what_stands_is_replaced_only_on_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, output = recording(tmp_path / "a.wav"), tmp_path / "a.csv"
    output.write_text("mine")
    assert main(["features", str(file), f"--output={output}", *SMALL]) == 1
    assert "exists already; pass --overwrite" in capsys.readouterr().err
    assert output.read_text() == "mine"
    assert main(["features", str(file), f"--output={output}", "--overwrite", *SMALL]) == 0
    assert output.read_text().startswith("seconds,mel_0,")


def test_one_recording_that_cannot_be_used_does_not_stop_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recording(tmp_path / "in" / "good.wav")
    (tmp_path / "in" / "bad.wav").write_bytes(b"no audio")
    assert main(["features", str(tmp_path / "in"), f"--output={tmp_path / 'out'}", *SMALL]) == 1
    error = capsys.readouterr().err
    assert "bad.wav" in error
    assert "1 of 2 recordings could not be used" in error
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good.npz"]
