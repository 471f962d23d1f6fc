"""Whole files by libsndfile, outside of any graph, and what is wrong with those that cannot be used.

`tfaudio.runtime.audio` reads the same in blocks, without TensorFlow; the tests hold the two to the same sentences.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from tfaudio.config import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE
from tfaudio.errors import TfaudioError

_UNKNOWN_SIZE = 0xFFFFFFFF  # what programs that write into a pipe put where the length belongs
_BLOCK_FRAMES = 65_536


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
      DecodeError: if it is empty, not audio, truncated, without samples, or holds NaN or infinite samples.
    """
    problem = _problem_of_container(contents)
    if problem:
        raise DecodeError(f"{name} {problem}.")
    try:
        sound = soundfile.SoundFile(io.BytesIO(contents))
    except soundfile.LibsndfileError as error:
        reason = error.error_string.strip().rstrip(".")
        raise DecodeError(
            f"{name} is not an audio file that can be read ({reason}); convert it to WAV or FLAC."
        ) from error
    with sound:
        if sound.frames == 0:
            raise DecodeError(f"{name} holds no samples; leave it out or record it again.")
        if not MIN_SAMPLE_RATE <= sound.samplerate <= MAX_SAMPLE_RATE:
            raise DecodeError(
                f"{name} claims a sample rate of {sound.samplerate} Hz; rates of {MIN_SAMPLE_RATE} to "
                f"{MAX_SAMPLE_RATE} Hz can be used."
            )
        return np.concatenate(list(_mono_blocks(sound, name))), sound.samplerate


def diagnose(path: str | os.PathLike[str]) -> str | None:
    """Says why a recording cannot be used, in one sentence that names it; None if it can.

    The whole recording is decoded: a short FLAC does not show otherwise.
    """
    try:
        read_bytes(Path(path).read_bytes(), os.fspath(path))
    except DecodeError as error:
        return str(error)
    except OSError as error:
        return f"{os.fspath(path)} {_problem_of_access(os.fspath(path), error)}."
    return None


def _mono_blocks(sound: soundfile.SoundFile, name: str) -> Iterator[npt.NDArray[np.float32]]:
    # In blocks, since the number of frames that a header states may be unknown, or damage.
    decoded = 0
    while True:
        try:
            block = sound.read(_BLOCK_FRAMES, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            reason = error.error_string.strip().rstrip(".")
            raise DecodeError(
                f"{name} is truncated or damaged: after {decoded} samples, libsndfile says '{reason}'; copy it again."
            ) from error
        if len(block) == 0:
            break
        decoded += len(block)
        if not np.isfinite(block).all():
            raise DecodeError(f"{name} holds NaN or infinite samples; export it again from its source.")
        yield block[:, 0] if block.shape[1] == 1 else block.mean(axis=1)
    if decoded == 0:
        raise DecodeError(f"{name} holds no samples; leave it out or record it again.")
    # An MP3 header counts whole frames with the encoder's padding, which players may leave out. A FLAC need not
    # state its length, for which libsndfile gives the largest integer.
    tolerance = 2 * 1152 if sound.format in ("MP3", "MPEG") else 0
    if decoded + tolerance < sound.frames < 2**62:
        raise DecodeError(f"{name} {_truncated(sound.frames, decoded)}.")


def _truncated(promised: int, present: int) -> str:
    return f"is truncated: its header promises {promised} samples, {present} are there; copy it again"


def _problem_of_access(name: str, error: OSError) -> str:
    if os.path.islink(name) and not os.path.exists(name):
        return f"is a link to {os.readlink(name)}, which does not exist; restore that file or remove the link"
    if isinstance(error, FileNotFoundError):
        return "does not exist; check the path"
    if isinstance(error, IsADirectoryError) or os.path.isdir(name):
        return "is a folder, not a recording; name a file in it"
    if isinstance(error, PermissionError):
        return "may not be read (permission denied); change its permissions"
    return f"cannot be read ({error.strerror or error}); check the disk or the connection"


def _problem_of_container(contents: bytes) -> str | None:
    """What is wrong with a file that libsndfile would cut short in silence; None if nothing shows."""
    if not contents:
        return "is empty (0 bytes); record or download it again"
    kind, form = contents[:4], contents[8:12]
    promised, present = 0, 0  # a short FLAC or MP3 shows in decoding
    if kind in (b"RIFF", b"RF64") and form == b"WAVE":
        promised, present = _frames_of_wav(contents)
    elif kind == b"FORM" and form == b"AIFF":
        promised, present = _frames_of_aiff(contents)
    elif kind == b"OggS" and _is_cut_ogg(contents):
        return "is truncated: its last page is cut off; copy it again"
    return _truncated(promised, present) if present < promised else None


def _chunks(contents: bytes, order: str) -> Iterator[tuple[bytes, int, int]]:
    """Yields name, stated length and place of the content of a WAV's or AIFF's chunks."""
    position = 12
    while position + 8 <= len(contents):
        name, length = struct.unpack_from(f"{order}4sI", contents, position)
        yield name, length, position + 8
        position += 8 + length + length % 2


def _frames_of_wav(contents: bytes) -> tuple[int, int]:
    """Frames that the header promises, and those there is room for."""
    block_align, long_length = 0, 0
    for name, length, place in _chunks(contents, "<"):
        if name == b"ds64" and len(contents) >= place + 16:
            (long_length,) = struct.unpack_from("<Q", contents, place + 8)
        elif name == b"fmt " and len(contents) >= place + 14:
            (block_align,) = struct.unpack_from("<H", contents, place + 12)
        elif name == b"data":
            length = long_length if length == _UNKNOWN_SIZE and long_length else length
            if length != _UNKNOWN_SIZE and block_align:
                return length // block_align, (len(contents) - place) // block_align
    return 0, 0


def _frames_of_aiff(contents: bytes) -> tuple[int, int]:
    frames, block_align = 0, 0
    for name, _, place in _chunks(contents, ">"):
        if name == b"COMM" and len(contents) >= place + 8:
            channels, frames, bits = struct.unpack_from(">HIH", contents, place)
            block_align = channels * -(-bits // 8)
        elif name == b"SSND" and block_align:
            return frames, (len(contents) - place - 8) // block_align
    return 0, 0


def _is_cut_ogg(contents: bytes) -> bool:
    """Whether the last page reaches beyond the end."""
    page = contents[contents.rfind(b"OggS") :]
    lacing = page[27 : 27 + page[26]] if len(page) > 26 else b""
    return len(page) <= 26 or len(lacing) < page[26] or len(page) < 27 + len(lacing) + sum(lacing)
