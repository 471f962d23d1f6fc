"""`tfaudio models`: the architectures, what each costs and where it comes from."""

from __future__ import annotations

import json
from dataclasses import asdict

from absl import flags

from tfaudio.cli import load_tensorflow, refuse_arguments

USAGE = """tfaudio models [--format=json]

Lists the architectures that `tfaudio train --model=NAME` can train: parameters, multiply-accumulates for one clip of
the default length and front end, with default options and ten classes, whether recordings of unequal length can be
padded under a mask (--set=clip.seconds=null), and the paper. Options of an architecture are in its docstring and are
set by --set='model.options={...}'.

  tfaudio models --format=json
"""
_CLASSES = 10


def define_flags(flag_values: flags.FlagValues) -> None:
    """Defines the command's flags."""
    flags.DEFINE_enum("format", "text", ["text", "json"], "How to print the table.", flag_values=flag_values)


def main(flag_values: flags.FlagValues, arguments: list[str]) -> int:
    """Prints the table."""
    refuse_arguments(arguments)
    load_tensorflow()
    from tfaudio.config import RunConfig
    from tfaudio.models import MODELS
    from tfaudio.models.complexity import model_facts

    config = RunConfig()
    rate, seconds = config.front_end.sample_rate, config.clip.seconds
    frames, bins = int(config.front_end.num_frames(config.clip.num_samples(rate))), config.front_end.num_learnt_bins
    facts = [model_facts(name, input_shape=(frames, bins), num_classes=_CLASSES) for name in MODELS]
    if flag_values.format == "json":
        clip = {"seconds": seconds, "frames": frames, "bins": bins, "classes": _CLASSES}
        print(json.dumps({"clip": clip, "models": [asdict(f) for f in facts]}))
        return 0
    width = max(len(name) for name in MODELS)
    print(f"{'model':<{width}}  {'parameters':>12}  {'million MACs':>12}  masked  paper")
    for f in facts:
        row = f"{f.name:<{width}}  {f.parameters:>12,}  {f.macs / 1e6:>12,.1f}"
        print(f"{row}  {'yes' if f.masked else 'no':<6}  {f.paper}")
    print(f"MACs: multiply-accumulates for {seconds:g} s, {frames} frames of {bins} bins, and {_CLASSES} classes")
    return 0
