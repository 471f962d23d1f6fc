"""Recordings that cannot be used: by path, by bytes and from a pipe, what is said of them."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tfaudio.errors import TfaudioError
from tfaudio.sound_file import (
    DecodeError,
    diagnose,
    mono_blocks,
    open_recording,
    promised_frames,
    read_bytes,
    read_stretch,
)

RATE = 16_000


def noise(num_samples: int) -> np.ndarray:
    return (np.random.default_rng(5).standard_normal(num_samples) * 0.2).astype(np.float32)


def encode(container: str, subtype: str | None, samples: np.ndarray) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format=container, subtype=subtype)
    return file.getvalue()


class Pipe(io.BytesIO):
    """A stream that cannot be rewound."""

    def seekable(self) -> bool:
        return False

    def seek(self, *_: int) -> int:
        raise io.UnsupportedOperation("seek")


def said_of(file: Path | io.BytesIO, name: str) -> str | None:
    try:
        with open_recording(file, name) as sound:
            for _ in mono_blocks(sound, name):
                pass
    except DecodeError as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    ("container", "subtype"),
    [
        *(("WAV", "PCM_16"), ("WAV", "IMA_ADPCM"), ("WAV", "ULAW"), ("RF64", "PCM_24"), ("W64", "PCM_16")),
        *(("AIFF", "PCM_16"), ("AIFF", "FLOAT"), ("AIFF", "ULAW"), ("AU", "PCM_16"), ("AU", "ALAW")),
        *(("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("MP3", None)),
    ],
)
@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.5, 0.999, 1.0])
def test_a_cut_file_is_refused_alike_by_path_by_bytes_and_from_a_pipe(
    container: str, subtype: str | None, share: float, tmp_path: Path
) -> None:
    whole = encode(container, subtype, noise(100_000))
    cut = whole[: int(share * len(whole))]
    path = tmp_path / "cut.bin"
    path.write_bytes(cut)
    said = diagnose(path)
    # Of an MP3's last frame, decoders may leave out more than is missing here.
    assert (said is None) == (share == 1.0 or (container == "MP3" and share == 0.999))
    if said is not None:
        assert said.startswith(f"{path} is ")
        assert {0.0: "is empty (0 bytes)", 0.001: " "}.get(share, "truncated") in said
    assert said_of(path, str(path)) == said
    assert said_of(Pipe(cut), str(path)) == said


def test_what_sox_writes_into_a_pipe_is_read_to_its_end() -> None:
    whole = bytearray(encode("WAV", "PCM_24", noise(1000)))
    size = whole.index(b"data") + 4
    whole[4:8] = (0x7FFFF024).to_bytes(4, "little")
    whole[size : size + 4] = (0x7FFFF000 - 0x7FFFF000 % 3).to_bytes(4, "little")
    assert said_of(Pipe(bytes(whole)), "-") is None
    assert len(read_bytes(bytes(whole), "-")[0]) == 1000


def test_bytes_and_blocks_hold_the_mean_of_the_channels(tmp_path: Path) -> None:
    samples = np.stack([noise(150_000), np.zeros(150_000, np.float32)], axis=1)  # longer than two blocks
    path = tmp_path / "stereo.wav"
    path.write_bytes(encode("WAV", "FLOAT", samples))
    waveform, rate = read_bytes(path.read_bytes(), "stereo")
    assert (waveform.dtype, rate) == (np.float32, RATE)
    np.testing.assert_allclose(waveform, samples[:, 0] / 2, atol=1e-7)
    with open_recording(path, "stereo") as sound:
        assert promised_frames(sound) == 150_000
        np.testing.assert_array_equal(np.concatenate(list(mono_blocks(sound, "stereo"))), waveform)


@pytest.mark.parametrize(("value", "said"), [(np.nan, "NaN"), (-np.inf, "infinite"), (-64.5, "stored as floats")])
def test_samples_that_no_recording_has(tmp_path: Path, value: float, said: str) -> None:
    samples = np.stack([noise(300), noise(300)], axis=1)
    samples[200] = [value, -value]  # whose mean is 0, or NaN
    path = tmp_path / "odd.wav"
    path.write_bytes(encode("WAV", "FLOAT", samples))
    assert said in str(said_of(path, str(path)))
    assert said in str(diagnose(path))
    with open_recording(path, "odd") as sound:
        with pytest.raises(DecodeError, match=f"odd .*{said}"):
            read_stretch(sound, "odd", 150, 250)
        np.testing.assert_array_equal(read_stretch(sound, "odd", 0, 200), samples[:200].mean(axis=1))


def test_a_flac_without_a_stated_length() -> None:
    contents = bytearray(encode("FLAC", "PCM_16", noise(1000)))
    contents[21] &= 0xF0  # STREAMINFO gives 36 bits to the number of samples, and 0 means unknown
    contents[22:26] = b"\0" * 4
    with open_recording(io.BytesIO(contents), "stream") as sound:
        assert promised_frames(sound) is None


def test_format_by_bytes_not_by_name(tmp_path: Path) -> None:
    for name in ("song.mp3", "song.raw"):  # soundfile takes the second for headerless samples
        path = tmp_path / name
        path.write_bytes(encode("WAV", "PCM_16", noise(1000)))
        assert diagnose(path) is None
        assert said_of(path, name) is None


def test_what_is_no_recording_is_named(tmp_path: Path) -> None:
    (tmp_path / "link.wav").symlink_to(tmp_path / "gone.wav")
    (tmp_path / "text.wav").write_text("no audio")
    for path, problem in [
        (tmp_path / "missing.wav", "does not exist; check the path"),
        (tmp_path, "is a folder, not a recording"),
        (tmp_path / "link.wav", f"is a link to {tmp_path / 'gone.wav'}, which does not exist"),
        (tmp_path / "text.wav", "is not an audio file that can be read"),
    ]:
        said = str(diagnose(path))
        assert said.startswith(f"{path} {problem}")
        assert said_of(path, str(path)) == said


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "secret.wav"
    path.write_bytes(encode("WAV", "PCM_16", noise(1000)))
    path.chmod(0)
    assert "permission" in str(diagnose(path))
    assert said_of(path, str(path)) == diagnose(path)


def test_a_disk_that_fails_is_not_a_damaged_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "read_bytes", fail)
    assert "cannot be read (Input/output error); check the disk" in str(diagnose(tmp_path / "a.wav"))


def test_what_is_refused_is_a_mistake_that_a_user_can_mend() -> None:
    assert issubclass(DecodeError, TfaudioError)
