"""The device's reading of recordings: against the graph's, and in bounded memory."""

from __future__ import annotations

import io
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from tfaudio.config import ClipConfig
from tfaudio.errors import TfaudioError
from tfaudio.runtime.audio import Resampler, duration_seconds, read_windows, resample

PAIRS = [(44_100, 16_000), (8_000, 16_000), (22_050, 16_000), (48_000, 16_000), (44_101, 16_000), (16_000, 44_101)]


def noise(num_samples: int) -> np.ndarray:
    return (np.random.default_rng(5).standard_normal(num_samples) * 0.2).astype(np.float32)


def test_imports_no_tensorflow():
    code = "import sys, tfaudio.runtime.audio; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_twin_of_the_resampler_in_the_graph(source, target):
    from tfaudio.audio.resample import resample as resample_in_graph

    waveform = noise(source // 2)
    np.testing.assert_allclose(
        resample(waveform, source, target), resample_in_graph(waveform, source, target), atol=1e-5
    )


@settings(max_examples=20, deadline=None)
@given(st.sampled_from([*PAIRS, (16_000, 16_000)]), st.lists(st.integers(0, 5000), max_size=8))
def test_blocks_of_any_size_give_the_whole(pair, sizes):
    waveform = noise(sum(sizes))
    whole = resample(waveform, *pair)
    assert len(whole) == -(-len(waveform) * pair[1] // pair[0])
    resampler = Resampler(*pair)
    for _ in range(2):  # a flushed resampler starts afresh
        parts = [resampler.process(b) for b in np.split(waveform, np.cumsum(sizes)[:-1])] if sizes else []
        parts.append(resampler.flush())
        np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-6)


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_resampler_holds_little(source, target):
    resampler, block = Resampler(source, target), noise(1000)
    produced = sum(len(resampler.process(block)) for _ in range(200))
    assert produced > 200_000 * target / source - 3000 * max(1, target / source)
    assert len(resampler._held) < 5000


@pytest.mark.parametrize(("source", "target"), [*PAIRS, (16_000, 16_000)])
def test_resampler_holds_back_what_it_says(source, target):
    resampler, given, produced, most = Resampler(source, target), 0, 0, 0.0
    for size in (1, 7, 1000, 33, 4000, 2) * 5:
        produced += len(resampler.process(noise(size)))
        given += size
        most = max(most, given - produced * source / target)
    assert most <= resampler.delay_samples
    assert resampler.delay_samples <= 2 * most  # it is no idle bound


def test_impossible_rates():
    with pytest.raises(TfaudioError, match="at least 1 Hz"):
        Resampler(0, 16_000)


@pytest.mark.parametrize("short", ["pad", "tile"])
@pytest.mark.parametrize("rate", [16_000, 22_050])
@pytest.mark.parametrize("hop", [None, 0.05, 0.073])
@pytest.mark.parametrize("seconds", [0.03, 0.1, 0.105, 0.16, 1.0, 5.33])
def test_windows_are_those_of_the_graph(seconds, hop, rate, short, tmp_path):
    from tfaudio.audio.decode import load
    from tfaudio.audio.framing import windows

    clip = ClipConfig(seconds=0.1, hop_seconds=hop, short=short)
    path = tmp_path / "clip.wav"
    soundfile.write(path, np.stack([noise(int(seconds * rate))] * 2, axis=1), rate)
    waveform, _ = load(path.read_bytes(), 16_000)
    expected = windows(
        waveform,
        num_samples=1600,
        hop=clip.hop_samples(16_000),
        num_windows=clip.num_windows(len(waveform), 16_000),
        short=short,
    )
    starts, cut = zip(*read_windows(path, sample_rate=16_000, clip=clip), strict=True)
    np.testing.assert_allclose(np.stack(cut), expected, atol=1e-5)
    np.testing.assert_allclose(starts, np.arange(len(cut)) * (hop or 0.1))


def test_whole_recording(tmp_path):
    path = tmp_path / "clip.flac"
    samples = noise(90_000)
    soundfile.write(path, samples, 16_000)
    ((start, waveform),) = read_windows(path, sample_rate=16_000, clip=ClipConfig(seconds=None))
    assert start == 0.0
    np.testing.assert_allclose(waveform, samples, atol=1e-4)
    assert duration_seconds(path) == 90_000 / 16_000


class Pipe(io.BufferedIOBase):
    """A stream that can only be read on."""

    def __init__(self, contents: bytes) -> None:
        self._file = io.BytesIO(contents)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def read(self, size: int | None = -1) -> bytes:
        return self._file.read(-1 if size is None else min(size, 1000) if size >= 0 else size)


@pytest.mark.parametrize("open_length", [False, True])
def test_pipes_and_file_objects(open_length):
    file = io.BytesIO()
    soundfile.write(file, noise(16_000), 16_000, format="WAV", subtype="PCM_16")
    contents = bytearray(file.getvalue())
    if open_length:  # as a program writes that cannot go back
        contents[4:8] = contents[40:44] = b"\xff" * 4
    clip = ClipConfig(seconds=0.25)
    piped = list(read_windows(Pipe(bytes(contents)), sample_rate=16_000, clip=clip))
    seekable = list(read_windows(io.BytesIO(contents), sample_rate=16_000, clip=clip))
    assert [s for s, _ in piped] == [0.0, 0.25, 0.5, 0.75]
    for (_, one), (_, other) in zip(piped, seekable, strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_hour_takes_no_more_memory_than_a_minute(tmp_path):
    def peak(minutes: int) -> int:
        path = tmp_path / f"{minutes}.wav"
        with soundfile.SoundFile(path, "w", 2_000, 1, "PCM_16") as file:
            for _ in range(minutes):
                file.write(np.zeros(2_000 * 60, np.int16))
        tracemalloc.start()
        count = sum(1 for _ in read_windows(path, sample_rate=1_000, clip=ClipConfig(seconds=5.0, hop_seconds=2.5)))
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert count == minutes * 24 - 1
        return used

    peak(1)  # the kernel is made and kept
    assert peak(60) < 1.2 * peak(1)


def test_unusable_recordings(tmp_path):
    clip = ClipConfig()
    with pytest.raises(TfaudioError, match=r"missing\.wav does not exist"):
        next(read_windows(tmp_path / "missing.wav", sample_rate=16_000, clip=clip))
    text = tmp_path / "text.wav"
    text.write_text("no audio")
    with pytest.raises(TfaudioError, match=r"text\.wav is not an audio file"):
        next(read_windows(text, sample_rate=16_000, clip=clip))
    with pytest.raises(TfaudioError, match="audio stream is empty"):
        next(read_windows(Pipe(b""), sample_rate=16_000, clip=clip))
    assert duration_seconds(text) is None
    soundfile.write(tmp_path / "whole.flac", noise(400_000), 16_000)
    half = tmp_path / "half.flac"
    half.write_bytes((tmp_path / "whole.flac").read_bytes()[:300_000])
    with pytest.raises(TfaudioError, match=r"half\.flac is truncated"):
        list(read_windows(half, sample_rate=16_000, clip=clip))


@pytest.mark.parametrize("seconds", [1.0, None])
def test_integers_stored_as_floats_are_refused_as_training_refuses_them(seconds, tmp_path):
    path = tmp_path / "integers.wav"
    soundfile.write(path, 32_768 * noise(8_000), 16_000, subtype="FLOAT")
    with pytest.raises(TfaudioError, match=r"integers\.wav holds samples beyond 64 where full scale is 1"):
        list(read_windows(path, sample_rate=16_000, clip=ClipConfig(seconds=seconds)))
