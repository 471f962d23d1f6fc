"""What TFLite files cost on this machine: time, memory, time by operator, multiplications; no TensorFlow."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tfaudio.errors import TfaudioError, first_line
from tfaudio.export.flatbuffer import only_graph, parse
from tfaudio.export.single_operator import one_operator
from tfaudio.export.work import Work, work_of
from tfaudio.interpreter import interpreter_module
from tfaudio.memory import memory_of

_CALLS_A_ROUND = 10  # of one file, before the next one has its turn
_OPERATOR_CALLS, _OPERATOR_SECONDS = 50, 0.2


@dataclass(frozen=True)
class Latency:
    """Times of one call, in ms.

    Args:
      threads: of the interpreter.
      median: of all calls.
      p99: the time that one call in a hundred exceeds.
      calls: that were timed.
    """

    threads: int
    median: float
    p99: float
    calls: int


@dataclass(frozen=True)
class OperatorTime:
    """One kind of operator in a file.

    Args:
      operator: its kind.
      count: of such operators.
      ms: sum of their medians, each run alone on one thread.
      macs: multiplications with addition.
    """

    operator: str
    count: int
    ms: float
    macs: int


@dataclass(frozen=True)
class Benchmark:
    """What one file costs.

    Args:
      path: the file.
      size_bytes: of it.
      latencies: by number of threads.
      memory_bytes: that an interpreter of it takes; None where the system does not tell.
      operators: by kind, the costliest first.
      macs: by arithmetic: "float32", "int8", "int16x8".
      energy_microjoules: a proxy, of the multiplications alone; see `tfaudio.export.work`.
    """

    path: str
    size_bytes: int
    latencies: tuple[Latency, ...]
    memory_bytes: int | None
    operators: tuple[OperatorTime, ...]
    macs: dict[str, int]
    energy_microjoules: float


def run_benchmark(paths: Sequence[str | Path], *, threads: Sequence[int] = (1,), calls: int = 200) -> list[Benchmark]:
    """Measures files side by side: they take turns, so that what else the machine does falls on all of them alike.

    Args:
      paths: TFLite files, of this package or of others.
      threads: numbers of threads to measure with.
      calls: to time, of each file and number of threads.

    Raises:
      TfaudioError: if a file is none, does not run, or branches inside.
    """
    contents = [_read(Path(path)) for path in paths]
    runners = {
        (index, count): _Runner(content, str(paths[index]), count)
        for count in threads
        for index, content in enumerate(contents)
    }
    for path, content in zip(paths, contents, strict=True):  # those that load, before anything is timed
        try:
            only_graph(parse(content))
        except TfaudioError as error:
            raise TfaudioError(f"{path}: {error}") from error
    times: dict[tuple[int, int], list[float]] = {key: [] for key in runners}
    for runner in runners.values():
        runner.call()
        runner.call()
    for done in range(0, calls, _CALLS_A_ROUND):
        for key, runner in runners.items():
            times[key] += [runner.timed_call() for _ in range(min(_CALLS_A_ROUND, calls - done))]
    results = []
    for index, (path, content) in enumerate(zip(paths, contents, strict=True)):
        work = work_of(parse(content))
        results.append(
            Benchmark(
                path=str(path),
                size_bytes=len(content),
                latencies=tuple(_latency(count, times[index, count]) for count in threads),
                memory_bytes=memory_of(path),
                operators=tuple(_by_kind(work, operator_times(content, str(path)))),
                macs={a: sum(w.macs for w in work if w.arithmetic == a) for a in sorted({w.arithmetic for w in work})},
                energy_microjoules=sum(w.energy_microjoules for w in work),
            )
        )
    return results


def operator_times(content: bytes, name: str) -> list[float]:
    """Times each operator of a file alone, on one thread, with the values that it gets in the whole.

    The interpreter's own profiler cannot be reached from Python. A file of one operator at a time needs no difference
    of two measurements, as the growth of the file's beginnings would; but kernels that work hand in hand in the whole
    are torn apart, so that the sum is not quite the whole's time.

    Returns:
      Medians in ms, in the order of execution; 0 for what is computed once, when a file is loaded.
    """
    model = parse(content)
    graph = only_graph(model)
    values = _Runner(content, name, 1, keep=True)
    values.call()
    result = []
    for index in range(len(graph.operators)):
        part = one_operator(model, index)
        if part is None:
            result.append(0.0)
            continue
        runner = _Runner(part.content, name, 1, inputs=[values.value(tensor) for tensor in part.inputs])
        runner.call()
        times: list[float] = []
        start = time.perf_counter()
        while len(times) < _OPERATOR_CALLS and (len(times) < 3 or time.perf_counter() - start < _OPERATOR_SECONDS):
            times.append(runner.timed_call())
        result.append(float(np.median(times)))
    return result


def _read(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise TfaudioError(f"The model {path} cannot be read: {error.strerror}; name a .tflite file.") from error
    if content[4:8] != b"TFL3":
        raise TfaudioError(f"{path} is not a TFLite file; name one.")
    return content


def _latency(threads: int, times: Sequence[float]) -> Latency:
    return Latency(threads, float(np.median(times)), float(np.percentile(times, 99)), len(times))


def _by_kind(work: Sequence[Work], times: Sequence[float]) -> Iterator[OperatorTime]:
    kinds: dict[str, list[int]] = {}
    for item in work:
        kinds.setdefault(item.operator, []).append(item.index)
    rows = [
        OperatorTime(kind, len(at), sum(times[i] for i in at), sum(work[i].macs for i in at))
        for kind, at in kinds.items()
    ]
    yield from sorted(rows, key=lambda row: -row.ms)


class _Runner:
    """An interpreter of a file with its inputs set: noise at a twentieth of full scale, or what is given."""

    def __init__(
        self,
        content: bytes,
        name: str,
        num_threads: int,
        *,
        inputs: Sequence[npt.NDArray[Any]] | None = None,
        keep: bool = False,
    ) -> None:
        self._name = name
        module = interpreter_module()
        kind = module.OpResolverType
        try:
            self._interpreter = module.Interpreter(
                model_content=content,
                num_threads=num_threads,
                # Only without delegates does every tensor keep its values.
                experimental_op_resolver_type=kind.BUILTIN_WITHOUT_DEFAULT_DELEGATES if keep else kind.AUTO,
                experimental_preserve_all_tensors=keep,
            )
            self._interpreter.allocate_tensors()
            details = self._interpreter.get_input_details()
            for entry, given in zip(details, inputs or [_noise(entry) for entry in details], strict=True):
                self._interpreter.set_tensor(entry["index"], given)
        except (ValueError, RuntimeError) as error:
            raise TfaudioError(f"{name} does not run: {first_line(error)}") from error

    def call(self) -> None:
        """Calls once.

        Raises:
          TfaudioError: if that fails.
        """
        try:
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise TfaudioError(f"{self._name} does not run: {first_line(error)}") from error

    def timed_call(self) -> float:
        """Calls once; returns the time in ms."""
        start = time.perf_counter()
        self.call()
        return (time.perf_counter() - start) * 1e3

    def value(self, tensor: int) -> npt.NDArray[Any]:
        values: npt.NDArray[Any] = self._interpreter.get_tensor(tensor)
        return values


def _noise(entry: dict[str, Any]) -> npt.NDArray[Any]:
    noise = np.random.default_rng(0).uniform(-0.05, 0.05, entry["shape"])
    return noise.astype(entry["dtype"])  # integers are all zeros
