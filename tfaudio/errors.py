"""The one exception for mistakes that a user can mend."""

from __future__ import annotations


class TfaudioError(ValueError):
    """A mistake in a file, a flag or a setting, told in one sentence.

    The message names the file, key or flag and the way out. The command line prints it without a
    traceback and exits non-zero; any other exception is a defect of the package and keeps its
    traceback.
    """
