"""`tfaudio features`: what a classifier sees of a recording, and whether it is what librosa computes."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from tfaudio.cli import UsageError, load_tensorflow
from tfaudio.cli.recordings import expand_recordings
from tfaudio.cli.settings import assignments, define_set, of_section, settings_in_file
from tfaudio.config import ClipConfig, FrontEndConfig, RunConfig
from tfaudio.errors import TfaudioError
from tfaudio.files import check_can_write, printable, write_atomically, write_json

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from tfaudio.data.spec import Skipped

USAGE = """tfaudio features FILE_OR_FOLDER... --output=DIR_OR_FILE [flags]
tfaudio features --compare=librosa [FILE_OR_FOLDER...] [flags]

Computes the features of recordings of any format, rate and length: those that --set=front_end.feature names, several
joined by "+", under the settings of --config (a run's config.json, say) and --set. Into a folder it writes a file a
recording; a name that ends in .npz, .csv or .png is one file. An .npz holds `features` float32 [frames, bins], `names`
of the bins, `times` of the frames in seconds, and `settings`; a .csv has a column a bin.

With --compare=librosa, computes every feature on tones, a chirp, noise, clicks, silence and the given recordings, and
prints how far it is from librosa's; the exit code is 1 if one is further than its tolerance.

  tfaudio features dog.wav --output=dog.npz --set=front_end.feature=mfcc+spectral_contrast+rms
  tfaudio features --compare=librosa dog.wav
"""

_FORMATS = ("npz", "csv", "png")
_PREFIX = "front_end."
_LONGEST_COMPARED_SECONDS = 30

_NOTE = """
difference: of the value nearest to its tolerance. limited: share of values that float32 cannot tell as finely as the
tolerance asks, such as what lies 100 dB below a pure tone; those are held to the rounding of a transform in float32."""


def define_flags(flag_values: flags.FlagValues) -> None:
    """Defines the command's flags."""
    flags.DEFINE_string(
        "output", None, "Folder to write into; for a single recording, a .npz, .csv or .png.", flag_values=flag_values
    )
    flags.DEFINE_enum("format", "npz", _FORMATS, "What to write into a folder.", flag_values=flag_values)
    flags.DEFINE_boolean("picture", False, "Draw the features too, into a .png beside.", flag_values=flag_values)
    flags.DEFINE_string("config", None, "JSON file of settings, as a run's config.json.", flag_values=flag_values)
    define_set(flag_values, example="front_end.feature=mfcc")
    flags.DEFINE_boolean("overwrite", False, "Replace files that stand.", flag_values=flag_values)
    flags.DEFINE_enum(
        "compare", None, ("librosa",), "Compare every feature instead of writing some.", flag_values=flag_values
    )
    flags.DEFINE_string("json", None, "With --compare, write the table to this file too.", flag_values=flag_values)


def main(flag_values: flags.FlagValues, arguments: list[str]) -> int:
    """Computes or compares."""
    front_end = _front_end(flag_values)
    if flag_values.compare and flag_values["format"].present:
        raise UsageError("--compare writes no features; leave --format out, or leave it out.")
    skipped: list[Skipped] = []
    if flag_values.compare:
        if flag_values.output or flag_values.picture:
            raise UsageError("--compare writes no features; leave --output and --picture out, or leave it out.")
        files = list(expand_recordings(arguments, skipped))
        _tell(skipped)
        return _compare(front_end, files, flag_values)
    if flag_values.json:
        raise UsageError("--json goes with --compare; features go to --output.")
    if not arguments:
        raise UsageError("Name at least one file or folder, or `-` for standard input.")
    if not flag_values.output:
        raise UsageError("--output is needed: a folder, or for a single recording a .npz, .csv or .png.")
    if front_end.learnt:
        raise TfaudioError(
            f"front_end.feature '{front_end.feature}' is learnt with a classifier and is nothing without; choose "
            "another, and front_end.pcen.trainable=false."
        )
    files = list(expand_recordings(arguments, skipped))
    _tell(skipped)
    return _write(front_end, _plan(files, flag_values)) or (1 if skipped else 0)


def _front_end(flag_values: flags.FlagValues) -> FrontEndConfig:
    chosen = settings_in_file(flag_values.config) if flag_values.config else {}
    for key in (given := assignments(flag_values)):
        if not key.startswith(_PREFIX):
            raise UsageError(f"--set={key} has no effect here: features hang on front_end.* alone.")
    # What else the file says must be settings, but no augmentation keeps a front end from computing features.
    RunConfig().override({key: value for key, value in chosen.items() if not key.startswith(_PREFIX)})
    return RunConfig().front_end.override(of_section("front_end", {**chosen, **given}))


def _tell(skipped: list[Skipped]) -> None:
    for left_out in skipped:
        print(f"tfaudio features: {left_out.path}: {left_out.reason}", file=sys.stderr)


def _plan(files: list[str], flag_values: flags.FlagValues) -> dict[str, list[Path]]:
    """Which files to write for each recording; finds out now what stands in the way.

    Raises:
      TfaudioError: if two recordings would be written to one file, or a file cannot be written.
    """
    output = Path(flag_values.output)
    suffix = output.suffix.lower().removeprefix(".")
    plan: dict[str, list[Path]] = {}
    if suffix in _FORMATS and not output.is_dir():
        if len(files) > 1:
            raise UsageError(f"--output={output} is one file, but there are {len(files)} recordings; name a folder.")
        if flag_values["format"].present and flag_values.format != suffix:
            raise UsageError(f"--output={output} and --format={flag_values.format} contradict each other; give one.")
        plan[files[0]] = [output]
    else:
        for name in files:
            plan[name] = [output / f"{'stdin' if name == '-' else Path(name).stem}.{flag_values.format}"]
    taken: dict[Path, str] = {}
    for name, paths in plan.items():
        if flag_values.picture and paths[0].suffix != ".png":
            paths.append(paths[0].with_suffix(".png"))
        for path in paths:
            if path in taken:
                raise TfaudioError(
                    f"{taken[path]} and {name} would both be written to {path}; give them one after the other, with "
                    "an --output each."
                )
            taken[path] = name
            check_can_write(path, overwrite=flag_values.overwrite)
    return plan


def _write(front_end: FrontEndConfig, plan: dict[str, list[Path]]) -> int:
    load_tensorflow()
    from tfaudio.features.family import check_features
    from tfaudio.features.front_end import compute_features

    check_features(front_end)
    failures = 0
    for name, paths in plan.items():
        try:
            waveform = _read(name, front_end.sample_rate)
            features = compute_features(waveform, front_end).numpy()
        except TfaudioError as error:
            failures += 1
            message = str(error) if name in str(error) else f"{name}: {error}"
            print(f"tfaudio features: {message}", file=sys.stderr)
            continue
        for path in paths:
            write_atomically(path, _WRITERS[path.suffix.lower().removeprefix(".")](features, front_end, name))
            print(f"{path}: {len(features)} frames of {features.shape[1]} bins", flush=True)
    if failures:
        print(f"tfaudio features: {failures} of {len(plan)} recordings could not be used.", file=sys.stderr)
    return 1 if failures else 0


def _read(name: str, sample_rate: int) -> npt.NDArray[np.float32]:
    from tfaudio.runtime.audio import read_windows

    source: Any = sys.stdin.buffer if name == "-" else name
    ((_, waveform),) = read_windows(source, sample_rate=sample_rate, clip=ClipConfig(seconds=None))
    return waveform


def _times(features: npt.NDArray[np.float32], front_end: FrontEndConfig) -> npt.NDArray[np.float64]:
    """Centres of the frames, seconds."""
    import numpy as np

    return np.arange(len(features)) * front_end.frame_step / front_end.sample_rate


def _npz(features: npt.NDArray[np.float32], front_end: FrontEndConfig, name: str) -> bytes:
    import numpy as np

    from tfaudio.features.family import bin_names

    content = io.BytesIO()
    np.savez_compressed(
        content,
        features=features,
        names=np.array(bin_names(front_end)),
        times=_times(features, front_end),
        settings=np.array(json.dumps(front_end.to_dict())),
        recording=np.array(name),
    )
    return content.getvalue()


def _csv(features: npt.NDArray[np.float32], front_end: FrontEndConfig, name: str) -> bytes:
    from tfaudio.features.family import bin_names

    del name  # the file's own name tells
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["seconds", *bin_names(front_end)])
    for time, values in zip(_times(features, front_end), features, strict=True):
        rows.writerow([f"{time:.6f}", *(f"{value:.7g}" for value in values)])
    return text.getvalue().encode("utf-8")


def _png(features: npt.NDArray[np.float32], front_end: FrontEndConfig, name: str) -> bytes:
    from tfaudio.evaluation.feature_picture import feature_picture

    return feature_picture(features, front_end, title="" if name == "-" else printable(Path(name).name))


_WRITERS: dict[str, Callable[[Any, FrontEndConfig, str], bytes]] = {"npz": _npz, "csv": _csv, "png": _png}


def _compare(front_end: FrontEndConfig, files: list[str], flag_values: flags.FlagValues) -> int:
    if flag_values.json:
        check_can_write(flag_values.json, overwrite=flag_values.overwrite)
    load_tensorflow()
    from tfaudio.evaluation.front_end import compare_with_librosa, equality_record, equality_signals, equality_table

    rate = front_end.sample_rate
    signals = equality_signals(rate)
    for name in files:
        label = Path(name).name if Path(name).name not in signals else name
        signals[label] = _read(name, rate)[: _LONGEST_COMPARED_SECONDS * rate]
    rows = compare_with_librosa(front_end, signals)
    record = equality_record(rows, front_end, signals)
    found = record["versions"]
    print(
        f"tfaudio {found['tfaudio']} on TensorFlow {found['tensorflow']} against librosa {found['librosa']}, "
        f"{rate} Hz, frames of {front_end.frame_length} every {front_end.frame_step}, {front_end.implementation}"
    )
    print(f"signals: {', '.join(signals)}")
    print()
    print(equality_table(rows))
    print(_NOTE)
    unequal = [row.feature for row in rows if not row.equal]
    print(f"\nnot equal: {'; '.join(unequal)}" if unequal else f"\nall {len(rows)} equal")
    if flag_values.json:
        write_json(flag_values.json, record)
    return 1 if unequal else 0
