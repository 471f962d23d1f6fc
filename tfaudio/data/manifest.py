"""Data sets that a CSV file lists, one row a clip."""

from __future__ import annotations

import csv
import math
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NoReturn

from tfaudio.data.spec import LABEL_SEPARATOR, Clip, DatasetSpec, composed, usable_spec
from tfaudio.errors import TfaudioError


def read_manifest(path: Path) -> DatasetSpec:
    """Reads a CSV file with one row a clip.

    Columns: path (absolute, or relative to the CSV file) and label, or labels where a clip may have several classes,
    with a semicolon between them: such a class name may hold anything else. Optional are fold (a whole number),
    split (train, validation or test), group, text, start and end (seconds); others are passed over. A
    fold, split or group must be given for all rows or for none. Without groups, the parts of one file are one.

    Args:
      path: the CSV file in UTF-8, or a folder with a file `manifest.csv`.

    Raises:
      TfaudioError: if a row or column is wrong; the message gives the line.
    """
    path = path / "manifest.csv" if path.is_dir() else path
    if not path.is_file():
        raise TfaudioError(f"{path} does not exist; name the CSV file of the data set in data.data_dir (--data_dir).")
    clips: list[Clip] = []
    filled: dict[str, bool] = {}
    seen: dict[tuple[str, float, float | None], int] = {}
    for line, row in csv_rows(path, required=("path", ("label", "labels"))):
        clip = _manifest_clip(path, line, row)
        key = (os.path.normpath(clip.path), clip.start or 0.0, clip.end)
        if key in seen:
            raise TfaudioError(f"{path}, line {line}, repeats the clip of line {seen[key]}; remove one of them.")
        seen[key] = line
        for column in ("fold", "split", "group"):
            if filled.setdefault(column, bool(row.get(column))) != bool(row.get(column)):
                raise TfaudioError(
                    f"{path}, line {line}: column '{column}' is filled in some rows and empty in others; fill all."
                )
        clips.append(clip)
    return usable_spec("manifest", clips, [], path)


def _manifest_clip(source: Path, line: int, row: dict[str, str]) -> Clip:
    def fail(problem: str) -> NoReturn:
        raise TfaudioError(f"{source}, line {line}: {problem}")

    def seconds(column: str) -> float | None:
        if not row.get(column):
            return None
        try:
            value = float(row[column])
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and value >= 0):
            fail(f"{column} must be a number of seconds, not '{row[column]}'.")
        return value

    if "label" in row and "labels" in row:
        raise TfaudioError(f"{source}, line 1, has the columns label and labels; keep one of them.")
    said = "labels" if "labels" in row else "label"
    for column in ("path", said):
        if not row[column]:
            fail(f"column '{column}' is empty; fill it in, or remove the row.")
    names = [row["label"]] if said == "label" else row["labels"].split(LABEL_SEPARATOR)
    label, *also = labels = [composed(name.strip()) for name in names]
    if not all(labels) or len(set(labels)) < len(labels):
        fail(
            f"labels '{row['labels']}' must be different names with a '{LABEL_SEPARATOR}' between them, which no name "
            "may hold, and none at the end: one of them is empty, or named twice."
        )
    fold = row.get("fold") or None
    if fold is not None and not re.fullmatch(r"-?\d+(\.0+)?", fold):
        fail(f"fold must be a whole number, not '{fold}'.")
    split = (row.get("split") or "").lower() or None
    if split not in (None, "train", "validation", "test"):
        fail(f"split must be train, validation or test, not '{split}'.")
    group = row.get("group") or _file_below(source.parent, row["path"])
    start, end = seconds("start"), seconds("end")
    if end is not None and end <= (start or 0.0):
        fail(f"end ({end:g} s) must come after start ({start or 0:g} s).")
    return Clip(
        path=os.path.normpath(source.parent / row["path"]),
        label=label,
        fold=None if fold is None else int(float(fold)),
        split=split,
        group=composed(group) if group else None,
        text=composed(row.get("text", "")) or None,
        start=start,
        end=end,
        also=tuple(also),
    )


def _file_below(folder: Path, written: str) -> str | None:
    """One name for one file, however a row writes its path.

    None for an absolute path elsewhere: it differs between machines, and so would a split by its hash; the spec finds a
    common root.
    """
    path, folder = Path(os.path.normpath(written)), Path(os.path.abspath(folder))
    if path.is_absolute():
        return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else None
    return path.as_posix()


def csv_rows(path: Path, required: Iterable[str | tuple[str, ...]]) -> Iterator[tuple[int, dict[str, str]]]:
    """Reads a CSV file in UTF-8 whose first line names the columns.

    Args:
      path: the file.
      required: columns that must be there; of a tuple, one of them.

    Yields:
      (line number, cells by column), all without the blanks around them. Cells that a row lacks at its end are empty,
      and blank lines are allowed at the end of the file only.

    Raises:
      TfaudioError: if a column is missing or named twice, or a row is wrong; the message gives the line.
    """
    blank: int | None = None
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = [cell.strip() for cell in next(reader, [])]
            wanted = [column if isinstance(column, tuple) else (column,) for column in required]
            if missing := [names[0] for names in wanted if not set(names) & set(header)]:
                raise TfaudioError(
                    f"{path}, line 1, lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}; "
                    f"it has: {', '.join(header) or 'nothing'} (columns are separated by commas)."
                )
            if twice := sorted({column for column in header if column and header.count(column) > 1}):
                raise TfaudioError(f"{path}, line 1, names the column {twice[0]} twice; rename one of them.")
            for row in reader:
                cells = [cell.strip() for cell in row]
                if not any(cells):
                    blank = blank or reader.line_num
                    continue
                if blank:
                    raise TfaudioError(f"{path}, line {blank}, is blank; remove it.")
                if len(cells) > len(header):
                    raise TfaudioError(
                        f"{path}, line {reader.line_num}, has {len(cells)} cells for {len(header)} columns; put a cell "
                        'that holds a comma in "double quotes".'
                    )
                yield reader.line_num, dict(zip(header, cells + [""] * (len(header) - len(cells)), strict=True))
    except UnicodeDecodeError as error:
        raise TfaudioError(f"{path} is not UTF-8 text; save it as 'CSV UTF-8'.") from error
    except csv.Error as error:
        raise TfaudioError(f"{path}, line {reader.line_num}, is not valid CSV: {error}.") from error
