"""Fetching from a server in this process that serves made archives, and cuts the connection where it is told to."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tfaudio.data import fetch
from tfaudio.data.catalog import DATASETS, Archive, CatalogEntry
from tfaudio.data.fetch import fetch_dataset, unpack
from tfaudio.data.readers.folder import read_folder
from tfaudio.errors import TfaudioError


@dataclass
class Server:
    """What is served, how, and what was asked for."""

    files: dict[str, bytes] = field(default_factory=dict)
    # Bytes to send of the answers to come, before the connection is cut.
    cuts: list[int] = field(default_factory=list)
    # Status codes to answer with, before anything is sent.
    troubles: list[int] = field(default_factory=list)
    knows_ranges: bool = True
    ranges: list[str | None] = field(default_factory=list)
    url: str = ""

    def entry(self, *names: str, checksum: str | None = None) -> CatalogEntry:
        archives = tuple(
            Archive(f"{self.url}/{name}", checksum or f"sha256:{hashlib.sha256(self.files[name]).hexdigest()}")
            for name in names
        )
        return CatalogEntry(
            name="pets", description="Pets", licence="CC0", task="pets", reader=read_folder, archives=archives,
            url="https://pets.example",
        )  # fmt: skip


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    served = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            served.ranges.append(wanted)
            content = served.files.get(self.path[1:])
            if served.troubles:
                self.send_error(served.troubles.pop(0))
                return
            if content is None:
                self.send_error(404)
                return
            start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and served.knows_ranges else 0
            if start and start >= len(content):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            end = start + served.cuts.pop(0) if served.cuts else len(content)
            self.wfile.write(content[start:end])

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    served.url = f"http://127.0.0.1:{http.server_port}"
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(fetch, "_WAIT_SECONDS", 0.0)
    monkeypatch.setattr(fetch, "_BLOCK_BYTES", 100)
    yield served
    http.shutdown()
    thread.join()
    http.server_close()


def zipped(**files: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as packed:
        for name, data in files.items():
            packed.writestr(name, data)
    return content.getvalue()


def tarred(*members: tuple[str, bytes, bytes], mode: str = "w:gz") -> bytes:
    """Of (name, content or target, type)."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode=mode) as tar:  # type: ignore[call-overload]
        for name, data, kind in members:
            info = tarfile.TarInfo(name)
            info.type = kind
            info.size = len(data) if kind == tarfile.REGTYPE else 0
            info.linkname = data.decode() if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
            tar.addfile(info, io.BytesIO(data))
    return content.getvalue()


SOUNDS = {"dog/a.wav": b"w" * 700, "cat/b.wav": bytes(range(256)) * 3, "README": b"pets"}
WITHIN = {f"pets-main/{name}": data for name, data in SOUNDS.items()}


def tree(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("name", ["pets.zip", "pets.tar.gz", "pets.tar"])
@pytest.mark.parametrize("files", [SOUNDS, WITHIN], ids=["flat", "in one folder"])
def test_what_is_fetched_is_what_was_packed(server: Server, tmp_path: Path, name: str, files: dict[str, bytes]) -> None:
    mode = "w:gz" if name.endswith("gz") else "w"
    members = [(member, data, tarfile.REGTYPE) for member, data in files.items()]
    server.files[name] = zipped(**files) if name.endswith("zip") else tarred(*members, mode=mode)
    folder = fetch_dataset(server.entry(name), tmp_path / "deep" / "pets")
    assert tree(folder) == SOUNDS
    assert server.ranges == [None]
    # Neither archives nor unfinished folders are left.
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["pets"]


def test_two_archives_fill_one_folder(server: Server, tmp_path: Path) -> None:
    server.files = {"sounds.zip": zipped(**{"sounds/a.wav": b"1"}), "tables.zip": zipped(**{"tables/t.csv": b"2"})}
    folder = fetch_dataset(server.entry("sounds.zip", "tables.zip"), tmp_path / "pets")
    assert tree(folder) == {"sounds/a.wav": b"1", "tables/t.csv": b"2"}


def test_the_only_folder_may_hold_one_of_its_name(server: Server, tmp_path: Path) -> None:
    server.files["pets.zip"] = zipped(**{"pets/pets/a.wav": b"1", "pets/b.wav": b"2", "__MACOSX/x": b"3"})
    files = tree(fetch_dataset(server.entry("pets.zip"), tmp_path / "pets"))
    assert files == {"pets/a.wav": b"1", "b.wav": b"2", "__MACOSX/x": b"3"}


def test_a_cut_connection_is_taken_up_again(server: Server, tmp_path: Path) -> None:
    server.files["pets.zip"] = zipped(**SOUNDS)
    server.cuts = [550]
    folder = fetch_dataset(server.entry("pets.zip"), tmp_path / "pets")
    assert tree(folder) == SOUNDS
    # Whole blocks of 100 bytes are kept of what came.
    assert server.ranges == [None, "bytes=500-"]


def test_a_server_without_ranges_sends_all_again(server: Server, tmp_path: Path) -> None:
    server.files["pets.zip"] = zipped(**SOUNDS)
    server.cuts, server.knows_ranges = [550], False
    assert tree(fetch_dataset(server.entry("pets.zip"), tmp_path / "pets")) == SOUNDS
    assert len(server.ranges) == 2


def test_the_next_call_goes_on_where_this_one_failed(server: Server, tmp_path: Path) -> None:
    server.files["pets.zip"] = zipped(**SOUNDS)
    server.cuts = [550, 0, 0, 0, 0, 0]
    with pytest.raises(TfaudioError, match=r"connection to 127\.0\.0\.1 fails .*call the command again to go on"):
        fetch_dataset(server.entry("pets.zip"), tmp_path / "pets")
    assert server.ranges == [None] + 5 * ["bytes=500-"]
    assert not (tmp_path / "pets").exists()
    server.ranges.clear()
    assert tree(fetch_dataset(server.entry("pets.zip"), tmp_path / "pets")) == SOUNDS
    assert server.ranges == ["bytes=500-"]


def test_a_server_that_is_busy_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.files["pets.zip"] = zipped(**SOUNDS)
    server.troubles = [503, 429]
    assert tree(fetch_dataset(server.entry("pets.zip"), tmp_path / "pets")) == SOUNDS
    server.troubles = [500] * 5
    with pytest.raises(TfaudioError, match=r"connection to 127\.0\.0\.1 fails \(it answers 500\)"):
        fetch_dataset(server.entry("pets.zip"), tmp_path / "others")


def test_an_archive_that_is_there_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    server.files["pets.zip"] = zipped(**SOUNDS)
    (tmp_path / ".pets.download").mkdir()
    (tmp_path / ".pets.download" / "pets.zip").write_bytes(server.files["pets.zip"])
    assert tree(fetch_dataset(server.entry("pets.zip"), tmp_path / "pets")) == SOUNDS
    assert server.ranges == []


def test_a_part_that_is_whole_is_only_checked(server: Server, tmp_path: Path) -> None:
    server.files["pets.zip"] = zipped(**SOUNDS)
    (tmp_path / ".pets.download").mkdir()
    (tmp_path / ".pets.download" / "pets.zip.part").write_bytes(server.files["pets.zip"])
    assert tree(fetch_dataset(server.entry("pets.zip"), tmp_path / "pets")) == SOUNDS
    assert server.ranges == [f"bytes={len(server.files['pets.zip'])}-"]


def test_another_file_than_the_known_one_is_refused_and_not_kept(server: Server, tmp_path: Path) -> None:
    server.files["pets.zip"] = zipped(**SOUNDS)
    entry = server.entry("pets.zip", checksum="md5:" + 32 * "0")
    with pytest.raises(TfaudioError, match=r"checksum is not md5:0+\. Try again, or .* from https://pets\.example"):
        fetch_dataset(entry, tmp_path / "pets")
    assert not (tmp_path / "pets").exists()
    assert list((tmp_path / ".pets.download").iterdir()) == []


def test_a_place_that_cannot_be_written_is_told_with_the_reason(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("'pets' is not writable")  # of one part, as pooch's is: it has no strerror

    monkeypatch.setattr("pooch.retrieve", refuse)
    server.files["pets.zip"] = zipped(**SOUNDS)
    with pytest.raises(TfaudioError, match="'pets' is not writable; make room"):
        fetch_dataset(server.entry("pets.zip"), tmp_path / "pets")


def test_what_the_server_does_not_have(server: Server, tmp_path: Path) -> None:
    server.files["pets.zip"] = b""
    entry = server.entry("pets.zip")
    server.files.clear()
    with pytest.raises(
        TfaudioError, match=r"404 .*Not Found for url: .*pets\.zip\); fetch data set 'pets' by hand from"
    ):
        fetch_dataset(entry, tmp_path / "pets")
    assert len(server.ranges) == 1


def test_a_server_that_is_not_there(server: Server, tmp_path: Path) -> None:
    archive = Archive("http://127.0.0.1:9/pets.zip", "md5:" + 32 * "0")
    entry = CatalogEntry(name="pets", description="", licence="", task="", reader=None, archives=(archive,))
    with pytest.raises(TfaudioError, match=r"connection to 127\.0\.0\.1 fails \(ConnectionError\), with 0\.0 MB"):
        fetch_dataset(entry, tmp_path / "pets")


def test_what_stands_is_never_replaced(server: Server, tmp_path: Path) -> None:
    server.files["pets.zip"] = zipped(**SOUNDS)
    mine = tmp_path / "pets" / "mine.wav"
    mine.parent.mkdir()
    mine.write_bytes(b"dear")
    with pytest.raises(TfaudioError, match="exists already; remove it, or name another folder"):
        fetch_dataset(server.entry("pets.zip"), tmp_path / "pets")
    assert mine.read_bytes() == b"dear"
    assert server.ranges == []


@pytest.mark.parametrize("name", ["../evil.wav", "/tmp/evil.wav", "a/../../evil.wav", "..\\evil.wav", "C:evil.wav"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_member_that_leaves_the_folder_is_refused(tmp_path: Path, kind: str, name: str) -> None:
    archive = tmp_path / f"evil.{kind}"
    good = ("good.wav", b"1", tarfile.REGTYPE)
    archive.write_bytes(
        zipped(**{"good.wav": b"1", name: b"2"}) if kind == "zip" else tarred(good, (name, b"2", tarfile.REGTYPE))
    )
    (tmp_path / "in").mkdir()
    with pytest.raises(TfaudioError, match="would lie outside the folder"):
        unpack(archive, tmp_path / "in")
    assert sorted(path.name for path in tmp_path.rglob("*.wav")) == ["good.wav"]


@pytest.mark.parametrize(
    ("member", "follower"),
    [
        (("link", b"/tmp", tarfile.SYMTYPE), ("link/evil.wav", b"2", tarfile.REGTYPE)),
        (("link", b"../outside", tarfile.LNKTYPE), ("x.wav", b"2", tarfile.REGTYPE)),
        (("pipe", b"", tarfile.FIFOTYPE), ("x.wav", b"2", tarfile.REGTYPE)),
    ],
)
def test_links_and_devices_are_refused_and_nothing_appears(
    server: Server, tmp_path: Path, member: tuple[str, bytes, bytes], follower: tuple[str, bytes, bytes]
) -> None:
    server.files["pets.tar.gz"] = tarred(("a.wav", b"1", tarfile.REGTYPE), member, follower)
    with pytest.raises(TfaudioError, match=rf"holds '{member[0]}', which is no file and no folder"):
        fetch_dataset(server.entry("pets.tar.gz"), tmp_path / "pets")
    assert [path.name for path in tmp_path.iterdir()] == [".pets.download"]


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"no archive", lambda data: b""])
def test_damaged_archives(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    for number, content in enumerate((zipped(**SOUNDS), tarred(("a.wav", bytes(5_000), tarfile.REGTYPE)))):
        archive = tmp_path / f"{number}.tar.gz"
        archive.write_bytes(damage(content))
        with pytest.raises(TfaudioError, match="is damaged"):
            unpack(archive, tmp_path)


def test_methods_of_packing_that_python_does_not_know(tmp_path: Path) -> None:
    archive = tmp_path / "pets.zip"
    content = bytearray(zipped(**{"a.wav": b"1"}))
    for mark, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):  # of the file, and of the list at the end
        place = content.index(mark) + offset
        content[place : place + 2] = (97).to_bytes(2, "little")
    archive.write_bytes(content)
    with pytest.raises(TfaudioError, match=r"pets\.zip cannot be unpacked here .*use another program"):
        unpack(archive, tmp_path)


def test_sets_to_fetch_by_hand_say_how(tmp_path: Path) -> None:
    for name in DATASETS:
        entry = DATASETS[name]
        if not entry.archives:
            with pytest.raises(TfaudioError, match=f"'{name}' is not fetched by this command") as error:
                fetch_dataset(entry, tmp_path / name)
            assert entry.url in str(error.value)
    assert list(tmp_path.iterdir()) == []
