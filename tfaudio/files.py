"""Writing files whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tfaudio.errors import TfaudioError

_DISK_FULL = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))  # Windows knows no quota


def write_atomically(path: str | os.PathLike[str], content: bytes | str) -> Path:
    """Writes a file under its final name only when all of it is on disk.

    Raises:
      TfaudioError: if the folder cannot be written to, the disk is full or a folder has that name; what stood there
        before still does.
    """
    path = Path(path)
    data = content.encode("utf-8") if isinstance(content, str) else content
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise TfaudioError(f"Cannot write {path}: {error.strerror}; choose another folder.") from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # or a power cut could leave the name and lose the content
        os.chmod(temporary, 0o644)  # mkstemp makes 0600, which a server under another user cannot read
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError):
            raise TfaudioError(f"Cannot write {path}: {error.strerror}; make room or choose another place.") from error
        raise
    return path


def printable(name: str) -> str:
    r"""Writes what is no UTF-8 in a name of the file system as `\udcNN`, so that it can be shown and stored."""
    return name.encode("utf-8", "backslashreplace").decode()


def write_json(path: str | os.PathLike[str], value: Any) -> Path:
    """Writes JSON that a person can read too; NaN is refused, since it is not JSON."""
    return write_atomically(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


@contextlib.contextmanager
def folder_written_whole(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives an empty folder to fill, and moves it to `path` only if the block ends without error.

    Nothing is ever replaced by it: who names the wrong folder would lose what only they have.

    Raises:
      TfaudioError: if something stands at `path`, or it cannot be written, or the disk is full.
    """
    path = Path(path)
    check_folder_is_free(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    except OSError as error:
        raise TfaudioError(f"Cannot write {path}: {error.strerror}; choose another folder.") from error
    moving = False
    try:
        yield temporary
        moving = True
        os.chmod(temporary, 0o755)
        if path.is_dir():
            path.rmdir()
        os.replace(temporary, path)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError) and (moving or error.errno in _DISK_FULL):
            raise TfaudioError(f"Cannot write {path}: {error.strerror}; make room or choose another place.") from error
        raise


def absolute(path: str | os.PathLike[str]) -> Path:
    """Makes a path absolute, with ~ as a shell reads it, which leaves --flag=~/x as it is.

    Raises:
      TfaudioError: if it begins with the home of somebody who has none.
    """
    try:
        return Path(os.path.abspath(Path(path).expanduser()))
    except RuntimeError as error:
        raise TfaudioError(f"{path} begins with the home of a user who is not known here; write ./{path}.") from error


def refuse_existing(
    path: str | os.PathLike[str],
    *,
    overwrite: bool,
    way_out: str = "pass --overwrite to replace it, or name another place",
) -> None:
    """Raises TfaudioError, with a way out, if a file, or a folder with something in it, stands in the way."""
    path = Path(path)
    try:
        if overwrite or not path.exists():
            return
        if path.is_dir() and not any(path.iterdir()):
            return
    except OSError as error:
        raise TfaudioError(f"Cannot write {path}: {error.strerror}; choose another place.") from error
    raise TfaudioError(f"{path} exists already; {way_out}.")


def check_folder_is_free(path: str | os.PathLike[str]) -> None:
    """Raises TfaudioError if a file, or a folder with something in it, stands where a whole folder is to go."""
    refuse_existing(path, overwrite=False, way_out="remove it, or name another folder")


def refuse_existing_folder(path: str | os.PathLike[str], *, overwrite: bool) -> None:
    """Raises TfaudioError if a file stands where a folder's files are to go, or, without overwrite, anything does."""
    if Path(path).is_file():
        raise TfaudioError(f"{path} is a file; name a folder.")
    refuse_existing(path, overwrite=overwrite)


def check_can_write(path: str | os.PathLike[str], *, overwrite: bool) -> None:
    """Finds out now, rather than after hours of work, whether a file can be written; makes nothing.

    Raises:
      TfaudioError: if the path is a folder or no regular file, stands and `overwrite` is false, or its folder cannot
        be made or written to.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise TfaudioError(f"{path} is a folder; name a file.")
        if path.exists() and not path.is_file():
            raise TfaudioError(f"{path} is no regular file, which alone can be written whole or not at all; name one.")
        refuse_existing(path, overwrite=overwrite)
    except OSError as error:
        raise TfaudioError(f"Cannot write {path}: {error.strerror}; choose another folder.") from error
    _check_can_write_into(path.absolute().parent, path)


def check_can_write_into(folder: str | os.PathLike[str]) -> None:
    """Finds out now, rather than after hours of work, whether files can be written into a folder; makes nothing.

    Raises:
      TfaudioError: if the folder cannot be made or written to, or its name is not valid UTF-8.
    """
    _check_can_write_into(Path(folder).absolute(), Path(folder))


def _check_can_write_into(folder: Path, path: Path) -> None:
    """Raises TfaudioError, which names `path`, if a folder cannot be made or written to."""
    try:
        while not folder.exists():
            folder = folder.parent
        if not folder.is_dir():
            raise TfaudioError(f"Cannot write {path}: {folder} is not a folder; choose another one.")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise TfaudioError(f"Cannot write {path}: no permission to write to {folder}; choose another folder.")
    except OSError as error:
        raise TfaudioError(f"Cannot write {path}: {error.strerror}; choose another folder.") from error


def make_writable_folder(path: str | os.PathLike[str]) -> Path:
    """Makes a folder, and finds out now rather than after hours of work whether it can be written.

    Raises:
      TfaudioError: if the folder cannot be made or written to, or its name is not valid UTF-8.
    """
    path = Path(path)
    if printable(str(path)) != str(path):  # which TensorFlow cannot write to
        raise TfaudioError(f"The name of the folder {printable(str(path))} is not valid UTF-8; choose another one.")
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path, prefix=".write_test"):
            pass
    except OSError as error:
        raise TfaudioError(f"Cannot write to the folder {path}: {error.strerror}; choose another one.") from error
    return path
