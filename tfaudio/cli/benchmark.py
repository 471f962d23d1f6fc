"""`tfaudio benchmark`: what `.tflite` files cost on this machine, side by side."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from absl import flags

from tfaudio.cli import UsageError, command_line, refuse_arguments
from tfaudio.errors import TfaudioError
from tfaudio.export.report import number, text_table
from tfaudio.files import check_can_write, write_json

if TYPE_CHECKING:
    from tfaudio.export.benchmark import Benchmark

USAGE = """tfaudio benchmark --model=FILE.tflite[,FILE.tflite...] [--threads=1,2] [flags]

Measures `.tflite` files, of this package or of others: time of one call (median, and what one call in a hundred
exceeds), memory, time by operator, multiplications and the energy that they stand for. Files take turns, ten calls
each, so that what else the machine does falls on all of them alike. It takes no TensorFlow.

  tfaudio benchmark --model=export/birds/model_float32.tflite,export/birds/model_int8.tflite --threads=1,2
"""


def define_flags(flag_values: flags.FlagValues) -> None:
    """Defines the command's flags."""
    flags.DEFINE_list("model", None, "Files to measure.", flag_values=flag_values)
    flags.DEFINE_list("threads", ["1"], "Numbers of threads to measure with.", flag_values=flag_values)
    flags.DEFINE_integer("calls", 200, "Calls to time.", flag_values=flag_values, lower_bound=1)
    flags.DEFINE_integer(
        "operators", 8, "Kinds of operator to list, the costliest first.", flag_values=flag_values, lower_bound=0
    )
    flags.DEFINE_string("json", None, "Also write the figures here.", flag_values=flag_values)
    flags.DEFINE_boolean("overwrite", False, "Replace that file.", flag_values=flag_values)
    flags.mark_flag_as_required("model", flag_values)


def main(flag_values: flags.FlagValues, arguments: list[str]) -> int:
    """Measures and prints."""
    refuse_arguments(arguments)
    threads = _threads(flag_values.threads)
    if not flag_values.model:
        raise UsageError("--model is empty; name a .tflite file.")
    if flag_values.json:
        check_can_write(flag_values.json, overwrite=flag_values.overwrite)
    from tfaudio.export.benchmark import run_benchmark

    results = run_benchmark(flag_values.model, threads=threads, calls=flag_values.calls)
    seconds = [_seconds_of_audio(path) for path in flag_values.model]
    print(_report(results, seconds, flag_values.operators), end="")
    if flag_values.json:
        files = [
            {**asdict(result), "seconds_of_audio": length} for result, length in zip(results, seconds, strict=True)
        ]
        write_json(flag_values.json, {"command": command_line(), "files": files})
    return 0


def _threads(given: list[str]) -> list[int]:
    try:
        threads = [int(text) for text in given]
    except ValueError:
        threads = []
    if not threads or min(threads) < 1:
        raise UsageError(f"--threads must be positive integers such as 1,2, not '{','.join(given)}'.")
    return list(dict.fromkeys(threads))


def _seconds_of_audio(path: str) -> float | None:
    """How much audio a call takes; None of files that do not say so."""
    from tfaudio.runtime.metadata import read_metadata

    try:
        metadata = read_metadata(path)
    except TfaudioError:  # of another tool
        return None
    samples = metadata.num_samples if metadata.streaming is None else metadata.streaming.hop_samples
    return samples / metadata.sample_rate


def _report(results: list[Benchmark], seconds: list[float | None], operators: int) -> str:
    first = results[0].latencies[0].median
    rows: list[tuple[str, ...]] = [
        (
            "file",
            "kB",
            "threads",
            "ms",
            "p99 ms",
            "times first",
            "ms per s of audio",
            "memory kB",
            "MMACs",
            "energy uJ",
            "",
        )
    ]
    for result, length in zip(results, seconds, strict=True):
        for position, latency in enumerate(result.latencies):
            of_file = (
                number(None if result.memory_bytes is None else result.memory_bytes / 1000, ".0f"),
                " + ".join(f"{count / 1e6:.2f} {arithmetic}" for arithmetic, count in result.macs.items() if count),
                number(result.energy_microjoules, ".2f"),
            )
            rows.append(
                (
                    result.path if position == 0 else "",
                    number(result.size_bytes / 1000, ".1f") if position == 0 else "",
                    str(latency.threads),
                    number(latency.median, ".3f"),
                    number(latency.p99, ".3f"),
                    number(latency.median / first, ".2f"),
                    number(None if length is None else latency.median / length, ".3f"),
                    *(of_file if position == 0 else ("", "", "")),
                    "",
                )
            )
    lines = text_table(rows)
    for result in results if operators else []:
        total = sum(operator.ms for operator in result.operators)
        lines += ["", f"{result.path}: operators, each timed alone on one thread; together {total:.3f} ms"]
        table: list[tuple[Any, ...]] = [("operator", "count", "ms", "share", "MMACs", "")]
        for found in result.operators[:operators]:
            share = found.ms / total if total else 0.0
            macs = number(found.macs / 1e6, ".3f")
            table.append((found.operator, str(found.count), number(found.ms, ".4f"), f"{share:.0%}", macs, ""))
        lines += text_table(table)
    lines += [
        "",
        "Energy is a proxy: the multiplications alone, at the picojoules of a 45 nm process (Horowitz 2014).",
    ]
    return "\n".join(lines) + "\n"
