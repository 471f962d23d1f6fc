"""Flags of the commands that score a run: what is scored, and where its figures go."""

from __future__ import annotations

from pathlib import Path

from absl import flags

from tfaudio.cli import UsageError
from tfaudio.files import check_can_write, check_can_write_into, refuse_existing_folder


def define_scoring_flags(flag_values: flags.FlagValues, *, run_dir: str, report: str) -> None:
    """Defines --run_dir, --data_dir, --json, --report_dir and --overwrite.

    Args:
      flag_values: of the command.
      run_dir: what the help says of --run_dir.
      report: what the help says that --report_dir gets.
    """
    flags.DEFINE_string("run_dir", None, run_dir, flag_values=flag_values)
    flags.DEFINE_string("data_dir", None, "Where the data set lies now, if it was moved.", flag_values=flag_values)
    flags.DEFINE_string("json", None, "Write the figures here as JSON.", flag_values=flag_values)
    flags.DEFINE_string("report_dir", None, f"Write {report} here.", flag_values=flag_values)
    flags.DEFINE_boolean("overwrite", False, "Replace files that stand.", flag_values=flag_values)
    flags.mark_flag_as_required("run_dir", flag_values)


def check_scoring_flags(flag_values: flags.FlagValues) -> None:
    """Refuses, before anything is computed, to write where something stands.

    Raises:
      TfaudioError: if --json or --report_dir names what may not be replaced, or cannot be written, or the one lies in
        the other.
    """
    if flag_values.json:
        check_can_write(flag_values.json, overwrite=flag_values.overwrite)
    if flag_values.report_dir:
        refuse_existing_folder(flag_values.report_dir, overwrite=flag_values.overwrite)
        check_can_write_into(flag_values.report_dir)
    if flag_values.json and flag_values.report_dir:
        parent = Path(flag_values.json).resolve().parent
        if parent == Path(flag_values.report_dir).resolve():
            raise UsageError(
                f"--json={flag_values.json} lies in --report_dir, which gets files of its own; name another place."
            )
