"""How much memory a model takes on this machine: `python -m tfaudio.memory MODEL.tflite`.

Measured in a process of its own, which has loaded the interpreter before and holds nothing else: the growth of its
peak resident set from reading the file to the third call, without the pages of shared libraries. That is the file, the
tensors between its operators, and what the kernels keep of the weights in another order.
"""

from __future__ import annotations

import ctypes
import gc
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np

from tfaudio.errors import TfaudioError
from tfaudio.interpreter import interpreter_module

_STATUS, _CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # proc(5)
_NEEDED = {"VmHWM", "VmRSS", "RssAnon", "RssFile"}  # some sandboxes tell less
_TIMEOUT_SECONDS = 300
_SAFE_PATH = ["-P"] if sys.version_info >= (3, 11) else []


def memory_of(model: str | os.PathLike[str], *, num_threads: int = 1) -> int | None:
    """Returns the bytes that one interpreter of a file takes; None where the system does not tell (only Linux does).

    Raises:
      TfaudioError: if the file does not run.
    """
    if not can_measure():
        return None
    return int(run_alone("tfaudio.memory", str(model), str(num_threads), what=f"The memory of {model}").split()[-1])


def can_measure() -> bool:
    """Whether the system tells how much memory a process takes."""
    return _STATUS.is_file() and _status().keys() >= _NEEDED


def run_alone(module: str, *arguments: str, what: str, environment: Mapping[str, str] | None = None) -> str:
    """Returns what a module prints that is run as a program, in a process of its own.

    Args:
      module: of this package.
      arguments: of the program.
      what: is measured, for the message.
      environment: variables beside this process's own.

    Raises:
      TfaudioError: if the program fails, or takes too long.
    """
    package = str(Path(__file__).resolve().parents[1])
    variables = {**os.environ, **(environment or {})}
    # -P, and no empty part: a random.py in the user's folder is not the standard library's.
    variables["PYTHONPATH"] = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH", "")]))
    try:
        done = subprocess.run(
            [sys.executable, *_SAFE_PATH, "-m", module, *arguments],
            env=variables,
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise TfaudioError(
            f"{what} cannot be measured: it did not run once in {_TIMEOUT_SECONDS} s; free the processor, or take a "
            "smaller model."
        ) from error
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise TfaudioError(f"{what} cannot be measured: {reason}")
    return done.stdout


def growth(run: Callable[[], object]) -> int:
    """Returns by how many bytes a call raises this process's peak of memory, without the pages of shared libraries."""
    gc.collect()
    with suppress(OSError, AttributeError):  # else what the imports left free would hide what the call takes
        ctypes.CDLL(None).malloc_trim(0)
    with suppress(OSError):  # a container may forbid it; the peak is then that of the imports, if that was higher
        _CLEAR_REFS.write_text(_RESET_PEAK)
    before = _status()
    kept = run()
    after = _status()
    del kept  # what the call holds counts
    libraries = after["RssFile"] - before["RssFile"]
    return max(after["VmHWM"] - before["VmRSS"] - libraries, after["RssAnon"] - before["RssAnon"])


def _measure(path: Path, num_threads: int) -> int:
    module = interpreter_module()

    def run() -> object:
        content = path.read_bytes()
        interpreter = module.Interpreter(model_content=content, num_threads=num_threads)
        interpreter.allocate_tensors()
        for details in interpreter.get_input_details():
            interpreter.set_tensor(details["index"], np.zeros(details["shape"], details["dtype"]))
        for _ in range(3):
            interpreter.invoke()
        return content, interpreter

    return growth(run)


def _status() -> dict[str, int]:
    """The process's memory in bytes, by the names of proc(5)."""
    lines = (line.split(":", 1) for line in _STATUS.read_text().splitlines())
    return {name: int(value.split()[0]) * 1024 for name, value in lines if value.endswith("kB")}


if __name__ == "__main__":
    print(_measure(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1))
