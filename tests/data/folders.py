"""What the tests of the readers share: folders of files that look like recordings, and reading them."""

from __future__ import annotations

from pathlib import Path

from tfaudio.config import DataConfig
from tfaudio.data.catalog import read_dataset
from tfaudio.data.spec import DatasetSpec


def touch(root: Path, *names: str, content: bytes = b"not empty") -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def read(dataset: str, path: Path, **options: object) -> DatasetSpec:
    return read_dataset(DataConfig(dataset=dataset, data_dir=str(path), **options))  # type: ignore[arg-type]
