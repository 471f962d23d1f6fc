"""Fetching a published data set: archives downloaded, checked against their checksum, and unpacked whole or not at all.

What a broken connection leaves is kept beside the data set's folder, and the next call goes on from there.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tarfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any
from urllib.parse import urlsplit

from tqdm import tqdm

from tfaudio.data.catalog import Archive, CatalogEntry
from tfaudio.errors import TfaudioError
from tfaudio.files import absolute, check_folder_is_free, folder_written_whole

_TRIES = 5  # in a row without a single new byte
_WAIT_SECONDS = 2.0  # before the next try, times the tries so far
_TIMEOUT_SECONDS = 30.0
# What a cut connection had delivered of a block is lost with it, hence small ones.
_BLOCK_BYTES = 2**16


def fetch_dataset(entry: CatalogEntry, output_dir: str | os.PathLike[str], *, progress: bool = True) -> Path:
    """Downloads a data set's archives and unpacks them into a folder.

    A single folder that holds everything in the archives is left out: what lies in it comes to lie in `output_dir`.

    Args:
      entry: of the catalogue.
      output_dir: to be made; it appears only once all is unpacked.
      progress: show bars on a terminal.

    Returns:
      The folder.

    Raises:
      TfaudioError: if the set is to be fetched by hand, something stands at `output_dir`, the connection fails for
        good, a checksum differs, or an archive is damaged or would write outside the folder.
    """
    if not entry.archives:
        raise TfaudioError(f"Data set '{entry.name}' is not fetched by this command. {_by_hand(entry)}")
    output_dir = absolute(output_dir)
    check_folder_is_free(output_dir)
    downloads = output_dir.parent / f".{output_dir.name}.download"
    archives = [_download_checked(archive, downloads, entry, progress) for archive in entry.archives]
    with folder_written_whole(output_dir) as folder:
        for path in archives:
            unpack(path, folder, progress=progress)
        _lift_only_folder(folder)
    shutil.rmtree(downloads, ignore_errors=True)
    return output_dir


def unpack(archive: Path, folder: Path, *, progress: bool = True) -> None:
    """Unpacks a .zip or .tar archive, compressed or not; links and devices are refused.

    Args:
      archive: to read.
      folder: to fill; it must exist.
      progress: show a bar on a terminal.

    Raises:
      TfaudioError: if a member would lie outside the folder or is neither file nor folder, or the archive is damaged.
    """
    bar = tqdm(desc=f"unpacking {archive.name}", unit="file", disable=None if progress else True, leave=False)
    with bar:
        try:
            for name, content in _members(archive):
                target = folder / PurePosixPath(name)
                if content is None:
                    target.mkdir(parents=True, exist_ok=True)
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("wb") as file:
                    shutil.copyfileobj(content, file)
                bar.update()
        except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error) as error:
            raise TfaudioError(f"{archive} is damaged ({error}); fetch it again.") from error
        except (NotImplementedError, RuntimeError) as error:  # how zipfile tells of methods and passwords
            raise TfaudioError(f"{archive} cannot be unpacked here ({error}); use another program on it.") from error


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes] | None]]:
    """Yields the name and content (None for a folder) of each member whose name stays inside."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            for info in packed.infolist():
                _check_name(archive, info.filename)
                if info.is_dir():
                    yield info.filename, None
                else:
                    with packed.open(info) as content:
                        yield info.filename, content
        return
    with tarfile.open(archive) as tar:
        for member in tar:
            _check_name(archive, member.name)
            if not (member.isreg() or member.isdir()):
                raise TfaudioError(
                    f"{archive} holds '{member.name}', which is no file and no folder (a link or a device); nothing "
                    "of it was kept."
                )
            yield member.name, tar.extractfile(member)


def _check_name(archive: Path, name: str) -> None:
    # Windows takes both slashes, and "C:x" as a place on another drive.
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or (path.parts and ":" in path.parts[0]):
        raise TfaudioError(f"{archive} holds '{name}', which would lie outside the folder; nothing of it was kept.")


def _lift_only_folder(folder: Path) -> None:
    entries = [path for path in folder.iterdir() if not path.name.startswith(".") and path.name != "__MACOSX"]
    if len(entries) != 1 or not entries[0].is_dir():
        return
    # Aside first: what lies in it may have its name.
    inner = entries[0].rename(folder / ".lifted")
    for path in inner.iterdir():
        path.rename(folder / path.name)
    inner.rmdir()


def _by_hand(entry: CatalogEntry) -> str:
    how = entry.by_hand or "It needs no fetching."
    return f"{how} Home page: {entry.url}" if entry.url else how


def _download_checked(archive: Archive, folder: Path, entry: CatalogEntry, progress: bool) -> Path:
    """Returns the archive's place on disk, once its checksum is right."""
    import pooch

    pooch.get_logger().setLevel("WARNING")  # the bar says what is going on

    def download(url: str, output_file: Any, _: Any) -> None:
        part = folder / f"{archive.file_name}.part"
        _download(url, part, entry, progress)
        os.replace(part, output_file)

    try:
        found = pooch.retrieve(archive.url, archive.checksum, fname=archive.file_name, path=folder, downloader=download)
    except TfaudioError:
        raise
    except ValueError as error:  # pooch has deleted the file
        raise TfaudioError(
            f"{archive.url} is not the file that the catalogue knows: its checksum is not {archive.checksum}. Try "
            f"again, or fetch the data set by hand from {entry.url}."
        ) from error
    except OSError as error:
        reason = error.strerror or error  # pooch's own has words alone
        raise TfaudioError(f"Cannot write to {folder}: {reason}; make room or choose another place.") from error
    return Path(found)


def _download(url: str, part: Path, entry: CatalogEntry, progress: bool) -> None:
    """Downloads into `part`, going on after what it holds, until the server has sent all."""
    import requests

    failures = 0
    bar = tqdm(desc=f"fetching {part.stem}", unit="B", unit_scale=True, disable=None if progress else True, leave=False)
    with bar:
        while True:
            size = part.stat().st_size if part.exists() else 0
            broken = ""
            try:
                if _receive(url, part, bar):
                    return
                broken = "it ended early"
            except requests.HTTPError as error:
                status = 0 if error.response is None else error.response.status_code
                if status < 500 and status != requests.codes.too_many_requests:
                    raise TfaudioError(
                        f"The server refuses ({error}); fetch data set '{entry.name}' by hand from {entry.url}."
                    ) from error
                broken = f"it answers {status}"
            except requests.RequestException as error:
                broken = type(error).__name__
            now = part.stat().st_size if part.exists() else 0
            failures = 0 if now > size else failures + 1
            if failures == _TRIES:
                raise TfaudioError(
                    f"The connection to {urlsplit(url).hostname} fails ({broken}), with {now / 1e6:.1f} MB of "
                    f"{url} received; call the command again to go on from there."
                )
            time.sleep(_WAIT_SECONDS * failures)


def _receive(url: str, part: Path, bar: tqdm) -> bool:
    """Takes what one connection gives; returns whether that is all."""
    import requests

    size = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={size}-"} if size else {})
    with contextlib.closing(requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT_SECONDS)) as response:
        if size and response.status_code == requests.codes.requested_range_not_satisfiable:
            return True  # nothing comes after what is there; the checksum will tell
        response.raise_for_status()
        if response.headers.get("Content-Range", "").partition("-")[0] != f"bytes {size}":
            size = 0  # the server sends all from the beginning
        length = response.headers.get("Content-Length")
        bar.total = None if length is None else size + int(length)
        bar.n = size
        bar.refresh()
        with part.open("ab" if size else "wb") as file:
            for block in response.iter_content(_BLOCK_BYTES):
                file.write(block)
                bar.update(len(block))
    return length is None or part.stat().st_size >= size + int(length)
