"""How the commands of this package run."""

from __future__ import annotations

import sys
from collections.abc import Callable

from tfaudio.terminal import EXIT_BROKEN_PIPE, EXIT_INTERRUPTED, bear_any_name


def run(name: str, command: Callable[[], int]) -> int:
    """Runs a command and returns its exit code, for `terminal.leave`.

    An interruption or a reader that goes away ends it quietly.
    """
    bear_any_name()
    try:
        code = command()
        sys.stdout.flush()  # so that a closed pipe shows here, not at the interpreter's end
        return code
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        return EXIT_BROKEN_PIPE
