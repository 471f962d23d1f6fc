"""Change of sample rate inside the graph: a polyphase windowed sinc of core operators.

The source rate may be a tensor, known only when a file has been read. `tfaudio.runtime.audio` holds the
NumPy twin for devices; both take their kernel's shape from `tfaudio.config.RESAMPLER`, unless asked for another.

Source: J. O. Smith, "Digital Audio Resampling", https://ccrma.stanford.edu/~jos/resample/ (the kernel);
the matrix of all phases is the layout of torchaudio and julius.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfaudio.config import RESAMPLER, ResamplerKernel

# Outputs whose kernels stand in memory at a time where the kernel is interpolated: some 4 MB.
_CHUNK = 1024
_ALIGNMENT = 16  # floats: a stretch of a vector that begins at a multiple is handed on without a copy


def resample(
    waveform: tf.Tensor,
    source_rate: int | tf.Tensor,
    target_rate: int,
    *,
    expected_rates: Sequence[int] = (),
    kernel: ResamplerKernel = RESAMPLER,
) -> tf.Tensor:
    """Resamples, with zero phase: sample k of the result lies at k / target_rate seconds.

    By default flat to within 0.1 dB up to 0.9 of the lower Nyquist frequency, with what would fold back 80 dB down.
    Before the first and after the last sample there is silence.

    Args:
      waveform: float32 [..., n].
      source_rate: Hz, above 0; an integer or an int32 scalar tensor.
      target_rate: Hz, above 0.
      expected_rates: Hz, of sources whose kernels are computed in advance and kept in memory. No value changes, but
        the kernel from 44.1 kHz takes longer than five seconds of sound.
      kernel: the low pass; a shorter one is cheaper and less steep.

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
    if known is None:
        result = _switch(rows, source, target_rate, kernel, _prepare(tuple(expected_rates), target_rate, kernel))
    else:
        kernels = _prepare((int(known),) if known in expected_rates else (), target_rate, kernel)
        if kernels is None:
            result = _by_any_rates(kernel)(rows, source, target_rate)
        else:
            result = _by_prepared_kernel(rows, source, kernels)
    result = tf.reshape(result, tf.concat([leading, tf.shape(result)[-1:]], axis=0))
    return tf.ensure_shape(result, waveform.shape[:-1].concatenate([None]))


def _switch(
    rows: tf.Tensor, source: tf.Tensor, target_rate: int, kernel: ResamplerKernel, kernels: _Kernels | None
) -> tf.Tensor:
    """Resamples from a rate that only the run knows."""

    by_any = _by_any_rates(kernel)

    def change() -> tf.Tensor:
        if kernels is None:
            return by_any(rows, source, target_rate)
        return tf.cond(
            tf.reduce_any(tf.equal(source, kernels.rates)),
            lambda: _by_prepared_kernel(rows, source, kernels),
            lambda: by_any(rows, source, target_rate),
        )

    return tf.cond(tf.equal(source, target_rate), lambda: rows, change)


class _Kernels(NamedTuple):
    """Resampling matrices in memory.

    Args:
      rates: int32 [n], of the sources, Hz.
      layout: int32 [n, 5]; of each: half width, samples in and out of a block, start and length in `values`.
      values: float32 [sum of lengths]; all matrices one after the other.
    """

    rates: tf.Tensor
    layout: tf.Tensor
    values: tf.Tensor


@functools.lru_cache(maxsize=8)
def _prepare(rates: tuple[int, ...], target_rate: int, kernel: ResamplerKernel) -> _Kernels | None:
    """Computes what the rates need, where they have a matrix at all; None if none has."""
    kept, layout, values, start = [], [], [], 0
    # Outside of any graph, so that graphs take the values in by reference.
    with tf.init_scope(), tf.device("CPU:0"):
        for rate in rates:
            divisor = math.gcd(rate, target_rate)
            plan = _plan(tf.constant(rate // divisor), tf.constant(target_rate // divisor), kernel)
            if rate == target_rate or not plan.fits:
                continue
            matrix = _matrix(plan).numpy().ravel()
            kept.append(rate)
            layout.append([int(plan.half), int(plan.step), int(plan.outputs), start, len(matrix)])
            values.append(np.pad(matrix, [0, -len(matrix) % _ALIGNMENT]))
            start += len(values[-1])
        if not kept:
            return None
        return _Kernels(tf.constant(kept), tf.constant(layout), tf.constant(np.concatenate(values)))


def _by_prepared_kernel(rows: tf.Tensor, source: tf.Tensor, kernels: _Kernels) -> tf.Tensor:
    place = tf.argmax(tf.equal(source, kernels.rates))
    half, step, outputs, start, size = tf.unstack(tf.gather(kernels.layout, place))
    matrix = tf.reshape(tf.slice(kernels.values, [start], [size]), [step, 2 * outputs])
    return _by_matrix(rows, matrix, half, step, outputs)


@functools.cache
def _by_any_rates(kernel: ResamplerKernel) -> Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]:
    """A function of rows, source and target rate."""

    @functools.partial(
        tf.function,
        input_signature=[tf.TensorSpec([None, None]), tf.TensorSpec([], tf.int32), tf.TensorSpec([], tf.int32)],
        autograph=False,
        # Built when it is first called: as a part of every pipeline's graph it cost each pass a tenth of a second.
        experimental_attributes={"_noinline": True},
    )
    def change(rows: tf.Tensor, source: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
        divisor = _greatest_common_divisor(source, target)
        plan = _plan(source // divisor, target // divisor, kernel)
        return tf.cond(
            plan.fits,
            lambda: _by_matrix(rows, _matrix(plan), plan.half, plan.step, plan.outputs),
            lambda: _by_interpolation(rows, plan),
        )

    return change


def _greatest_common_divisor(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    return tf.while_loop(lambda a, b: b > 0, lambda a, b: (b, tf.math.floormod(a, b)), (a, b))[0]


def _half_width(down: tf.Tensor, up: tf.Tensor, kernel: ResamplerKernel) -> tuple[tf.Tensor, tf.Tensor]:
    """The kernel's reach to either side in source samples, exact (float64) and rounded up (int32)."""
    scale = tf.minimum(tf.constant(1.0, tf.float64), tf.cast(up, tf.float64) / tf.cast(down, tf.float64))
    reach = kernel.zero_crossings / (kernel.rolloff * scale)
    return reach, tf.cast(tf.math.ceil(reach), tf.int32)


def _values(distance: tf.Tensor, reach: tf.Tensor, kernel: ResamplerKernel) -> tf.Tensor:
    """The windowed sinc at a distance in source samples, float64, up to a constant factor."""
    position = distance / reach  # -1 to 1 within the kernel
    angle = math.pi * kernel.zero_crossings * position
    sinc = tf.where(tf.equal(angle, 0.0), tf.ones_like(angle), tf.math.divide_no_nan(tf.sin(angle), angle))
    inside = tf.maximum(1.0 - tf.square(position), 0.0)
    window = tf.math.special.bessel_i0(kernel.kaiser_beta * tf.sqrt(inside))
    return tf.where(tf.abs(position) < 1.0, sinc * window, tf.zeros_like(sinc))


class _Plan(NamedTuple):
    """How two rates are resampled; scalars, int32 but for `fits` and `kernel`.

    Args:
      down: the source rate, and
      up: the target rate, both divided by what they have in common.
      half: the kernel's reach to either side, in source samples.
      step: source samples from one block to the next.
      outputs: samples that a block gives.
      fits: whether a block's matrix is small enough to be made.
      kernel: the low pass.
    """

    down: tf.Tensor
    up: tf.Tensor
    half: tf.Tensor
    step: tf.Tensor
    outputs: tf.Tensor
    fits: tf.Tensor
    kernel: ResamplerKernel


def _plan(down: tf.Tensor, up: tf.Tensor, kernel: ResamplerKernel) -> _Plan:
    half = _half_width(down, up, kernel)[1]
    cycles = -(-2 * half // down)  # enough for a block to be as long as the kernel
    entries = tf.cast(cycles * down + 2 * half, tf.int64) * tf.cast(cycles * up, tf.int64)
    return _Plan(down, up, half, cycles * down, cycles * up, entries <= kernel.matrix_limit, kernel)


def _resampled_length(rows: tf.Tensor, down: tf.Tensor, up: tf.Tensor) -> tf.Tensor:
    """int32 []: ceil(n * up / down)."""
    num_samples = tf.cast(tf.shape(rows)[1], tf.int64)
    return tf.cast(-(-num_samples * tf.cast(up, tf.int64) // tf.cast(down, tf.int64)), tf.int32)


def _by_matrix(rows: tf.Tensor, matrix: tf.Tensor, half: tf.Tensor, step: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
    """One matrix product for each block of `step` samples; the fast path."""
    length = _resampled_length(rows, step, outputs)
    blocks = -(-length // outputs)
    num_rows, num_samples = tf.shape(rows)[0], tf.shape(rows)[1]
    # A block reaches 2 * half <= step samples into the next one. Each is multiplied once with both parts of the kernel,
    # the second of which belongs to the block before, so that no samples are copied out.
    total = (blocks + 1) * step
    padded = tf.pad(rows, [[0, 0], [half, tf.maximum(total - half - num_samples, 0)]])[:, :total]
    products = tf.matmul(tf.reshape(padded, [-1, step]), matrix)
    products = tf.reshape(products, [num_rows, blocks + 1, 2, outputs])
    result = products[:, :-1, 0] + products[:, 1:, 1]
    return tf.reshape(result, [num_rows, blocks * outputs])[:, :length]


def _matrix(plan: _Plan) -> tf.Tensor:
    """float32 [step, 2 * outputs]: what a block's samples give to its own outputs, and to those of the block before.

    Both parts, one above the other, hold the kernel at each output's place in their columns, of sum 1.
    """
    reach, up = _half_width(plan.down, plan.up, plan.kernel)[0], plan.up
    # All distances are whole multiples of 1 / up, so each value of the kernel is computed once.
    steps = tf.cast(tf.range(plan.half * up + 1), tf.float64)
    table = _values(steps / tf.cast(up, tf.float64), reach, plan.kernel)
    inputs, outputs = tf.range(2 * plan.step), tf.range(plan.outputs)
    distance = tf.abs((inputs - plan.half)[:, tf.newaxis] * up - outputs[tf.newaxis] * plan.down)
    matrix = tf.gather(table, tf.minimum(distance, plan.half * up))  # the table's last value is 0
    matrix = tf.cast(matrix / tf.reduce_sum(matrix, axis=0), tf.float32)
    return tf.concat([matrix[: plan.step], matrix[plan.step :]], axis=1)


def _by_interpolation(rows: tf.Tensor, plan: _Plan) -> tf.Tensor:
    """Nearly coprime rates, such as 44,101 to 16,000 Hz: no table of all phases, bounded memory."""
    down, up, kernel = plan.down, plan.up, plan.kernel
    length = _resampled_length(rows, down, up)
    reach, half = _half_width(down, up, kernel)
    taps = 2 * half
    phases = tf.cast(tf.range(kernel.phases + 1), tf.float64) / kernel.phases
    bank = _values(tf.cast(tf.range(taps) - half + 1, tf.float64) - phases[:, tf.newaxis], reach, kernel)
    bank = tf.cast(bank / tf.reduce_sum(bank, axis=1, keepdims=True), tf.float32)
    padded = tf.pad(rows, [[0, 0], [half - 1, half + 1]])
    num_rows = tf.shape(rows)[0]

    def chunk(first: tf.Tensor, parts: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
        output = tf.range(first, tf.minimum(first + _CHUNK, length))
        place = tf.cast(output, tf.int64) * tf.cast(down, tf.int64)
        base = tf.cast(place // tf.cast(up, tf.int64), tf.int32)
        phase = tf.cast(place % tf.cast(up, tf.int64), tf.float64) * (kernel.phases / tf.cast(up, tf.float64))
        lower = tf.cast(phase, tf.int32)
        share = tf.cast(phase - tf.cast(lower, tf.float64), tf.float32)[:, tf.newaxis]
        weights = tf.gather(bank, lower) * (1.0 - share) + tf.gather(bank, lower + 1) * share
        frames = tf.gather(padded, base[:, tf.newaxis] + tf.range(taps), axis=1)
        part = tf.einsum("rot,ot->or", frames, weights)
        return first + _CHUNK, parts.write(first // _CHUNK, part)

    end = tf.maximum(length, 1)  # one empty chunk where there is nothing, since no chunk at all cannot be joined
    parts = tf.TensorArray(tf.float32, size=-(-end // _CHUNK), infer_shape=False, element_shape=[None, None])
    _, parts = tf.while_loop(lambda first, _: first < end, chunk, (tf.constant(0), parts), parallel_iterations=1)
    return tf.reshape(tf.transpose(parts.concat()), [num_rows, length])
