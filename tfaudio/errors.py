"""The one exception for mistakes that a user can mend, and what others say in a line."""

from __future__ import annotations


class TfaudioError(ValueError):
    """A mistake in a file, a flag or a setting, told in one sentence.

    The message names the file, key or flag and the way out. The command line prints it without a
    traceback and exits non-zero; any other exception is a defect of the package and keeps its
    traceback.
    """


def first_line(error: BaseException) -> str:
    """What an exception of another library says, without the lines below it; its kind where it says nothing.

    >>> first_line(RuntimeError("node 3 failed\\n  in invoke")), first_line(ValueError())
    ('node 3 failed', 'ValueError')
    """
    return (str(error).strip() or type(error).__name__).splitlines()[0]
