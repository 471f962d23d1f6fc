"""A contestant in a process of its own: prepares once, then runs whenever the parent says so.

The parent starts `python worker.py MODULE CONTESTANT`, where MODULE is a module beside this one and CONTESTANT one of
its CONTESTANTS. The first line on standard input is the case, a JSON object, and each further one a command; each is
answered by a line of JSON.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol


class Contestant(Protocol):
    """What is measured.

    Args:
      versions: of the libraries that do the work.
    """

    versions: dict[str, str]

    def run(self) -> Any:
        """Does the work once, to its end."""

    def check(self) -> float:
        """Returns how far its result is from what it should be."""


def children(pid: int) -> Iterator[int]:
    """Yields a process and all that descend from it."""
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            yield from children(int(child))


def memory_bytes(pid: int) -> int:
    """Memory of a process and its descendants that no file backs; what several of them share counts once."""
    total = 0
    for process in children(pid):
        try:
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue  # it has just ended
        total += sum(int(line.split()[1]) for line in lines if line.startswith(("Pss_Anon:", "Pss_Shmem:")))
    return 1024 * total


def _processor_seconds() -> float:
    """Of this process and its descendants."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    ticks = 0
    for process in children(os.getpid()):
        if process != os.getpid():
            fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
    return own.ru_utime + own.ru_stime + ticks / os.sysconf("SC_CLK_TCK")


def _run(contestant: Contestant) -> dict[str, float]:
    processor, start = _processor_seconds(), time.perf_counter()
    contestant.run()
    return {"seconds": time.perf_counter() - start, "processor_seconds": _processor_seconds() - processor}


def main() -> None:
    module, name = sys.argv[1:]
    case = json.loads(sys.stdin.readline())
    # Libraries print to standard output as they please: the answers get a channel of their own.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def answer(**values: Any) -> None:
        print(json.dumps(values), file=answers, flush=True)

    sys.path.insert(0, str(Path(__file__).resolve().parent))
    try:
        contestant: Contestant = importlib.import_module(module).CONTESTANTS[name](case)
        answer(versions=contestant.versions)
    except Exception as error:  # any reason for which a library cannot be used here
        answer(problem=f"{type(error).__name__}: {str(error).strip().splitlines()[-1] if str(error) else ''}")
        raise
    for line in sys.stdin:
        command = line.strip()
        if command == "run":
            answer(**_run(contestant))
        elif command == "check":
            answer(difference=contestant.check())
        else:
            break
    answers.close()
    sys.stdout.flush()
    os._exit(0)  # pools and thread runtimes of some libraries hang at an orderly end


if __name__ == "__main__":
    main()
