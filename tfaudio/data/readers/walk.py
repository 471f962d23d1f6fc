"""Finding files: entries of folders in a fixed order, and the place at which a data set's marks lie."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from tfaudio.data.spec import AUDIO_EXTENSIONS, Skipped
from tfaudio.errors import TfaudioError
from tfaudio.files import printable


def visible(folder: Path, skipped: list[Skipped]) -> list[Path]:
    """Returns the entries of a folder, sorted, less those that systems hide or cannot name.

    Args:
      folder: to list.
      skipped: takes what cannot be read or named.
    """
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        skipped.append(Skipped(str(folder), f"the folder cannot be read ({error.strerror})"))
        return []
    kept = []
    for path in paths:
        if path.name.startswith(".") or path.name == "__MACOSX":
            continue
        try:
            path.name.encode()
        except UnicodeEncodeError:
            # Such a name could go into no label file, table or JSON.
            skipped.append(Skipped(printable(str(path)), "its name is not valid UTF-8; rename it"))
            continue
        kept.append(path)
    return kept


def files_below(folder: Path, skipped: list[Skipped], *, above: tuple[str, ...] = ()) -> Iterator[Path]:
    """Yields the files of a folder and of the folders in it, sorted; names that begin with a dot are passed over.

    Links are followed, but not round in a circle: a link to a folder that holds the place it is reached from would
    give files a second time, and those of the other classes among them.

    Args:
      folder: to search.
      skipped: takes what cannot be read or named.
      above: real paths of the folders that the walk has come through.
    """
    here = os.path.realpath(folder)
    if any(Path(place).is_relative_to(here) for place in above):
        return
    for path in visible(folder, skipped):
        if os.path.isdir(path):  # unlike Path.is_dir, it does not raise where a folder lets nobody in
            yield from files_below(path, skipped, above=(*above, here))
        else:
            yield path


def find_mark(root: Path, marks: Sequence[str]) -> Path:
    """Returns the first of the files or folders by which a data set is known.

    Args:
      root: the folder that the user named.
      marks: paths below it, the likeliest first.

    Raises:
      TfaudioError: if there is none; where one lies a level above or below, the message names that folder.
    """
    for mark in marks:
        if (root / mark).exists():
            return root / mark
    below = [path for path in visible(root, []) if os.path.isdir(path)] if root.is_dir() else []
    for place in (*below, root.parent):
        if any((place / mark).exists() for mark in marks):
            raise TfaudioError(
                f"{root} holds no {' or '.join(marks)}, but {place} does; set data.data_dir (--data_dir) to that."
            )
    raise TfaudioError(
        f"{root} holds no {' or '.join(marks)}; set data.data_dir (--data_dir) to the data set's folder."
    )


def as_stored(path: Path) -> Path:
    """Returns the file that a table names, or a copy of it in another format: many store FLAC for the WAV."""
    if path.exists():
        return path
    return next((p for e in sorted(AUDIO_EXTENSIONS) if (p := path.with_suffix(e)).exists()), path)
