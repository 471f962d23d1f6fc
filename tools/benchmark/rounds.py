"""Paired measurement: contestants take turns in one run, each in a living process of its own.

Thread pools of TensorFlow and PyTorch get into each other's way, and kapre needs another Keras than everyone else, so
contestants do not share a process. The parent lets one of them run at a time; every other round goes backwards, so that
a machine that grows slower or faster favours nobody.
"""

from __future__ import annotations

import csv
import datetime
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worker import memory_bytes

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]
_WATCHED = 1.0  # seconds at least, so that short runs are not missed between two looks at the memory
_PAUSE = 0.2  # seconds, in which the threads of the one before go to sleep


@dataclass
class Entry:
    """One contestant in one case.

    Args:
      name: as it is printed.
      versions: of the libraries that do the work.
      problem: why it could not take part; None if it did.
      seconds: wall time of each round.
      processor_seconds: of all of its processes, in each round.
      memory_before: bytes with libraries and input loaded, before the first run.
      memory_peak: bytes at most during a run.
      difference: from the reference, as the benchmark defines it.
    """

    name: str
    versions: dict[str, str] = field(default_factory=dict)
    problem: str | None = None
    seconds: list[float] = field(default_factory=list)
    processor_seconds: list[float] = field(default_factory=list)
    memory_before: int = 0
    memory_peak: int = 0
    difference: float | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def ratio(self, other: Entry) -> dict[str, float]:
        """How many times longer the other takes: of the medians, and the quartiles over the rounds."""
        of_rounds = [theirs / ours for ours, theirs in zip(self.seconds, other.seconds, strict=True)]
        low, _, high = statistics.quantiles(of_rounds, n=4)
        return {"of_medians": other.median / self.median, "lower_quartile": low, "upper_quartile": high}


class Worker:
    """The process of one contestant."""

    def __init__(self, python: str, module: str, name: str, case: dict[str, Any], threads: int) -> None:
        self.entry = Entry(name)
        environment = {
            **os.environ,
            **dict.fromkeys(
                ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), str(threads)
            ),
            "TF_NUM_INTRAOP_THREADS": str(threads),
            "TF_NUM_INTEROP_THREADS": str(threads),
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "CUDA_VISIBLE_DEVICES": "",
            "KERAS_BACKEND": "tensorflow",
            "PYTHONPATH": str(ROOT),
            "PYTHONWARNINGS": "ignore",
        }
        if name.startswith("kapre"):
            environment["TF_USE_LEGACY_KERAS"] = "1"
        self._process = subprocess.Popen(
            [python, str(FOLDER / "worker.py"), module, name],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        # Read to the end whatever happens, since a full pipe would stop the process.
        self._complaints: list[str] = []
        threading.Thread(target=lambda: self._complaints.extend(self._process.stderr or ()), daemon=True).start()
        answer = self.ask(json.dumps({**case, "threads": threads}))
        self.entry.versions, self.entry.problem = answer.get("versions", {}), answer.get("problem")
        if not self.entry.problem:
            self.entry.memory_before = memory_bytes(self._process.pid)

    def ask(self, command: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return self._answer()

    def run(self) -> None:
        answer = self.ask("run")
        self.entry.seconds.append(answer["seconds"])
        self.entry.processor_seconds.append(answer["processor_seconds"])

    def run_watched(self) -> None:
        """Runs without being timed, while the memory is watched."""
        done = threading.Event()

        def watch() -> None:
            while not done.is_set():
                self.entry.memory_peak = max(self.entry.memory_peak, memory_bytes(self._process.pid))
                done.wait(0.01)

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            start = time.monotonic()
            while time.monotonic() - start < _WATCHED:
                self.ask("run")
        finally:
            done.set()
            watcher.join()

    def check(self) -> None:
        self.entry.difference = self.ask("check")["difference"]

    def close(self) -> None:
        if self._process.poll() is None and self._process.stdin is not None:
            self._process.stdin.close()
            self._process.wait(30)

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait(30)
            time.sleep(0.1)
            raise RuntimeError(f"{self.entry.name} ended:\n{''.join(self._complaints[-20:])}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def start(module: str, contestants: dict[str, str], case: dict[str, Any], threads: int) -> list[Worker]:
    """Starts what can be started.

    Args:
      module: of this folder, whose CONTESTANTS are meant.
      contestants: name to the Python that runs it.
      case: what is given to each.
      threads: that each may use.
    """
    workers = []
    for name, python in contestants.items():
        worker = Worker(python, module, name, case, threads)
        if worker.entry.problem:
            print(f"{name} takes no part: {worker.entry.problem}", flush=True)
        workers.append(worker)
    return workers


def measure(workers: list[Worker], rounds: int) -> list[Entry]:
    """Runs all in turn and returns their entries, those without a result included."""
    able = [worker for worker in workers if not worker.entry.problem]
    for worker in able:
        worker.check()
    for worker in able:  # compiling and first touching memory is not what is measured
        worker.run_watched()
    for number in range(rounds):
        for worker in able if number % 2 == 0 else reversed(able):
            time.sleep(_PAUSE)
            worker.run()
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    for worker in workers:
        worker.close()
    return [worker.entry for worker in workers]


def pin(threads: int) -> None:
    """Keeps this process and all that it starts on as many cores."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < threads:
        sys.exit(f"--threads={threads}, but this process may use {len(cores)} cores; pass --threads={len(cores)}.")
    os.sched_setaffinity(0, cores[:threads])


def describe(threads: int, rounds: int) -> dict[str, Any]:
    """What a result has to say of its origin."""
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    model = next((line.split(":", 1)[1].strip() for line in info if line.startswith("model name")), "unknown")
    return {
        "command": shlex.join(["python", str(Path(sys.argv[0]).resolve().relative_to(ROOT)), *_portable(sys.argv[1:])]),
        "date": datetime.date.today().isoformat(),
        "python": platform.python_version(),
        "processor": model,
        "cores": threads,
        "rounds": rounds,
        "load_before": os.getloadavg()[0],
    }


def _portable(arguments: list[str]) -> list[str]:
    """Paths as they are seen from the checkout; of what lies further away, the last parts alone."""
    portable = []
    for argument in arguments:
        flag, equals, value = argument.rpartition("=")
        if os.path.isabs(value):
            relative = os.path.relpath(value, ROOT)
            far = relative.startswith(os.path.join("..", ".."))
            value = os.path.join("...", *Path(value).parts[-3:]) if far else relative
        portable.append(flag + equals + value)
    return portable


def table(entries: list[Entry], clips: int) -> list[dict[str, Any]]:
    """One row a contestant."""
    rows = []
    for entry in entries:
        row: dict[str, Any] = {"contestant": entry.name, "versions": entry.versions}
        if entry.problem:
            rows.append({**row, "problem": entry.problem})
            continue
        low, _, high = statistics.quantiles(entry.seconds, n=4)
        row |= {
            "median_ms": round(1e3 * entry.median, 2),
            "quartiles_ms": [round(1e3 * low, 2), round(1e3 * high, 2)],
            "least_ms": round(1e3 * min(entry.seconds), 2),
            "processor_ms": round(1e3 * statistics.median(entry.processor_seconds), 2),
            "clips_per_second": round(clips / entry.median, 1),
            "memory_peak_mb": round(entry.memory_peak / 1e6, 1),
            "memory_growth_mb": round((entry.memory_peak - entry.memory_before) / 1e6, 1),
            "difference": entry.difference,
            "rounds_ms": [round(1e3 * s, 2) for s in entry.seconds],
        }
        rows.append(row)
    return rows


def ratios(entries: list[Entry], ours: str) -> dict[str, dict[str, float]]:
    """How many times longer than `ours` each of the others takes."""
    able = {entry.name: entry for entry in entries if not entry.problem}
    if ours not in able:
        return {}
    return {
        name: {key: round(value, 3) for key, value in able[ours].ratio(entry).items()}
        for name, entry in able.items()
        if name != ours
    }


def print_case(title: str, rows: list[dict[str, Any]], against_ours: dict[str, dict[str, float]]) -> None:
    print(f"\n{title}")
    print(
        f"{'':34} {'median':>10} {'processor':>10} {'clips/s':>9} {'memory':>9} {'times ours':>24} {'difference':>11}"
    )
    for row in rows:
        if "problem" in row:
            print(f"{row['contestant']:34} {row['problem']}")
            continue
        ratio = against_ours.get(row["contestant"])
        spread = (
            f"{ratio['of_medians']:.2f} ({ratio['lower_quartile']:.2f} to {ratio['upper_quartile']:.2f})"
            if ratio
            else "ours"
        )
        difference = "" if row["difference"] is None else f"{row['difference']:.1e}"
        print(
            f"{row['contestant']:34} {row['median_ms']:7.1f} ms {row['processor_ms']:7.1f} ms "
            f"{row['clips_per_second']:9.0f} {row['memory_growth_mb']:6.0f} MB {spread:>24} {difference:>11}"
        )
        print(f"{'':34} {', '.join(f'{k} {v}' for k, v in row['versions'].items())}")


def write(result: dict[str, Any], path: Path, title: str) -> None:
    """Writes JSON, and CSV and a picture beside it."""
    result["load_after"] = os.getloadavg()[0]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    columns = ("median_ms", "least_ms", "processor_ms", "clips_per_second", "memory_peak_mb", "memory_growth_mb")
    with path.with_suffix(".csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("case", "contestant", *columns, "times_ours", "problem"))
        for name, case in result["cases"].items():
            for row in case["contestants"]:
                ratio = case["times_ours"].get(row["contestant"], {}).get("of_medians", "")
                writer.writerow(
                    (name, row["contestant"], *(row.get(c, "") for c in columns), ratio, row.get("problem", ""))
                )
    _draw(result, path.with_suffix(".png"), title)


def _draw(result: dict[str, Any], path: Path, title: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    cases = result["cases"]
    most = max(len(case["contestants"]) for case in cases.values())
    figure, axes = plt.subplots(
        1, len(cases), figsize=(1.5 + 4.2 * len(cases), 1.2 + 0.36 * most), squeeze=False, layout="constrained"
    )
    for axis, (name, case) in zip(axes[0], cases.items(), strict=True):
        rows = [row for row in case["contestants"] if "problem" not in row][::-1]
        colours = {"tfaudio": "tab:orange", "floor": "tab:gray"}
        bars = axis.barh(
            [row["contestant"] for row in rows],
            [row["clips_per_second"] for row in rows],
            color=[colours.get(row["contestant"].split(",")[0], "tab:blue") for row in rows],
        )
        axis.bar_label(bars, fmt="%.0f", padding=3, fontsize=8)
        axis.set_xlabel("clips per second")
        axis.set_title(name, fontsize=10)
        axis.margins(x=0.15)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, fontsize=11)
    figure.savefig(path, dpi=110)
    plt.close(figure)
