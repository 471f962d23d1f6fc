"""Every format by every engine against the samples that were encoded, and what is said of damaged files."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import soundfile
import tensorflow as tf

from tfaudio.audio import decode as decoding
from tfaudio.audio.decode import DecodeError, decode, diagnose, load, read_bytes
from tfaudio.errors import TfaudioError

RATE = 22_050


def noise(channels: int = 1, num_samples: int = 11_025) -> np.ndarray:
    """float64 [num_samples, channels], low-passed so that lossy coders keep most of it."""
    white = np.random.default_rng(7).standard_normal((num_samples + 30, channels)) * 0.3
    return np.stack([np.convolve(c, np.hanning(31) / 15, "valid") for c in white.T], axis=1)


def encode(container: str, subtype: str, samples: np.ndarray, rate: int = RATE) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=container, subtype=subtype)
    return file.getvalue()


def chunked(*chunks: tuple[bytes, bytes], length: int | None = None) -> bytes:
    """A WAV of the given chunks; `length` replaces what the last chunk says of its length."""
    body = b"WAVE"
    for name, content in chunks:
        stated = len(content) if length is None or name != b"data" else length
        body += name + struct.pack("<I", stated) + content + b"\0" * (len(content) % 2)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def pcm_format(channels: int = 1, bits: int = 16, tag: int = 1) -> tuple[bytes, bytes]:
    block = channels * bits // 8
    return b"fmt ", struct.pack("<HHIIHH", tag, channels, RATE, RATE * block, block, bits)


RAMP = np.arange(-3000, 3000, 7, dtype="<i2")

needs_tensorflow_io = pytest.mark.skipif(
    not decoding.tensorflow_io_loads(), reason="tensorflow-io does not load beside this TensorFlow"
)

# container, subtype, tolerance of the decoded samples to those that were encoded
LOSSLESS = [
    ("WAV", "PCM_U8", 1 / 127),
    ("WAV", "PCM_16", 2**-15),
    ("WAV", "PCM_24", 2**-23),
    ("WAV", "PCM_32", 1e-7),
    ("WAV", "FLOAT", 1e-7),
    ("WAV", "DOUBLE", 1e-7),
    ("WAVEX", "PCM_16", 2**-15),
    ("WAVEX", "PCM_24", 2**-23),
    ("WAVEX", "FLOAT", 1e-7),
    ("RF64", "PCM_16", 2**-15),
]
FLAC = [("FLAC", "PCM_S8", 1 / 127), ("FLAC", "PCM_16", 2**-15), ("FLAC", "PCM_24", 2**-23)]
BY_LIBSNDFILE = [
    ("AIFF", "PCM_16", 2**-15),
    ("WAV", "ULAW", 0.02),
    ("WAV", "IMA_ADPCM", 0.05),
    ("CAF", "PCM_16", 2**-15),
]


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("engine", ["auto", "graph", "soundfile"])
@pytest.mark.parametrize(("container", "subtype", "tolerance"), LOSSLESS)
def test_wav_of_any_kind_by_any_engine(container, subtype, tolerance, engine, channels):
    samples = noise(channels)
    waveform, rate = decode(encode(container, subtype, samples), engine=engine)
    assert waveform.dtype == tf.float32
    assert rate == RATE
    np.testing.assert_allclose(waveform, samples.mean(axis=1), atol=tolerance)


@pytest.mark.parametrize("engine", ["auto", "soundfile", pytest.param("graph", marks=needs_tensorflow_io)])
@pytest.mark.parametrize(("container", "subtype", "tolerance"), FLAC)
def test_flac(container, subtype, tolerance, engine):
    for channels in (1, 2):
        samples = noise(channels)
        waveform, rate = decode(encode(container, subtype, samples), engine=engine)
        assert rate == RATE
        np.testing.assert_allclose(waveform, samples.mean(axis=1), atol=tolerance)


@pytest.mark.parametrize("engine", ["auto", "soundfile", pytest.param("graph", marks=needs_tensorflow_io)])
@pytest.mark.parametrize(("container", "subtype"), [("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III")])
def test_lossy_formats_resemble_what_was_encoded(container, subtype, engine):
    samples = noise(2)
    waveform, rate = decode(encode(container, subtype, samples), engine=engine)
    assert (rate, len(waveform)) == (RATE, len(samples))
    assert np.corrcoef(waveform, samples.mean(axis=1))[0, 1] > 0.97


@needs_tensorflow_io
@pytest.mark.parametrize(
    ("container", "subtype", "rate"),
    [("OGG", "VORBIS", 44_100), ("MP3", "MPEG_LAYER_III", 16_000), ("MP3", "MPEG_LAYER_III", 48_000)],
)
def test_engines_agree_on_lossy_formats(container, subtype, rate):
    contents = encode(container, subtype, noise(1), rate)
    ours, our_rate = decode(contents, engine="graph")
    theirs, their_rate = decode(contents, engine="soundfile")
    assert our_rate == their_rate == rate
    np.testing.assert_allclose(ours, theirs, atol=2e-6)


@needs_tensorflow_io
def test_mp3_behind_a_tag():
    contents = encode("MP3", "MPEG_LAYER_III", noise(1), 32_000)
    tag = b"ID3\4\0\0" + bytes([0, 0, 2, 44]) + b"\xff" * 300  # 2 * 128 + 44 bytes of what looks like frames
    waveform, rate = decode(tag[:10] + b"\0" * 300 + contents, engine="graph")
    assert (int(rate), len(waveform)) == (32_000, len(decode(contents, engine="graph")[0]))


@pytest.mark.parametrize("engine", ["auto", "soundfile"])
@pytest.mark.parametrize(("container", "subtype", "tolerance"), BY_LIBSNDFILE)
def test_what_libsndfile_alone_reads(container, subtype, tolerance, engine):
    samples = noise()
    waveform, rate = decode(encode(container, subtype, samples), engine=engine)
    assert rate == RATE
    np.testing.assert_allclose(waveform[: len(samples)], samples[:, 0], atol=tolerance)


def test_opus():
    samples = noise()
    waveform, rate = decode(encode("OGG", "OPUS", samples, 24_000))
    assert rate == 24_000
    assert np.corrcoef(waveform[: len(samples)], samples[:, 0])[0, 1] > 0.9


@pytest.mark.parametrize(
    ("contents", "named"),
    [
        (encode("AIFF", "PCM_16", noise()), "AIFF"),
        (encode("OGG", "OPUS", noise(), 24_000), "Ogg Opus"),
        (encode("WAV", "ULAW", noise()), "coding 7"),
        (b"no audio at all, but a line of text\n", "no audio at all"),
    ],
    ids=["aiff", "opus", "ulaw", "text"],
)
def test_graph_engine_names_what_it_cannot_decode_and_the_way_out(contents, named):
    with pytest.raises(tf.errors.InvalidArgumentError, match=named) as error:
        decode(contents, engine="graph")
    assert "--engine=auto" in str(error.value)


@pytest.mark.parametrize(("container", "subtype"), [("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III")])
def test_graph_engine_without_tensorflow_io(container, subtype, monkeypatch):
    monkeypatch.setattr(decoding, "tensorflow_io_loads", lambda: False)
    one = tf.data.Dataset.from_tensors(encode(container, subtype, noise())).map(lambda c: decode(c, engine="graph"))
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"tensorflow-io.*--engine=auto"):
        next(iter(one))


def test_graph_engine_holds_no_python():
    graph = tf.function(lambda c: decode(c, engine="graph"), input_signature=[tf.TensorSpec([], tf.string)])
    definition = graph.get_concrete_function().graph.as_graph_def()
    operators = {n.op for n in definition.node} | {n.op for f in definition.library.function for n in f.node_def}
    assert "DecodeRaw" in operators
    assert not {o for o in operators if "PyFunc" in o}


@pytest.mark.parametrize("engine", ["auto", "graph", "soundfile"])
def test_in_a_pipeline_as_by_hand(engine):
    files = [
        encode("WAV", "PCM_16", noise()),
        encode("WAV", "PCM_24", noise(2)),
        encode("WAVEX", "FLOAT", noise(1, 99)),
    ]
    mapped = tf.data.Dataset.from_tensor_slices(files).map(lambda c: decode(c, engine=engine), num_parallel_calls=2)
    assert mapped.element_spec[0].shape.rank == 1
    for contents, (waveform, rate) in zip(files, mapped, strict=True):
        by_hand = decode(contents, engine=engine)
        np.testing.assert_array_equal(waveform, by_hand[0])
        assert rate == by_hand[1]


def test_load_resamples():
    time = np.arange(2 * RATE) / RATE
    contents = encode("WAV", "FLOAT", np.sin(2 * np.pi * 440 * time))
    for mapped in (
        load(contents, 16_000)[0],
        next(iter(tf.data.Dataset.from_tensors(contents).map(lambda c: load(c, 16_000)[0]))),
    ):
        assert mapped.shape == (32_000,)
        expected = np.sin(2 * np.pi * 440 * np.arange(32_000) / 16_000)
        np.testing.assert_allclose(mapped[200:-200], expected[200:-200], atol=1e-4)


def test_load_of_a_known_rate():
    contents = encode("WAV", "PCM_16", np.random.default_rng(0).uniform(-0.5, 0.5, RATE))
    known = load(contents, 16_000, source_rate=RATE)
    np.testing.assert_array_equal(known[0], load(contents, 16_000)[0])
    assert known[1] == RATE
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"has {RATE} Hz now, and had 8000 Hz"):
        load(contents, 16_000, source_rate=8_000)


LAYOUTS = {
    "JUNK before fmt": chunked((b"JUNK", b"data" + b"\0" * 24), pcm_format(), (b"data", RAMP.tobytes())),
    "bext of odd length": chunked((b"bext", b"\1" * 27), pcm_format(), (b"data", RAMP.tobytes())),
    "LIST between": chunked(pcm_format(), (b"LIST", b"INFOISFT"), (b"data", RAMP.tobytes())),
    "LIST behind": chunked(pcm_format(), (b"data", RAMP.tobytes()), (b"LIST", b"INFOISFT")),
    "format of 18 bytes": chunked((b"fmt ", pcm_format()[1] + b"\0\0"), (b"data", RAMP.tobytes())),
    "length left open": chunked(pcm_format(), (b"data", RAMP.tobytes()), length=0xFFFFFFFF),
    "length left open by SoX": chunked(pcm_format(), (b"data", RAMP.tobytes()), length=0x7FFFF000),
    "length left open behind JUNK": chunked(
        (b"JUNK", b"\0" * 28), pcm_format(), (b"data", RAMP.tobytes()), length=0xFFFFFFFF
    ),
}


@pytest.mark.parametrize("engine", ["auto", "graph", "soundfile"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_chunks_in_any_order(layout, engine):
    waveform, rate = decode(LAYOUTS[layout], engine=engine)
    assert rate == RATE
    np.testing.assert_array_equal(waveform, RAMP / 2.0**15)


DAMAGED = {
    "empty": (b"", "empty"),
    "text": (b"this is text, whatever the name says\n" * 9, "not an audio file|no audio at all"),
    "no samples": (chunked(pcm_format(), (b"data", b"")), "no samples"),
    "cut in the samples": (chunked(pcm_format(), (b"data", RAMP.tobytes()))[:-500], "truncated.*858.*608"),
    "cut behind JUNK": (
        chunked((b"JUNK", b"\0" * 28), pcm_format(), (b"data", RAMP.tobytes()))[:-500], "truncated.*858.*608"
    ),
    "NaN": (encode("WAV", "FLOAT", np.array([0.0, np.nan, 0.5])), "NaN"),
    "infinity": (encode("WAV", "DOUBLE", np.array([0.0, np.inf, 0.5])), "infinite"),
    "no such rate": (encode("WAV", "PCM_16", noise(), 7), "sample rate of 7 Hz"),
}  # fmt: skip


@pytest.mark.parametrize("engine", ["auto", "graph", "soundfile"])
@pytest.mark.parametrize("damage", DAMAGED)
def test_engines_say_what_is_wrong(damage, engine):
    contents, reason = DAMAGED[damage]
    with pytest.raises(tf.errors.InvalidArgumentError, match=reason):
        decode(contents, engine=engine)


@pytest.mark.parametrize("damage", DAMAGED)
def test_reading_and_diagnosis_name_file_and_reason(damage, tmp_path):
    contents, reason = DAMAGED[damage]
    with pytest.raises(DecodeError, match=f"(?s)日本.wav.*({reason})"):
        read_bytes(contents, "日本.wav")
    path = tmp_path / "日本.wav"
    path.write_bytes(contents)
    said = diagnose(path)
    assert said is not None
    assert said.startswith(str(path))
    assert "\n" not in said


@pytest.mark.parametrize(
    ("container", "subtype"),
    [
        ("FLAC", "PCM_16"),
        ("OGG", "VORBIS"),
        ("MP3", "MPEG_LAYER_III"),
        ("AIFF", "PCM_16"),
        ("WAV", "PCM_24"),
        ("RF64", "PCM_16"),
    ],
)
def test_half_a_file_is_truncated(container, subtype):
    contents = encode(container, subtype, noise(1, 60_000))
    with pytest.raises(tf.errors.InvalidArgumentError, match="truncated"):
        decode(contents[: len(contents) // 2])


@needs_tensorflow_io
@pytest.mark.parametrize(("container", "subtype"), [("FLAC", "PCM_16"), ("MP3", "MPEG_LAYER_III")])
def test_half_a_file_fails_by_tensorflow_io_too(container, subtype):
    contents = encode(container, subtype, noise(1, 60_000))
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode(contents[: len(contents) // 2], engine="graph")


def test_unknown_engine():
    with pytest.raises(TfaudioError, match="auto, graph or soundfile"):
        decode(b"", engine="ffmpeg")
