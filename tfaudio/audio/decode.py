"""Encoded bytes to waveforms, told apart by what the bytes are and never by a file's name.

WAV is decoded by core operators, on every TensorFlow. For FLAC, Ogg Vorbis and MP3 there are two ways:
tensorflow-io's operators, which need its library, and libsndfile (soundfile), called from the graph.
"""

from __future__ import annotations

import functools
import io
import os
import warnings
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
import tensorflow as tf

from tfaudio.audio.resample import resample
from tfaudio.runtime.audio import (
    MAX_SAMPLE_RATE,
    MIN_SAMPLE_RATE,
    DecodeError,
    Waveform,
    mono_blocks,
    open_recording,
)

__all__ = ["DecodeError", "Engine", "decode", "diagnose", "load", "read_bytes", "tensorflow_io_loads"]

Engine = Literal["auto", "graph", "soundfile"]

Decoded = tuple[tf.Tensor, tf.Tensor]

_AUTO = "decode it with libsndfile (--engine=auto)"


def load(contents: tf.Tensor | bytes, sample_rate: int, *, engine: Engine = "auto") -> tf.Tensor:
    """Decodes a recording and resamples it: `decode`, then `resample`.

    Returns:
      float32 [ceil(n * sample_rate / the recording's rate)], mono.
    """
    waveform, source_rate = decode(contents, engine=engine)
    return resample(waveform, source_rate, sample_rate)


def decode(contents: tf.Tensor | bytes, *, engine: Engine = "auto") -> Decoded:
    """Decodes a recording, eagerly or inside a graph.

    Args:
      contents: string scalar, a whole file: WAV (PCM of 8 to 32 bits, float; RF64; EXTENSIBLE), FLAC, Ogg
        Vorbis, MP3, and with libsndfile all that it reads (AIFF, Opus, ...).
      engine: "auto" takes the way that was measured to be faster for the format; "graph" runs no Python,
        and refuses what it cannot decode so; "soundfile" always takes libsndfile.

    Returns:
      waveform float32 [n], mono (the mean of the channels), full scale 1; sample rate int32 [], Hz.

    Raises:
      TfaudioError: if the engine has no such name.
      tf.errors.InvalidArgumentError: if the bytes cannot be decoded; the message says why. It cannot name
        the file: `diagnose` does.
    """
    if engine not in ("auto", "graph", "soundfile"):
        raise DecodeError(f"There is no decoding engine '{engine}'; choose auto, graph or soundfile.")
    if tf.executing_eagerly():
        return _compiled(engine)(tf.convert_to_tensor(contents, tf.string))
    return _decode(tf.convert_to_tensor(contents, tf.string), engine)


@functools.cache
def _compiled(engine: Engine) -> Callable[[tf.Tensor], Decoded]:
    """One graph for all eager calls: dozens of operators one by one would take far longer."""
    signature = [tf.TensorSpec([], tf.string)]
    return tf.function(lambda contents: _decode(contents, engine), input_signature=signature, autograph=False)


def read_bytes(contents: bytes, name: str) -> tuple[Waveform, int]:
    """Decodes a file's bytes with libsndfile, outside of any graph.

    Args:
      contents: a whole file.
      name: what messages call it.

    Returns:
      float32 [n], mono; sample rate, Hz.

    Raises:
      DecodeError: if it is empty, not audio, truncated, without samples, or holds NaN or infinite samples.
    """
    with open_recording(io.BytesIO(contents), name) as sound:
        return np.concatenate(list(mono_blocks(sound, name))), sound.samplerate


def diagnose(path: str | os.PathLike[str]) -> str | None:
    """Says why a recording cannot be used, in one sentence that names it; None if it can.

    The whole recording is decoded, block by block: a short FLAC does not show otherwise.
    """
    name = os.fspath(path)
    try:
        with open_recording(path, name) as sound:
            for _ in mono_blocks(sound, name):
                pass
    except DecodeError as error:
        return str(error)
    return None


@functools.cache
def tensorflow_io_loads() -> bool:
    """Whether tensorflow-io's audio operators work here: found by use, since importing it proves nothing."""
    wav = b"RIFF\x26\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x80\x3e\0\0\2\0\x10\0data\2\0\0\0\1\0"
    try:
        with warnings.catch_warnings(), tf.init_scope():
            warnings.simplefilter("ignore")  # it warns of a library that does not load, which is what we ask
            return bool(_tensorflow_io().decode_wav(wav, dtype=tf.int16).shape == (1, 1))
    except (ImportError, NotImplementedError, AttributeError, OSError, tf.errors.OpError):
        return False


def _tensorflow_io() -> Any:
    import tensorflow_io

    return tensorflow_io.audio


def _decode(contents: tf.Tensor, engine: Engine) -> Decoded:
    if engine == "soundfile":
        return _by_soundfile(contents)
    contents = _require(contents, tf.strings.length(contents) > 0, "The recording is empty (0 bytes).")
    branches = [_wav_decoder(engine), _by_soundfile, _by_soundfile, _by_soundfile, _by_soundfile]
    if engine == "graph":
        branches[1:] = [_decode_flac, _decode_vorbis, _decode_mp3, _refuse]
        if not tensorflow_io_loads():
            branches[1:4] = [_needs_tensorflow_io(name) for name in ("FLAC", "Ogg Vorbis", "MP3")]
    waveform, sample_rate = tf.switch_case(_kind(contents), [functools.partial(b, contents) for b in branches])
    sample_rate = _require(
        sample_rate,
        (sample_rate >= MIN_SAMPLE_RATE) & (sample_rate <= MAX_SAMPLE_RATE),
        _sentence("The recording claims a sample rate of ", sample_rate, " Hz, which cannot be used."),
    )
    waveform = _require(waveform, tf.size(waveform) > 0, "The recording holds no samples.")
    return tf.ensure_shape(waveform, [None]), tf.ensure_shape(sample_rate, [])


def _require(tensor: tf.Tensor, condition: tf.Tensor, message: str | tf.Tensor) -> tf.Tensor:
    """Passes a tensor on, once a condition holds."""
    with tf.control_dependencies([tf.debugging.Assert(condition, [message])]):
        return tf.identity(tensor)


def _sentence(*parts: Any) -> tf.Tensor:
    return tf.strings.join([tf.strings.as_string(p) if tf.is_tensor(p) and p.dtype != tf.string else p for p in parts])


def _integer(contents: tf.Tensor, position: int | tf.Tensor, size: int, *, big_endian: bool = False) -> tf.Tensor:
    """Reads an unsigned integer of `size` bytes, as int64 []."""
    digits = tf.cast(tf.io.decode_raw(tf.strings.substr(contents, position, size), tf.uint8), tf.int64)
    weights = [256**i for i in range(size)]
    return tf.reduce_sum(digits * tf.constant(weights[::-1] if big_endian else weights, tf.int64))


def _kind(contents: tf.Tensor) -> tf.Tensor:
    """Tells the container by its first bytes: int32 [], the index of WAV, FLAC, Vorbis, MP3, anything else."""
    head = tf.strings.join([tf.strings.substr(contents, 0, 64), tf.constant(b"\0" * 64)])

    def has(text: bytes, position: int = 0) -> tf.Tensor:
        return tf.equal(tf.strings.substr(head, position, len(text)), text)

    is_wav = (has(b"RIFF") | has(b"RF64")) & has(b"WAVE", 8)
    is_vorbis = has(b"OggS") & has(b"\1vorbis", 28)
    # Eleven bits of sync, and the two that say layer III.
    is_mp3 = has(b"ID3") | (has(b"\xff") & tf.equal(_integer(head, 1, 1) & 0xE6, 0xE2))
    return tf.where(is_wav, 0, tf.where(has(b"fLaC"), 1, tf.where(is_vorbis, 2, tf.where(is_mp3, 3, 4))))


# --- libsndfile ---------------------------------------------------------------------------------------------


def _by_soundfile(contents: tf.Tensor) -> Decoded:
    # An exception in the function would come with a traceback through TensorFlow: hand the reason on instead.
    waveform, sample_rate, problem = tf.numpy_function(
        _read, [contents], [tf.float32, tf.int32, tf.string], stateful=False
    )
    waveform, sample_rate, problem = (tf.ensure_shape(waveform, [None]), tf.ensure_shape(sample_rate, []), problem)
    return _require(waveform, tf.equal(tf.reshape(problem, []), ""), problem), sample_rate


@tf.autograph.experimental.do_not_convert
def _read(contents: bytes) -> tuple[Waveform, Any, bytes]:
    try:
        waveform, sample_rate = read_bytes(contents, "The recording")
    except DecodeError as error:
        return np.zeros(0, np.float32), np.int32(0), str(error).encode()
    return waveform, np.int32(sample_rate), b""


# --- WAV, by core operators ---------------------------------------------------------------------------------


class _Wav(NamedTuple):
    """What the header of a WAV says; int64 scalars, lengths and positions in bytes."""

    tag: tf.Tensor
    channels: tf.Tensor
    sample_rate: tf.Tensor
    frame_bytes: tf.Tensor
    data_start: tf.Tensor
    data_length: tf.Tensor
    size: tf.Tensor


def _wav_header(contents: tf.Tensor) -> _Wav:
    """Walks the chunks up to `data`, whatever stands before and between `fmt ` and `data`."""
    size = tf.cast(tf.strings.length(contents), tf.int64)

    def more(position: tf.Tensor, start: tf.Tensor, *_: tf.Tensor) -> tf.Tensor:
        return (start < 0) & (position + 8 <= size)

    def step(position: tf.Tensor, start: tf.Tensor, length: tf.Tensor, fmt: tf.Tensor, ds64: tf.Tensor) -> Any:
        name = tf.strings.substr(contents, position, 4)
        length = _integer(contents, position + 4, 4)
        body = position + 8
        fmt = tf.where(tf.equal(name, b"fmt "), tf.strings.substr(contents, body, 40), fmt)
        ds64 = tf.where(tf.equal(name, b"ds64"), tf.strings.substr(contents, body, 16), ds64)
        start = tf.where(tf.equal(name, b"data"), body, start)
        return body + length + length % 2, start, length, fmt, ds64

    zero = tf.constant(0, tf.int64)
    first = (zero + 12, zero - 1, zero, tf.constant(b""), tf.constant(b""))
    _, start, length, fmt, ds64 = tf.while_loop(more, step, first)
    start = _require(start, start >= 0, "The recording is truncated: this WAV ends before its samples begin.")
    start = _require(start, tf.strings.length(fmt) >= 16, "The recording is damaged: this WAV has no format.")
    fmt = tf.strings.join([fmt, tf.constant(b"\0" * 40)])
    tag = _integer(fmt, 0, 2)
    long_length = _integer(tf.strings.join([ds64, tf.constant(b"\0" * 16)]), 8, 8)
    # A program that writes into a pipe leaves the length open: the samples go on to the end.
    open_length = tf.where(long_length > 0, long_length, size - start)
    return _Wav(
        tag=tf.where(tf.equal(tag, 0xFFFE), _integer(fmt, 24, 2), tag),
        channels=_integer(fmt, 2, 2),
        sample_rate=_integer(fmt, 4, 4),
        frame_bytes=_integer(fmt, 12, 2),
        data_start=start,
        data_length=tf.where(tf.equal(length, 0xFFFFFFFF), open_length, length),
        size=size,
    )


def _wav_decoder(engine: Engine) -> Callable[[tf.Tensor], Decoded]:
    def decode_wav(contents: tf.Tensor) -> Decoded:
        header = _wav_header(contents)
        sample_bytes = header.frame_bytes // tf.maximum(header.channels, 1)
        key = tf.stack([header.tag, sample_bytes])
        match = tf.reduce_all(tf.equal(key, tf.constant([k for k, _ in _CODINGS], tf.int64)), axis=1)
        known = tf.reduce_any(match)
        coding = tf.cast(tf.argmax(match), tf.int32)
        if engine == "graph":
            message = _sentence(
                "The recording is a WAV of coding ", header.tag, " with ", sample_bytes, " bytes a sample, which no "
                f"operator of TensorFlow decodes; {_AUTO} or convert it to 16-bit PCM.",
            )  # fmt: skip
            return _decode_pcm(_require(contents, known, message), header, coding)
        return tf.cond(known, lambda: _decode_pcm(contents, header, coding), lambda: _by_soundfile(contents))

    return decode_wav


def _decode_pcm(contents: tf.Tensor, header: _Wav, coding: tf.Tensor) -> Decoded:
    promised = header.data_length // header.frame_bytes
    present = tf.minimum(header.data_length, header.size - header.data_start) // header.frame_bytes
    message = _sentence(
        "The recording is truncated: its header promises ",
        promised,
        " samples, ",
        present,
        " are there; copy it again.",
    )
    start = _require(header.data_start, present >= promised, message)
    raw = tf.strings.substr(contents, start, present * header.frame_bytes)
    samples = tf.switch_case(coding, [functools.partial(convert, raw) for _, convert in _CODINGS])
    return _mono(tf.reshape(samples, tf.stack([present, header.channels]))), tf.cast(header.sample_rate, tf.int32)


def _pcm8(raw: tf.Tensor) -> tf.Tensor:
    return (tf.cast(tf.io.decode_raw(raw, tf.uint8), tf.float32) - 128.0) / 128.0


def _pcm16(raw: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.io.decode_raw(raw, tf.int16), tf.float32) / 2.0**15


def _pcm24(raw: tf.Tensor) -> tf.Tensor:
    digits = tf.reshape(tf.io.decode_raw(raw, tf.uint8), [-1, 3])
    return tf.cast(tf.bitcast(tf.pad(digits, [[0, 0], [1, 0]]), tf.int32), tf.float32) / 2.0**31


def _pcm32(raw: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.io.decode_raw(raw, tf.int32), tf.float32) / 2.0**31


def _floats(dtype: tf.DType, raw: tf.Tensor) -> tf.Tensor:
    samples = tf.cast(tf.io.decode_raw(raw, dtype), tf.float32)
    finite = tf.reduce_all(tf.math.is_finite(samples))
    return _require(samples, finite, "The recording holds NaN or infinite samples; export it again from its source.")


# (format tag, bytes a sample) of a WAV, and what turns its bytes into floats.
_CODINGS: list[tuple[tuple[int, int], Callable[[tf.Tensor], tf.Tensor]]] = [
    ((1, 1), _pcm8),
    ((1, 2), _pcm16),
    ((1, 3), _pcm24),
    ((1, 4), _pcm32),
    ((3, 4), functools.partial(_floats, tf.float32)),
    ((3, 8), functools.partial(_floats, tf.float64)),
]


def _mono(samples: tf.Tensor) -> tf.Tensor:
    """float32 [n, channels] to [n]."""
    return tf.cond(tf.shape(samples)[1] > 1, lambda: tf.reduce_mean(samples, axis=1), lambda: tf.reshape(samples, [-1]))


# --- tensorflow-io ------------------------------------------------------------------------------------------


def _decode_flac(contents: tf.Tensor) -> Decoded:
    """FLAC, whose STREAMINFO begins at byte 8."""
    contents = _require(
        contents, tf.strings.length(contents) >= 42, "The recording is truncated: it ends in its header."
    )
    packed = _integer(contents, 18, 8, big_endian=True)  # 20 bits of rate, 3 channels, 5 depth, 36 length
    sample_rate = tf.bitwise.right_shift(packed, 44) & 0xFFFFF
    bits = (tf.bitwise.right_shift(packed, 36) & 31) + 1
    promised = packed & (2**36 - 1)
    message = _sentence("The recording is FLAC of ", bits, f" bits, which tensorflow-io does not decode; {_AUTO}.")
    contents = _require(contents, tf.reduce_any(tf.equal(bits, [8, 16, 24])), message)
    samples = tf.switch_case(
        tf.cast(bits // 8 - 1, tf.int32),
        [functools.partial(_flac_samples, contents, dtype) for dtype in (tf.uint8, tf.int16, tf.int32)],
    )
    present = tf.shape(samples, tf.int64)[0]
    message = _sentence(
        "The recording is truncated: its header promises ", promised, " samples, ", present, " are there."
    )
    return _mono(_require(samples, present >= promised, message)), tf.cast(sample_rate, tf.int32)


def _flac_samples(contents: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    samples = tf.cast(_tensorflow_io().decode_flac(contents, dtype=dtype), tf.float32)
    if dtype == tf.uint8:
        return (samples - 128.0) / 128.0
    return samples / (2.0**15 if dtype == tf.int16 else 2.0**31)


def _decode_vorbis(contents: tf.Tensor) -> Decoded:
    """Ogg Vorbis, whose identification header begins at byte 28 of the first page."""
    contents = _require(
        contents, tf.strings.length(contents) >= 58, "The recording is truncated: it ends in its header."
    )
    return _mono(_tensorflow_io().decode_vorbis(contents)), tf.cast(_integer(contents, 40, 4), tf.int32)


def _decode_mp3(contents: tf.Tensor) -> Decoded:
    """MP3: the rate stands in the header of each of its frames, the first of which follows an ID3 tag."""
    head = tf.strings.join([tf.strings.substr(contents, 0, 10), tf.constant(b"\0" * 10)])
    digits = tf.cast(tf.io.decode_raw(tf.strings.substr(head, 6, 4), tf.uint8), tf.int32)
    tag = tf.reduce_sum(digits * [2**21, 2**14, 2**7, 1]) + 10
    tag = tf.where(tf.equal(tf.strings.substr(head, 0, 3), b"ID3"), tag, 0)
    tag = _require(tag, tag < tf.strings.length(contents), "The recording is truncated: this MP3 is all tag.")
    digits = tf.cast(tf.io.decode_raw(tf.strings.substr(contents, tag, 65_536), tf.uint8), tf.int32)
    digits = tf.pad(digits, [[0, 2]])
    version, rate = tf.bitwise.right_shift(digits[1:-1], 3) & 3, tf.bitwise.right_shift(digits[2:], 2) & 3
    is_frame = tf.equal(digits[:-2], 0xFF) & tf.equal(digits[1:-1] & 0xE6, 0xE2) & (version != 1) & (rate != 3)
    first = tf.argmax(is_frame)
    first = _require(first, tf.reduce_any(is_frame), f"The recording has no MP3 frame behind its tag; {_AUTO}.")
    rates = tf.constant([[11_025, 12_000, 8_000], [0, 0, 0], [22_050, 24_000, 16_000], [44_100, 48_000, 32_000]])
    return _mono(_tensorflow_io().decode_mp3(contents)), rates[version[first], rate[first]]


def _needs_tensorflow_io(name: str) -> Callable[[tf.Tensor], Decoded]:
    def refuse(contents: tf.Tensor) -> Decoded:
        message = (
            f"The recording is {name}, which engine=graph decodes with tensorflow-io alone, and that does not load "
            f"beside TensorFlow {tf.__version__}; {_AUTO} or install tfaudio[io]."
        )
        return _require(tf.zeros([0]), tf.constant(False), message), tf.constant(0)

    return refuse


def _refuse(contents: tf.Tensor) -> Decoded:
    head = tf.strings.join([tf.strings.substr(contents, 0, 64), tf.constant(b"\0" * 64)])
    name = tf.constant("of a format that engine=graph does not know")
    for position, text, known in ((0, b"OggS", "Ogg"), (28, b"OpusHead", "Ogg Opus"), (0, b"FORM", "AIFF")):
        name = tf.where(tf.equal(tf.strings.substr(head, position, len(text)), text), known, name)
    message = _sentence("The recording is ", name, f", or no audio at all; {_AUTO} or convert it to WAV.")
    return _require(tf.zeros([0]), tf.constant(False), message), tf.constant(0)
