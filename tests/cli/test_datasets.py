"""`tfaudio datasets`: the list, fetching and auditing, as typed."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from tests.data.folders import touch
from tfaudio.cli.main import main
from tfaudio.data import audit_report, catalog, fetch
from tfaudio.data.catalog import DATASETS, Archive


def test_the_list_says_how_to_get_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["datasets"]) == 0
    text = capsys.readouterr().out
    for name in DATASETS:
        assert text.count(f"\n{name} ") + text.startswith(f"{name} ") == 1
        assert DATASETS[name].url in text
    assert "`tfaudio datasets fetch speech_commands_v2`" in text
    assert "zip -s 0 FSD50K.dev_audio.zip" in text
    assert main(["datasets", "--json"]) == 0
    entries = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert entries["ravdess"]["fetched"]
    assert not entries["gtzan"]["fetched"]
    assert entries["esc50"]["licence"] == "CC BY-NC 3.0"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["feed"], "Unexpected argument 'feed'; it can be fetch or audit"),
        (["fetch", "esc50"], "fetch needs --output_dir"),
        (["fetch", "--output_dir=x"], "fetch takes the name of one data set"),
        (["fetch", "esc50", "fsdd", "--output_dir=x"], "fetch takes the name of one data set"),
        (["fetch", "--dataset=esc50", "--output_dir=x"], "fetch takes the name of one data set"),
        (["audit"], "audit needs --output_dir"),
        (["audit", "--output_dir=x"], "audit needs --dataset"),
        (["audit", "esc50", "--output_dir=x"], "Unexpected argument 'esc50'"),
        (["--strict"], "--strict goes with audit"),
        (["--overwrite"], "--overwrite goes with audit"),
        (["--data_dir=x"], "--data_dir goes with audit"),
        (["--output_dir=x", "--data_dir=y", "--dataset=synthetic"], "--data_dir goes with audit"),
        (["--output_dir=x", "--json", "--dataset=synthetic"], "--json goes with audit"),
        (["--output_dir=x", "--dataset=esc50"], "--output_dir goes with fetch, audit, or --dataset=synthetic"),
    ],
)
def test_what_does_not_go_together(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    arguments: list[str], message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(["datasets", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_fetch_refuses_what_it_does_not_get(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["datasets", "fetch", "gtzan", f"--output_dir={tmp_path / 'gtzan'}"]) == 1
    assert "'gtzan' is not fetched by this command. Its first host is gone" in capsys.readouterr().err
    assert main(["datasets", "fetch", "gtsan", f"--output_dir={tmp_path / 'gtzan'}"]) == 1
    assert "Did you mean 'gtzan'?" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_fetch_reads_what_it_has_unpacked(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("Actor_01/03-01-01-01-01-01-01.wav", "Actor_02/03-01-05-01-01-01-02.wav")
    source = touch(tmp_path / "source", *names)
    with zipfile.ZipFile(tmp_path / "speech.zip", "w") as packed:
        for name in names:
            packed.write(source / name, name)
    digest = hashlib.sha256((tmp_path / "speech.zip").read_bytes()).hexdigest()
    archive = Archive("https://speech.example/speech.zip", f"sha256:{digest}")
    entry = replace(DATASETS["ravdess"], archives=(archive,))
    monkeypatch.setitem(catalog.DATASETS._items, "ravdess", entry)

    # In place of the connection, of which tests/data/test_fetch.py takes care.
    def copy(url: str, part: Path, *_: object) -> None:
        shutil.copy(tmp_path / "speech.zip", part)

    monkeypatch.setattr(fetch, "_download", copy)
    folder = tmp_path / "ravdess"
    assert main(["datasets", "fetch", "ravdess", f"--output_dir={folder}"]) == 0
    out = capsys.readouterr().out
    assert f"fetched ravdess into {folder}: 2 recordings, 2 classes" in out
    assert "licence: CC BY-NC-SA 4.0; https://zenodo.org/records/1188976" in out
    assert main(["datasets", "--dataset=ravdess", f"--data_dir={folder}"]) == 0
    assert "ravdess: 2 recordings, 2 classes, 2 groups" in capsys.readouterr().out


def test_audit_writes_tells_and_fails_on_request_only(
    small_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_report, "audit_png", lambda audit: b"drawn")  # as tests/data/test_audit.py has it
    shutil.copytree(small_data, tmp_path / "data")
    manifest = tmp_path / "data" / "manifest.csv"
    out = tmp_path / "out"
    arguments = ["datasets", "audit", "--dataset=manifest", f"--data_dir={manifest}", f"--output_dir={out}"]
    assert main([*arguments, "--strict"]) == 0
    assert "nothing was found" in capsys.readouterr().out
    assert sorted(path.name for path in out.iterdir()) == ["audit.png", "findings.csv", "summary.json"]
    assert main(arguments) == 1
    assert "exists already; pass --overwrite" in capsys.readouterr().err

    header, *rows = manifest.read_text("utf-8").splitlines()
    cells = dict(zip(header.split(","), rows[0].split(","), strict=True))
    shutil.copy(tmp_path / "data" / cells["path"], tmp_path / "data" / "again.wav")
    leaked = {**cells, "path": "again.wav", "fold": str(int(cells["fold"]) % 5 + 1)}
    manifest.write_text("\n".join([header, *rows, ",".join(leaked.values())]), "utf-8")
    assert main([*arguments, "--overwrite"]) == 0
    text = capsys.readouterr().out
    assert "1  exact duplicate, 1 of them across parts" in text
    assert "leak: again.wav has the same samples as" in text
    assert main([*arguments, "--overwrite", "--strict", "--json"]) == 1
    summary = json.loads(capsys.readouterr().out)
    assert summary["leaks"]["exact_duplicate"] == 1


def test_a_set_of_several_labels_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in "ab":
        (tmp_path / f"{name}.wav").write_bytes(b"not empty")
    (tmp_path / "manifest.csv").write_text("path,labels\na.wav,dog;rain\nb.wav,cat\n")
    flags = ["datasets", "--dataset=manifest", f"--data_dir={tmp_path}"]
    assert main(flags) == 0
    assert "several classes a recording: 1.50 on the average" in capsys.readouterr().out
    assert main([*flags, "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["multi_label"], summary["classes"]) == (True, {"cat": 1, "dog": 1, "rain": 1})
