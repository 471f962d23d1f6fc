"""`tfaudio recipes`: settings by task, and what was reached by them."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from absl import flags

from tfaudio.cli import refuse_arguments
from tfaudio.recipes import NOT_MEASURED, RECIPES

USAGE = """tfaudio recipes [--format=json]

Lists the settings that a task starts from: what for, the command that trains by them, how long it took on two CPU
cores, and the accuracy that it reached. A data set that is named takes its own; `--recipe=NAME` of `tfaudio train`,
`transcribe` and `pretrain` takes another. Flags and --set change them.

  tfaudio recipes --format=json
"""
_WIDTH = 100


def define_flags(flag_values: flags.FlagValues) -> None:
    """Defines the command's flags."""
    flags.DEFINE_enum("format", "text", ["text", "json"], "How to print them.", flag_values=flag_values)


def main(flag_values: flags.FlagValues, arguments: list[str]) -> int:
    """Prints the recipes."""
    refuse_arguments(arguments)
    if flag_values.format == "json":
        print(json.dumps([{"name": name, **asdict(RECIPES[name])} for name in RECIPES]))
        return 0
    for name in RECIPES:
        recipe = RECIPES[name]
        settings = "; ".join(
            [_listed(recipe.settings), *(f"of {model}: {_listed(own)}" for model, own in recipe.of_model.items())]
        )
        facts = {
            "for": recipe.purpose,
            "data sets": ", ".join(recipe.datasets) or "none by default; --recipe takes it",
            "command": recipe.command,
            "duration": NOT_MEASURED if recipe.minutes is None else f"{recipe.minutes} min on two CPU cores",
            "accuracy": recipe.accuracy,
            "settings": settings,
        }
        print(name)
        for key, value in facts.items():
            # Commands are copied, so they keep their line.
            lines = [value] if key == "command" else textwrap.wrap(value, _WIDTH, break_on_hyphens=False)
            print(textwrap.indent("\n".join(lines), " " * 14).replace(" " * 14, f"  {key:<12}", 1))
    return 0


def _listed(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in settings.items())
