"""Encoded bytes to waveforms, told apart by what the bytes are and never by a file's name.

WAV can be decoded by core operators, on every TensorFlow. For FLAC, Ogg Vorbis and MP3 there are two ways:
tensorflow-io's operators, which need its library, and libsndfile (soundfile), called from the graph.

Which way is faster was measured in tf.data, ms of processor time a clip (5 s at 44.1 kHz; 2 x86-64 cores):

| format           | core operators | tensorflow-io | soundfile |
|------------------|----------------|---------------|-----------|
| WAV, 16-bit mono | 0.4            | 0.4           | 1.2       |
| WAV, 24-bit      | 2 to 4         | 1.3           | 1.8       |
| FLAC             |                | 18            | 3.6       |
| Ogg Vorbis       |                | 23            | 5.8       |
| MP3              |                | 12            | 3.8       |

So "auto" decodes the plain WAV in the graph and leaves all else to libsndfile. `tf.audio.decode_wav` takes 1.3 for
the first row and reads nothing but it, so it is not used.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from tfaudio.audio.resample import resample
from tfaudio.audio.wav import (
    AUTO,
    PLAIN_BYTES,
    PLAIN_WAV,
    TRUNCATED,
    Decoded,
    decode_plain_wav,
    decode_wav,
    is_wav,
    mono,
    require,
    usable,
    word,
    words_at,
)
from tfaudio.sound_file import DecodeError, diagnose, read_bytes

__all__ = ["DecodeError", "Engine", "decode", "diagnose", "load", "read_bytes", "resample_any", "tensorflow_io_loads"]

Engine = Literal["auto", "graph", "soundfile"]

# Hz, of nearly all recordings.
_COMMON_RATES = (8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000)


def load(
    contents: tf.Tensor | bytes, sample_rate: int, *, engine: Engine = "auto", source_rate: int | None = None
) -> Decoded:
    """Decodes a recording and resamples it: `decode`, then `resample`.

    Args:
      contents: as `decode` takes them.
      sample_rate: Hz, of the result.
      engine: as `decode` takes it.
      source_rate: Hz, if it is known that the recording has this rate: a pipeline of a third of the operators.

    Returns:
      float32 [ceil(n * sample_rate / the recording's rate)], mono; the recording's rate, int32 [].

    Raises:
      tf.errors.InvalidArgumentError: as of `decode`, and if the recording has another rate than source_rate.
    """
    waveform, found = decode(contents, engine=engine)
    if source_rate is None:
        return resample_any(waveform, found, sample_rate), found
    waveform = require(
        waveform, tf.equal(found, source_rate),
        "The recording has ", found, f" Hz now, and had {source_rate} Hz when it was first read; start again.",
    )  # fmt: skip
    return resample(waveform, source_rate, sample_rate, expected_rates=[source_rate]), found


def resample_any(waveform: tf.Tensor, source_rate: tf.Tensor, sample_rate: int) -> tf.Tensor:
    """Resamples from a rate that only the run knows; from those of nearly all recordings by kernels made once."""
    return resample(waveform, source_rate, sample_rate, expected_rates=_COMMON_RATES)


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
    if engine == "auto":
        # Two operators: every one in a branch not taken still costs some microseconds, so none but these sniff.
        is_plain = tf.strings.regex_full_match(tf.strings.substr(contents, 0, PLAIN_BYTES), PLAIN_WAV)
        return tf.cond(is_plain, lambda: decode_plain_wav(contents), lambda: _by_soundfile(contents))
    contents = require(
        contents, tf.strings.length(contents) > 0, "The recording is empty (0 bytes); record or download it again."
    )
    branches: list[Callable[[tf.Tensor], Decoded]]
    branches = [decode_wav, _decode_flac, _decode_vorbis, _decode_mp3, _refuse]
    if not tensorflow_io_loads():
        branches[1:4] = [_needs_tensorflow_io(name) for name in ("FLAC", "Ogg Vorbis", "MP3")]
    waveform, sample_rate = tf.switch_case(_kind(contents), [functools.partial(b, contents) for b in branches])
    return usable(waveform, sample_rate)


def _kind(contents: tf.Tensor) -> tf.Tensor:
    """Tells the container by its first bytes: int32 [], the index of WAV, FLAC, Vorbis, MP3, anything else."""
    words = words_at(contents, 0, 9)
    is_flac = words[0] == word(b"fLaC")
    is_vorbis = (words[0] == word(b"OggS")) & (words[7] == word(b"\1vor")) & (words[8] == word(b"bis\0"))
    # An ID3 tag, or eleven bits of sync and the two that say layer III.
    is_mp3 = ((words[0] & 0xFFFFFF) == word(b"ID3\0")) | ((words[0] & 0xE6FF) == 0xE2FF)
    return tf.where(is_wav(contents), 0, tf.where(is_flac, 1, tf.where(is_vorbis, 2, tf.where(is_mp3, 3, 4))))


def _by_soundfile(contents: tf.Tensor) -> Decoded:
    # An exception in the function would come with a traceback through TensorFlow: hand the reason on instead.
    waveform, sample_rate, problem = tf.numpy_function(
        _read, [contents], [tf.float32, tf.int32, tf.string], stateful=False
    )
    waveform = require(waveform, tf.equal(tf.reshape(problem, []), ""), problem)
    return tf.ensure_shape(waveform, [None]), tf.ensure_shape(sample_rate, [])


@tf.autograph.experimental.do_not_convert
def _read(contents: bytes) -> tuple[np.ndarray, np.int32, bytes]:
    try:
        waveform, sample_rate = read_bytes(contents, "The recording")
    except DecodeError as error:
        return np.zeros(0, np.float32), np.int32(0), str(error).encode()
    return waveform, np.int32(sample_rate), b""


def _decode_flac(contents: tf.Tensor) -> Decoded:
    """FLAC, whose STREAMINFO begins at byte 8."""
    head = tf.strings.join([tf.strings.substr(contents, 0, 26), tf.constant(b"\0" * 26)])
    digits = tf.io.decode_raw(tf.strings.substr(head, 18, 8), tf.uint8)
    weights = tf.constant([256**i for i in range(7, -1, -1)], tf.int64)
    packed = tf.reduce_sum(tf.cast(digits, tf.int64) * weights)  # bits: 20 of rate, 3 channels, 5 depth, 36 length
    sample_rate = tf.bitwise.right_shift(packed, 44) & 0xFFFFF
    bits = (tf.bitwise.right_shift(packed, 36) & 31) + 1
    promised = packed & (2**36 - 1)
    contents = require(
        contents, tf.reduce_any(tf.equal(bits, [8, 16, 24])),
        "The recording is FLAC of ", bits, f" bits, which tensorflow-io does not decode; {AUTO}.",
    )  # fmt: skip
    samples = tf.switch_case(
        tf.cast(bits // 8 - 1, tf.int32),
        [functools.partial(_flac_samples, contents, dtype) for dtype in (tf.uint8, tf.int16, tf.int32)],
    )
    present = tf.shape(samples, tf.int64)[0]
    samples = require(
        samples,
        present >= promised,
        TRUNCATED[0], promised, TRUNCATED[1], present, TRUNCATED[2],
    )  # fmt: skip
    return mono(samples), tf.cast(sample_rate, tf.int32)


def _flac_samples(contents: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    samples = tf.cast(_tensorflow_io().decode_flac(contents, dtype=dtype), tf.float32)
    if dtype == tf.uint8:
        return (samples - 128.0) / 128.0
    return samples / (2.0**15 if dtype == tf.int16 else 2.0**31)


def _decode_vorbis(contents: tf.Tensor) -> Decoded:
    """Ogg Vorbis, whose identification header begins at byte 28 of the first page."""
    return mono(_tensorflow_io().decode_vorbis(contents)), words_at(contents, 0, 11)[10]


def _decode_mp3(contents: tf.Tensor) -> Decoded:
    """MP3: the rate stands in the header of each of its frames, the first of which follows an ID3 tag."""
    head = tf.strings.join([tf.strings.substr(contents, 0, 10), tf.constant(b"\0" * 10)])
    digits = tf.cast(tf.io.decode_raw(tf.strings.substr(head, 6, 4), tf.uint8), tf.int32)
    tag = tf.reduce_sum(digits * [2**21, 2**14, 2**7, 1]) + 10
    tag = tf.where(tf.equal(tf.strings.substr(head, 0, 3), b"ID3"), tag, 0)
    tag = require(tag, tag < tf.strings.length(contents), "The recording is truncated: this MP3 is all tag.")
    digits = tf.cast(tf.io.decode_raw(tf.strings.substr(contents, tag, 65_536), tf.uint8), tf.int32)
    digits = tf.pad(digits, [[0, 2]])
    version, rate = tf.bitwise.right_shift(digits[1:-1], 3) & 3, tf.bitwise.right_shift(digits[2:], 2) & 3
    is_frame = tf.equal(digits[:-2], 0xFF) & tf.equal(digits[1:-1] & 0xE6, 0xE2) & (version != 1) & (rate != 3)
    first = tf.argmax(is_frame)
    first = require(first, tf.reduce_any(is_frame), f"The recording has no MP3 frame behind its tag; {AUTO}.")
    rates = tf.constant([[11_025, 12_000, 8_000], [0, 0, 0], [22_050, 24_000, 16_000], [44_100, 48_000, 32_000]])
    return mono(_tensorflow_io().decode_mp3(contents)), rates[version[first], rate[first]]


def _needs_tensorflow_io(name: str) -> Callable[[tf.Tensor], Decoded]:
    def refuse(contents: tf.Tensor) -> Decoded:
        message = (
            f"The recording is {name}, which engine=graph decodes with tensorflow-io alone, and that does not load "
            f"beside TensorFlow {tf.__version__}; {AUTO} or install tfaudio[io]."
        )
        return require(tf.zeros([0]), tf.constant(False), message), tf.constant(0)

    return refuse


def _refuse(contents: tf.Tensor) -> Decoded:
    words = words_at(contents, 0, 9)
    name = tf.constant("of a format that engine=graph does not know")
    for place, text, known in ((0, b"OggS", "Ogg"), (7, b"Opus", "Ogg Opus"), (0, b"FORM", "AIFF")):
        name = tf.where(words[place] == word(text), known, name)
    message = ("The recording is ", name, f", or no audio at all; {AUTO} or convert it to WAV.")
    return require(tf.zeros([0]), tf.constant(False), *message), tf.constant(0)
