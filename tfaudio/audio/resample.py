"""Change of sample rate inside the graph: a polyphase windowed sinc of core operators.

The source rate may be a tensor, known only when a file has been read. `tfaudio.runtime.audio` holds the
NumPy twin for devices; both take their kernel's shape from `tfaudio.config.RESAMPLER`.

Source: J. O. Smith, "Digital Audio Resampling", https://ccrma.stanford.edu/~jos/resample/ (the kernel);
the matrix of all phases is the layout of torchaudio and julius.
"""

from __future__ import annotations

import math

import tensorflow as tf

from tfaudio.config import RESAMPLER

# Outputs whose kernels stand in memory at a time where the kernel is interpolated: some 4 MB.
_CHUNK = 1024


def resample(waveform: tf.Tensor, source_rate: int | tf.Tensor, target_rate: int) -> tf.Tensor:
    """Resamples, with zero phase: sample k of the result lies at k / target_rate seconds.

    Flat to within 0.1 dB up to 0.9 of the lower Nyquist frequency; what would fold back is 80 dB down.
    Before the first and after the last sample there is silence.

    Args:
      waveform: float32 [..., n].
      source_rate: Hz, above 0; an integer or an int32 scalar tensor.
      target_rate: Hz, above 0.

    Returns:
      float32 [..., ceil(n * target_rate / source_rate)].

    Raises:
      ValueError: if a rate known in advance is below 1 Hz.
      tf.errors.InvalidArgumentError: if a rate known only at run time is.

    >>> resample(tf.zeros([2, 441]), 44_100, 16_000).shape
    TensorShape([2, 160])
    """
    known = tf.get_static_value(source_rate) if tf.is_tensor(source_rate) else source_rate
    if target_rate < 1 or (known is not None and known < 1):
        raise ValueError(f"Sample rates must be at least 1 Hz, not {known} and {target_rate}.")
    waveform = tf.convert_to_tensor(waveform, tf.float32)
    if known is not None and int(known) == target_rate:
        return waveform
    source = tf.cast(source_rate, tf.int32)
    checks = [] if known is not None else [tf.debugging.assert_positive(source, message="The sample rate is below 1.")]
    with tf.control_dependencies([c for c in checks if c is not None]):
        leading, num_samples = tf.shape(waveform)[:-1], tf.shape(waveform)[-1]
        rows = tf.reshape(waveform, [-1, num_samples])
        divisor = _greatest_common_divisor(source, tf.constant(target_rate, tf.int32))
    if known is not None:
        result = _resample_rows(rows, source // divisor, target_rate // divisor)
    else:
        result = tf.cond(
            tf.equal(source, target_rate),
            lambda: rows,
            lambda: _resample_rows(rows, source // divisor, target_rate // divisor),
        )
    result = tf.reshape(result, tf.concat([leading, tf.shape(result)[-1:]], axis=0))
    return tf.ensure_shape(result, waveform.shape[:-1].concatenate([None]))


def _greatest_common_divisor(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    return tf.while_loop(lambda a, b: b > 0, lambda a, b: (b, tf.math.floormod(a, b)), (a, b))[0]


def _half_width(down: tf.Tensor, up: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The kernel's reach to either side in source samples, exact (float64) and rounded up (int32)."""
    scale = tf.minimum(tf.constant(1.0, tf.float64), tf.cast(up, tf.float64) / tf.cast(down, tf.float64))
    reach = RESAMPLER.zero_crossings / (RESAMPLER.rolloff * scale)
    return reach, tf.cast(tf.math.ceil(reach), tf.int32)


def _kernel(distance: tf.Tensor, reach: tf.Tensor) -> tf.Tensor:
    """The windowed sinc at a distance in source samples, float64, up to a constant factor."""
    position = distance / reach  # -1 to 1 within the kernel
    angle = math.pi * RESAMPLER.zero_crossings * position
    sinc = tf.where(tf.equal(angle, 0.0), tf.ones_like(angle), tf.math.divide_no_nan(tf.sin(angle), angle))
    inside = tf.maximum(1.0 - tf.square(position), 0.0)
    window = tf.math.special.bessel_i0(RESAMPLER.kaiser_beta * tf.sqrt(inside))
    return tf.where(tf.abs(position) < 1.0, sinc * window, tf.zeros_like(sinc))


def _resample_rows(rows: tf.Tensor, down: tf.Tensor, up: tf.Tensor) -> tf.Tensor:
    """Takes float32 [rows, n] to [rows, ceil(n * up / down)]; down and up are coprime."""
    half = _half_width(down, up)[1]
    cycles = -(-2 * half // down)  # enough for a block to be as long as the kernel
    entries = tf.cast(cycles * down + 2 * half, tf.int64) * tf.cast(cycles * up, tf.int64)
    num_samples = tf.cast(tf.shape(rows)[1], tf.int64)
    length = -(-num_samples * tf.cast(up, tf.int64) // tf.cast(down, tf.int64))
    result = tf.cond(
        entries <= RESAMPLER.matrix_limit,
        lambda: _by_matrix(rows, down, up, cycles, tf.cast(length, tf.int32)),
        lambda: _by_interpolation(rows, down, up, tf.cast(length, tf.int32)),
    )
    return result


def _by_matrix(rows: tf.Tensor, down: tf.Tensor, up: tf.Tensor, cycles: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
    """One matrix product for each block of cycles * down samples; the fast path."""
    reach, half = _half_width(down, up)
    step, outputs = cycles * down, cycles * up
    matrix = _matrix(down, up, step + 2 * half, outputs, half, reach)
    blocks = -(-length // outputs)
    num_rows, num_samples = tf.shape(rows)[0], tf.shape(rows)[1]
    # A block reaches 2 * half <= step samples into the next one, so neighbours are all that a product needs:
    # no frames are copied out.
    total = (blocks + 1) * step
    padded = tf.pad(rows, [[0, 0], [half, tf.maximum(total - half - num_samples, 0)]])[:, :total]
    padded = tf.reshape(padded, [num_rows, blocks + 1, step])
    here = tf.reshape(padded[:, :-1], [-1, step])
    after = tf.reshape(padded[:, 1:, : 2 * half], [-1, 2 * half])
    result = tf.matmul(here, matrix[:step]) + tf.matmul(after, matrix[step:])
    return tf.reshape(result, [num_rows, blocks * outputs])[:, :length]


def _matrix(
    down: tf.Tensor, up: tf.Tensor, inputs: tf.Tensor, outputs: tf.Tensor, half: tf.Tensor, reach: tf.Tensor
) -> tf.Tensor:
    """float32 [inputs, outputs]; its columns are the kernel at each output's place, of sum 1."""
    # All distances are whole multiples of 1 / up, so each value of the kernel is computed once.
    table = _kernel(tf.cast(tf.range(half * up + 1), tf.float64) / tf.cast(up, tf.float64), reach)
    distance = tf.abs((tf.range(inputs) - half)[:, tf.newaxis] * up - tf.range(outputs)[tf.newaxis] * down)
    matrix = tf.gather(table, tf.minimum(distance, half * up))  # the table's last value is 0
    return tf.cast(matrix / tf.reduce_sum(matrix, axis=0), tf.float32)


def _by_interpolation(rows: tf.Tensor, down: tf.Tensor, up: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
    """Nearly coprime rates, such as 44,101 to 16,000 Hz: no table of all phases, bounded memory."""
    reach, half = _half_width(down, up)
    taps = 2 * half
    phases = tf.cast(tf.range(RESAMPLER.phases + 1), tf.float64) / RESAMPLER.phases
    bank = _kernel(tf.cast(tf.range(taps) - half + 1, tf.float64) - phases[:, tf.newaxis], reach)
    bank = tf.cast(bank / tf.reduce_sum(bank, axis=1, keepdims=True), tf.float32)
    padded = tf.pad(rows, [[0, 0], [half - 1, half + 1]])
    num_rows = tf.shape(rows)[0]

    def chunk(first: tf.Tensor, parts: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
        output = tf.range(first, tf.minimum(first + _CHUNK, length))
        place = tf.cast(output, tf.int64) * tf.cast(down, tf.int64)
        base = tf.cast(place // tf.cast(up, tf.int64), tf.int32)
        phase = tf.cast(place % tf.cast(up, tf.int64), tf.float64) * (RESAMPLER.phases / tf.cast(up, tf.float64))
        lower = tf.cast(phase, tf.int32)
        share = tf.cast(phase - tf.cast(lower, tf.float64), tf.float32)[:, tf.newaxis]
        kernel = tf.gather(bank, lower) * (1.0 - share) + tf.gather(bank, lower + 1) * share
        frames = tf.gather(padded, base[:, tf.newaxis] + tf.range(taps), axis=1)
        part = tf.einsum("rot,ot->or", frames, kernel)
        return first + _CHUNK, parts.write(first // _CHUNK, part)

    end = tf.maximum(length, 1)  # one empty chunk where there is nothing, since no chunk at all cannot be joined
    parts = tf.TensorArray(tf.float32, size=-(-end // _CHUNK), infer_shape=False, element_shape=[None, None])
    _, parts = tf.while_loop(lambda first, _: first < end, chunk, (tf.constant(0), parts), parallel_iterations=1)
    return tf.reshape(tf.transpose(parts.concat()), [num_rows, length])
