"""The recordings that a command is given: files, and folders to search."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tfaudio.errors import TfaudioError

if TYPE_CHECKING:
    from tfaudio.data.spec import Skipped


def expand_recordings(arguments: list[str], skipped: list[Skipped]) -> Iterator[str]:
    """Yields the recordings of files and folders, and `-` as it is.

    Args:
      arguments: names of files and folders.
      skipped: takes what a folder holds and cannot be named, opened or decoded.

    Raises:
      TfaudioError: if there is no such file or folder, or a folder holds no recordings.
    """
    from tfaudio.data.readers.walk import files_below
    from tfaudio.data.spec import NOT_AUDIO, Skipped, why_not_audio

    for argument in arguments:
        path = Path(argument)
        if argument == "-":
            yield argument
        elif path.is_dir():
            recordings = []
            for p in files_below(path, skipped):
                reason = why_not_audio(p)
                if reason is None:
                    recordings.append(p)
                elif reason != NOT_AUDIO:  # a recording all the same, that somebody would miss
                    skipped.append(Skipped(str(p), reason))
            # Reading a pipe would wait for ever; a link to a file that is gone is a recording that somebody misses.
            found = [str(p) for p in recordings if os.path.isfile(p) or not os.path.exists(p)]
            if not found:
                example = f" ({skipped[-1].path}: {skipped[-1].reason})" if skipped else ""
                raise TfaudioError(f"The folder {path} holds no recordings{example}; name files, or another folder.")
            yield from found
        elif path.exists() or path.is_symlink():
            yield argument
        else:
            raise TfaudioError(f"There is no file or folder {path}; check the name.")
