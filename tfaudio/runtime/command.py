"""How the commands of this package end, as a shell expects it of a program."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

# What a shell reports for a program ended by SIGINT and by SIGPIPE.
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141


def run(name: str, command: Callable[[], int]) -> int:
    """Runs a command and returns its exit code; an interruption or a reader that goes away ends it quietly."""
    try:
        code = command()
        sys.stdout.flush()  # so that a closed pipe shows here, not at the interpreter's end
        return code
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        return EXIT_BROKEN_PIPE


def leave(code: int) -> None:
    """Ends the process with a code that `run` returned."""
    if code == EXIT_BROKEN_PIPE:
        # The interpreter flushes stdout once more on its way out, and would report the closed pipe then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)
