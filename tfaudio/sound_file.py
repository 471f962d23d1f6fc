"""Recordings by libsndfile alone: opening, decoding in blocks, and what is wrong with those that cannot be used.

Training and devices read through this one module, so that both take the same files and say the same of the others.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import soundfile

from tfaudio.config import LARGEST_SAMPLE, MAX_SAMPLE_RATE, MIN_SAMPLE_RATE
from tfaudio.errors import TfaudioError

_BLOCK_FRAMES = 65_536
# A recording up to this long is read in one piece: soundfile seeks after each read, which in a FLAC decodes anew.
_WHOLE_FRAMES = 2**22
_ALIGNMENT = 64  # bytes; TensorFlow takes over an array that begins at a multiple, and copies any other
# libsndfile 1.2.2 that seeks into the last page of an Ogg gives samples of another place. A page holds at most 255
# packets, an Opus packet at most 5,760 samples, a Vorbis packet fewer.
_LARGEST_OGG_PAGE = 255 * 5_760
_UNCOMPRESSED = (1, 3, 0xFFFE)  # WAV's codes of integers, floats and either; a block of these is a sample
UNKNOWN_SIZE = 0xFFFFFFFF  # what programs that write into a pipe put where the length belongs
SOX_UNKNOWN_SIZE = 0x7FFFF000  # likewise of SoX, less what is no whole frame
_UNKNOWN_FRAMES = 2**62  # libsndfile's answer for a FLAC without a length is above


class DecodeError(TfaudioError):
    """A recording that cannot be used; the message names the file and the reason."""


def read_bytes(contents: bytes, name: str) -> tuple[npt.NDArray[np.float32], int]:
    """Decodes a file's bytes.

    Args:
      contents: a whole file, of any format that libsndfile reads.
      name: what messages call it.

    Returns:
      float32 [n], the mean of the channels; sample rate, Hz.

    Raises:
      DecodeError: if it is empty, not audio, truncated, without samples, or holds NaN, infinity or samples beyond
        `LARGEST_SAMPLE`.
    """
    with open_recording(io.BytesIO(contents), name) as sound:
        blocks = list(mono_blocks(sound, name, block_frames=_WHOLE_FRAMES))
        if len(blocks) == 1:
            return blocks[0], sound.samplerate
        return np.concatenate(blocks, out=_aligned(sum(map(len, blocks)))), sound.samplerate


def _aligned(num_samples: int) -> npt.NDArray[np.float32]:
    """float32 [num_samples], not yet filled."""
    block = np.empty(4 * num_samples + _ALIGNMENT, np.uint8)
    begin = -block.ctypes.data % _ALIGNMENT
    return block[begin : begin + 4 * num_samples].view(np.float32)


def diagnose(path: str | os.PathLike[str]) -> str | None:
    """Says why a recording cannot be used, in one sentence that names it; None if it can.

    The whole recording is decoded: a short FLAC does not show otherwise.
    """
    try:
        # Read before it is decoded: libsndfile would call a disk that fails on the way a damaged file.
        read_bytes(Path(path).read_bytes(), os.fspath(path))
    except DecodeError as error:
        return str(error)
    except OSError as error:
        return f"{os.fspath(path)} {_problem_of_access(path, error)}."
    return None


@contextlib.contextmanager
def open_recording(file: str | os.PathLike[str] | IO[bytes], name: str) -> Iterator[soundfile.SoundFile]:
    """Opens anything that libsndfile reads, and says what is wrong with what it does not.

    Args:
      file: a path, or a binary file object; one that cannot be rewound, such as a pipe, is first copied
        to a temporary file.
      name: what messages call it.

    Raises:
      DecodeError: if it is missing, unreadable, empty, not audio, without samples, or shorter than its
        header says (as far as that shows before decoding).
    """
    with contextlib.ExitStack() as stack:
        try:
            stream: Any = file
            if isinstance(file, str | os.PathLike):
                stream = stack.enter_context(open(file, "rb"))
                stream.raw.name = None  # soundfile would take a name in .raw for headerless samples
            if not stream.seekable():
                spool = stack.enter_context(tempfile.TemporaryFile())
                shutil.copyfileobj(stream, spool)
                stream = spool
            size = stream.seek(0, os.SEEK_END)
            problem = _problem_of_container(stream, size)
            stream.seek(0)
        except OSError as error:
            raise DecodeError(f"{name} {_problem_of_access(file, error)}.") from error
        if problem:
            raise DecodeError(f"{name} {problem}.")
        try:
            sound = stack.enter_context(soundfile.SoundFile(stream))
        except soundfile.LibsndfileError as error:
            reason = error.error_string.strip().rstrip(".")
            raise DecodeError(
                f"{name} is not an audio file that can be read ({reason}); convert it to WAV or FLAC."
            ) from error
        if sound.frames == 0:
            raise DecodeError(f"{name} holds no samples; leave it out or record it again.")
        if not MIN_SAMPLE_RATE <= sound.samplerate <= MAX_SAMPLE_RATE:
            raise DecodeError(
                f"{name} claims a sample rate of {sound.samplerate} Hz; rates of {MIN_SAMPLE_RATE} to "
                f"{MAX_SAMPLE_RATE} Hz can be used."
            )
        yield sound


def promised_frames(sound: soundfile.SoundFile) -> int | None:
    """Samples of each channel by the header; None where it does not say, as a FLAC need not."""
    return sound.frames if sound.frames < _UNKNOWN_FRAMES else None


def seekable_frames(sound: soundfile.SoundFile) -> int | None:
    """Samples of each channel, of a file in which any of them can be gone to; None of an MP3, or of unknown length."""
    return promised_frames(sound) if sound.seekable() and sound.format not in ("MP3", "MPEG") else None


def read_stretch(sound: soundfile.SoundFile, name: str, begin: int, end: int) -> npt.NDArray[np.float32]:
    """Decodes a stretch of a recording and no more, float32 [end - begin], channels mixed down by their mean.

    Args:
      sound: as `open_recording` gives it, one of `seekable_frames`.
      name: what messages call it.
      begin: its first sample.
      end: the one after its last.

    Raises:
      DecodeError: if it turns out to be damaged, truncated, or to hold NaN, infinity or samples beyond
        `LARGEST_SAMPLE`.
    """
    first = min(begin, max(0, sound.frames - _LARGEST_OGG_PAGE)) if sound.format == "OGG" else begin
    with _damage_told(name):
        sound.seek(first)
        block = sound.read(end - first, dtype="float32", always_2d=True)[begin - first :]
    if len(block) < end - begin:
        raise DecodeError(f"{name} {_truncated(end, begin + len(block))}.")
    return _mixed(block, name)


@contextlib.contextmanager
def _damage_told(name: str) -> Iterator[None]:
    try:
        yield
    except soundfile.LibsndfileError as error:
        reason = error.error_string.strip().rstrip(".")
        raise DecodeError(f"{name} is truncated or damaged: libsndfile says '{reason}'; copy it again.") from error


def _mixed(block: npt.NDArray[np.float32], name: str) -> npt.NDArray[np.float32]:
    """The mean of the channels of [n, channels]."""
    if not np.isfinite(block).all():
        raise DecodeError(f"{name} holds NaN or infinite samples; export it again from its source.")
    if np.abs(block).max(initial=0.0) > LARGEST_SAMPLE:
        raise DecodeError(
            f"{name} holds samples beyond {LARGEST_SAMPLE:g} where full scale is 1, which looks like 16-bit integers "
            "stored as floats; export it again from its source."
        )
    mixed: npt.NDArray[np.float32] = block[:, 0] if block.shape[1] == 1 else block.mean(axis=1)
    return mixed


def mono_blocks(
    sound: soundfile.SoundFile, name: str, *, block_frames: int = _BLOCK_FRAMES
) -> Iterator[npt.NDArray[np.float32]]:
    """Yields a recording in blocks, float32 [n], channels mixed down by their mean.

    Args:
      sound: as `open_recording` gives it.
      name: what messages call it.
      block_frames: n at most.

    Raises:
      DecodeError: if it turns out to be damaged, truncated, or to hold NaN, infinity or samples beyond
        `LARGEST_SAMPLE`.
    """
    # In blocks, since the number of frames that a header states may be unknown, or damage.
    decoded, promised = 0, promised_frames(sound)
    while promised is None or decoded < promised:
        frames = _BLOCK_FRAMES if promised is None else min(block_frames, promised - decoded)
        with _damage_told(name):
            block = sound.read(out=_aligned(frames * sound.channels).reshape(frames, sound.channels))
        if len(block) == 0:
            break
        decoded += len(block)
        yield _mixed(block, name)
    if decoded == 0:
        raise DecodeError(f"{name} holds no samples; leave it out or record it again.")
    # An MP3 header counts whole frames with the encoder's padding, which players may leave out.
    tolerance = 2 * 1152 if sound.format in ("MP3", "MPEG") else 0
    if promised is not None and decoded + tolerance < promised:
        raise DecodeError(f"{name} {_truncated(promised, decoded)}.")


def _truncated(promised: int, present: int, unit: str = "samples") -> str:
    return f"is truncated: its header promises {promised} {unit}, {present} are there; copy it again"


def _problem_of_access(file: Any, error: OSError) -> str:
    path = os.fspath(file) if isinstance(file, str | os.PathLike) else None
    if path is not None and os.path.islink(path) and not os.path.exists(path):
        return f"is a link to {os.readlink(path)}, which does not exist; restore that file or remove the link"
    if isinstance(error, FileNotFoundError):
        return "does not exist; check the path"
    # Windows says of a folder that permission is denied.
    if isinstance(error, IsADirectoryError) or (path is not None and os.path.isdir(path)):
        return "is a folder, not a recording; name a file in it"
    if isinstance(error, PermissionError):
        return "may not be read (permission denied); change its permissions"
    return f"cannot be read ({error.strerror or error}); check the disk or the connection"


def _problem_of_container(stream: IO[bytes], size: int) -> str | None:
    """What is wrong with a file that libsndfile would cut short in silence; None if nothing shows."""
    if size == 0:
        return "is empty (0 bytes); record or download it again"
    stream.seek(0)
    head = stream.read(12)
    if head[:4] in (b"RIFF", b"RF64") and head[8:] == b"WAVE":
        amount = _of_wav(stream, size)
    elif head[:4] == b"FORM" and head[8:] in (b"AIFF", b"AIFC"):
        amount = _of_aiff(stream, size)
    elif head[:4] in (b".snd", b"dns."):
        amount = _of_au(head, size)
    elif head[:4] == b"riff":
        amount = _of_wave64(stream, size)
    elif head[:4] == b"OggS":
        return "is truncated: its last page is cut off; copy it again" if _is_cut_ogg(stream, size) else None
    else:
        return None  # a short FLAC or MP3 shows in decoding
    return None if amount is None or amount.present >= amount.promised else _truncated(*amount)


class _Amount(NamedTuple):
    """Of sound: what the header promises, and what there is room for."""

    promised: int
    present: int
    unit: str = "bytes of sound"


def _chunks(stream: IO[bytes], size: int, order: str) -> Iterator[tuple[bytes, int, bytes, int]]:
    """Yields (name, stated length, first 24 bytes, bytes that are there) of a WAV's or AIFF's chunks."""
    position = 12
    while position + 8 <= size:
        stream.seek(position)
        name, length = struct.unpack(f"{order}4sI", stream.read(8))
        yield name, length, stream.read(24), size - position - 8
        position += 8 + length + length % 2


def _of_wav(stream: IO[bytes], size: int) -> _Amount | None:
    code, block_align, long_length = 0, 0, 0
    for name, length, body, present in _chunks(stream, size, "<"):
        if name == b"ds64" and len(body) >= 16:
            (long_length,) = struct.unpack_from("<Q", body, 8)
        elif name == b"fmt " and len(body) >= 14:
            code, block_align = struct.unpack_from("<H10xH", body)
        elif name == b"data":
            length = long_length if length == UNKNOWN_SIZE and long_length else length
            if length == UNKNOWN_SIZE or SOX_UNKNOWN_SIZE - block_align < length <= SOX_UNKNOWN_SIZE:
                return None
            if code in _UNCOMPRESSED and block_align:
                return _Amount(length // block_align, present // block_align, "samples")
            return _Amount(length, present)
    return None


def _of_aiff(stream: IO[bytes], size: int) -> _Amount | None:
    for name, length, _, present in _chunks(stream, size, ">"):
        if name == b"SSND" and length != UNKNOWN_SIZE:
            return _Amount(length - 8, present - 8)  # the first eight are no sound
    return None


def _of_au(head: bytes, size: int) -> _Amount | None:
    offset, length = struct.unpack(">II" if head[:4] == b".snd" else "<II", head[4:])
    return None if length == UNKNOWN_SIZE else _Amount(length, size - offset)


def _of_wave64(stream: IO[bytes], size: int) -> _Amount | None:
    position = 40
    while position + 24 <= size:
        stream.seek(position)
        name, length = struct.unpack("<4s12xQ", stream.read(24))  # of 16 bytes, the first four tell names apart
        if name == b"data":
            return _Amount(length - 24, size - position - 24)
        position += max(24, length + -length % 8)
    return None


def _is_cut_ogg(stream: IO[bytes], size: int) -> bool:
    """Whether the last page reaches beyond the end of the file (a page has at most 65,307 bytes)."""
    begin = stream.seek(max(0, size - 65_307))
    tail = stream.read()
    place = tail.rfind(b"OggS")
    if place < 0:
        return False
    lacing = tail[place + 27 : place + 27 + tail[place + 26]] if len(tail) > place + 26 else b""
    complete = len(tail) > place + 26 and len(lacing) == tail[place + 26]
    return not complete or begin + place + 27 + len(lacing) + sum(lacing) > size
