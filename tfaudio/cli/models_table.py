"""`tfaudio models`: the architectures, what each costs and where it comes from."""

from __future__ import annotations

import json
from dataclasses import asdict

from absl import flags

from tfaudio.cli import load_tensorflow, refuse_arguments
from tfaudio.cli.settings import of_section
from tfaudio.recipes import recipe

USAGE = """tfaudio models [--format=json]

Lists the architectures that `tfaudio train --model=NAME` can train, with default options and ten classes: parameters,
multiply-accumulates for one clip of the default length, the frames and bins of that clip by the front end of the
model's recipe, whether recordings of unequal length can be padded under a mask (--set=clip.seconds=null), and the
paper. Options of an architecture are in its docstring and are set by --set='model.options={...}'.

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
    rows = []
    for name in MODELS:
        front_end = config.front_end.override(of_section("front_end", recipe("", name)))
        shape = int(front_end.num_frames(config.clip.num_samples(rate))), front_end.num_learnt_bins
        rows.append((shape, model_facts(name, input_shape=shape, num_classes=_CLASSES)))
    if flag_values.format == "json":
        clip = {"seconds": seconds, "classes": _CLASSES}
        models = [{**asdict(facts), "frames": frames, "bins": bins} for (frames, bins), facts in rows]
        print(json.dumps({"clip": clip, "models": models}))
        return 0
    width = max(len(name) for name in MODELS)
    print(f"{'model':<{width}}  {'parameters':>12}  {'million MACs':>12}  {'input':>8}  masked  paper")
    for (frames, bins), facts in rows:
        row = f"{facts.name:<{width}}  {facts.parameters:>12,}  {facts.macs / 1e6:>12,.1f}  {f'{frames}x{bins}':>8}"
        print(f"{row}  {'yes' if facts.masked else 'no':<6}  {facts.paper}")
    print(f"MACs: multiply-accumulates for {seconds:g} s and {_CLASSES} classes; input: frames and bins of such a clip")
    return 0
