"""The terminal, and how a command ends: what a shell and a person expect of a program."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

# What a shell reports for a program ended by SIGINT and by SIGPIPE.
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141


def bear_any_name() -> None:
    """Lets bytes and letters that the terminal's encoding has no form for, as file names may hold, pass escaped.

    They must not end a command which has done its work.
    """
    for stream in (sys.stdout, sys.stderr):
        if (reconfigure := getattr(stream, "reconfigure", None)) is not None:
            reconfigure(errors="backslashreplace")


def leave(code: int) -> None:
    """Ends the process with a command's exit code."""
    if code == EXIT_BROKEN_PIPE:
        # The interpreter flushes stdout once more on its way out, and would report the closed pipe then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


@contextlib.contextmanager
def native_messages_hidden() -> Iterator[None]:
    """Keeps lines that C++ code writes to stderr off the terminal; Python's exceptions say what failed."""
    saved = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
