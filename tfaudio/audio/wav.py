"""WAV by core operators alone, and what else reads headers inside a graph.

Control flow is costly there: a branch not taken still costs some microseconds an operator.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from tfaudio.config import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE
from tfaudio.sound_file import SOX_UNKNOWN_SIZE, UNKNOWN_SIZE

Decoded = tuple[tf.Tensor, tf.Tensor]

AUTO = "decode it with libsndfile (--engine=auto)"
TRUNCATED = ("The recording is truncated: its header promises ", " samples, ", " are there; copy it again.")


def require(tensor: tf.Tensor, condition: tf.Tensor, *message: Any) -> tf.Tensor:
    """Passes a tensor on if a condition holds, and else stops with a sentence made of strings and numbers."""
    parts = [tf.strings.as_string(p) if tf.is_tensor(p) and p.dtype != tf.string else p for p in message]
    sentence = parts[0] if len(parts) == 1 else tf.strings.join(parts)
    with tf.control_dependencies([tf.debugging.Assert(condition, [sentence])]):
        return tf.identity(tensor)


def words_at(contents: tf.Tensor, position: int | tf.Tensor, count: int) -> list[tf.Tensor]:
    """Reads 32-bit little-endian words, int32 []; what lies beyond the end reads as 0."""
    part = tf.strings.join([tf.strings.substr(contents, position, 4 * count), tf.constant(b"\0" * 4 * count)])
    return tf.unstack(tf.io.decode_raw(tf.strings.substr(part, 0, 4 * count), tf.int32), num=count)


def word(text: bytes) -> int:
    """Four bytes as `words_at` reads them."""
    return int.from_bytes(text, "little", signed=True)


def _unsigned(word: tf.Tensor) -> tf.Tensor:
    return tf.cast(word, tf.int64) & 0xFFFFFFFF


def usable(waveform: tf.Tensor, sample_rate: tf.Tensor) -> Decoded:
    """Passes on a waveform that holds samples, at a rate that can be meant."""
    sample_rate = require(
        sample_rate, (sample_rate >= MIN_SAMPLE_RATE) & (sample_rate <= MAX_SAMPLE_RATE),
        "The recording claims a sample rate of ", sample_rate,
        f" Hz; rates of {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE} Hz can be used.",
    )  # fmt: skip
    waveform = require(
        waveform, tf.size(waveform) > 0, "The recording holds no samples; leave it out or record it again."
    )
    return tf.ensure_shape(waveform, [None]), tf.ensure_shape(sample_rate, [])


def mono(samples: tf.Tensor) -> tf.Tensor:
    """float32 [n, channels] to [n]."""
    return tf.cond(tf.shape(samples)[1] > 1, lambda: tf.reduce_mean(samples, axis=1), lambda: tf.reshape(samples, [-1]))


# Mono, 16-bit PCM, the header of 44 bytes that nearly all programs write. \C is any byte to RE2.
PLAIN_WAV = r"RIFF\C{4}WAVEfmt \x10\x00{3}\x01\x00\x01\x00\C{8}\x02\x00\x10\x00data\C{4}"
PLAIN_BYTES = 44


def decode_plain_wav(contents: tf.Tensor) -> Decoded:
    """Decodes what begins with PLAIN_WAV: no chunks to walk, hence a tenth of the operators of `decode_wav`."""
    header = tf.io.decode_raw(tf.strings.substr(contents, 24, 20), tf.int32)
    length, present = header[4], tf.strings.length(contents) - PLAIN_BYTES
    length = tf.where((length == -1) | (length == SOX_UNKNOWN_SIZE), present, length)
    contents = require(
        contents,
        (length >= 0) & (length // 2 <= present // 2),
        TRUNCATED[0], length // 2, TRUNCATED[1], present // 2, TRUNCATED[2],
    )  # fmt: skip
    return usable(_pcm16(tf.strings.substr(contents, PLAIN_BYTES, length // 2 * 2)), header[0])


class _Wav(NamedTuple):
    """What the header of a WAV says; int32 scalars, and int64 for positions and lengths in bytes."""

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

    def more(position: tf.Tensor, data: tf.Tensor, *_: tf.Tensor) -> tf.Tensor:
        return (data < 0) & (position + 8 <= size)

    def step(position: tf.Tensor, data: tf.Tensor, length: tf.Tensor, fmt: tf.Tensor, ds64: tf.Tensor) -> Any:
        name, length = words_at(contents, position, 2)
        body, length = position + 8, _unsigned(length)
        data = tf.where(name == word(b"data"), body, data)
        fmt = tf.where(name == word(b"fmt "), body, fmt)
        ds64 = tf.where(name == word(b"ds64"), body, ds64)
        return body + length + length % 2, data, length, fmt, ds64

    nowhere = tf.constant(-1, tf.int64)
    first = (tf.constant(12, tf.int64), nowhere, tf.constant(0, tf.int64), nowhere, nowhere)
    _, data, length, fmt, ds64 = tf.while_loop(more, step, first)
    data = require(data, data >= 0, "The recording is truncated: this WAV ends before its samples begin.")
    fmt = require(fmt, fmt >= 0, "The recording is damaged: this WAV does not state its format.")
    words = words_at(contents, fmt, 7)
    tag, channels = words[0] & 0xFFFF, tf.bitwise.right_shift(words[0], 16) & 0xFFFF

    def open_length() -> tf.Tensor:
        # RF64 keeps lengths of 64 bits elsewhere. A program that writes into a pipe cannot go back to fill in
        # the length: its samples go on to the end.
        low, high = words_at(contents, tf.maximum(ds64, 0) + 8, 2)
        return tf.where(ds64 >= 0, _unsigned(low) + _unsigned(high) * 2**32, size - data)

    frame_bytes = words[3] & 0xFFFF
    of_sox = (length <= SOX_UNKNOWN_SIZE) & (length > SOX_UNKNOWN_SIZE - _unsigned(frame_bytes))
    return _Wav(
        tag=tf.where(tag == 0xFFFE, words[6] & 0xFFFF, tag),  # EXTENSIBLE: the coding is in its GUID
        channels=channels,
        sample_rate=words[1],
        frame_bytes=frame_bytes,
        data_start=data,
        data_length=tf.cond((length == UNKNOWN_SIZE) | of_sox, open_length, lambda: length),
        size=size,
    )


def is_wav(contents: tf.Tensor) -> tf.Tensor:
    """Tells WAV and RF64 by their first bytes; bool []."""
    first, _, third = words_at(contents, 0, 3)
    return ((first == word(b"RIFF")) | (first == word(b"RF64"))) & (third == word(b"WAVE"))


def decode_wav(contents: tf.Tensor, *, way_out: str = f"{AUTO} or convert it to 16-bit PCM") -> Decoded:
    """Decodes any WAV or RF64 of linear or floating-point samples; float32 [n], mono, and int32 [] Hz.

    Args:
      contents: of which `is_wav` holds.
      way_out: what to do about samples that are coded otherwise.

    Raises:
      tf.errors.InvalidArgumentError: if the samples are coded otherwise, or cut off.
    """
    header = _wav_header(contents)
    sample_bytes = header.frame_bytes // tf.maximum(header.channels, 1)
    match = tf.reduce_all(tf.equal([header.tag, sample_bytes], [k for k, _ in _CODINGS]), axis=1)
    contents = require(
        contents,
        tf.reduce_any(match),
        "The recording is a WAV of coding ", header.tag, " with ", sample_bytes, " bytes a sample, "
        f"which no operator of TensorFlow decodes; {way_out}.",
    )  # fmt: skip
    frame_bytes = tf.cast(tf.maximum(header.frame_bytes, 1), tf.int64)
    promised = header.data_length // frame_bytes
    present = (header.size - header.data_start) // frame_bytes
    start = require(
        header.data_start,
        present >= promised,
        TRUNCATED[0], promised, TRUNCATED[1], present, TRUNCATED[2],
    )  # fmt: skip
    raw = tf.strings.substr(contents, start, promised * frame_bytes)
    coding = tf.argmax(match, output_type=tf.int32)
    samples = tf.switch_case(coding, [functools.partial(convert, raw) for _, convert in _CODINGS])
    return mono(tf.reshape(samples, [-1, header.channels])), header.sample_rate


def _pcm8(raw: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.io.decode_raw(raw, tf.uint8), tf.float32) * 2.0**-7 - 1.0


def _pcm16(raw: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.io.decode_raw(raw, tf.int16), tf.float32) * 2.0**-15


def _pcm24(raw: tf.Tensor) -> tf.Tensor:
    digits = tf.reshape(tf.io.decode_raw(raw, tf.uint8), [-1, 3])
    return tf.cast(tf.bitcast(tf.pad(digits, [[0, 0], [1, 0]]), tf.int32), tf.float32) * 2.0**-31


def _pcm32(raw: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.io.decode_raw(raw, tf.int32), tf.float32) * 2.0**-31


def _floats(dtype: tf.DType, raw: tf.Tensor) -> tf.Tensor:
    samples = tf.cast(tf.io.decode_raw(raw, dtype), tf.float32)
    finite = tf.reduce_all(tf.math.is_finite(samples))
    return require(samples, finite, "The recording holds NaN or infinite samples; export it again from its source.")


# (format tag, bytes a sample) of a WAV, and what turns its bytes into floats.
_CODINGS: list[tuple[tuple[int, int], Callable[[tf.Tensor], tf.Tensor]]] = [
    ((1, 1), _pcm8),
    ((1, 2), _pcm16),
    ((1, 3), _pcm24),
    ((1, 4), _pcm32),
    ((3, 4), functools.partial(_floats, tf.float32)),
    ((3, 8), functools.partial(_floats, tf.float64)),
]
