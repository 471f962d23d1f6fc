"""Which runs a protocol asks for, and where each of them lies below the output folder."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tfaudio.bundle import CANDIDATES
from tfaudio.config import RunConfig
from tfaudio.data.spec import DatasetSpec
from tfaudio.errors import TfaudioError
from tfaudio.evaluation.protocol import fold_of

# What would let candidates be measured on other clips, by other luck or by another figure than those beside them. The
# sample rate is here since all runs share recordings that were decoded once.
_SHARED = (
    *("training.seed", "training.shuffle_labels", "training.initial_weights_saw_test"),
    *("front_end.sample_rate", "model.score_activation"),
)


@dataclass(frozen=True)
class PlannedRun:
    """One training.

    Args:
      fold: what it is tested on: the number of a fold, the name of a group, or "test".
      folder: its run folder, below the output folder; "" is that folder itself.
      config: every setting.
    """

    fold: str
    folder: str
    config: RunConfig

    @property
    def title(self) -> str:
        """What people are told of it, beside the data set and the model; empty for a single run without a fold."""
        data = self.config.data
        parts = [] if data.test_fold is None else [f"fold {data.test_fold}"]
        parts += [] if data.test_group is None else [f"group {data.test_group}"]
        name = self.folder.rpartition("/")[2]
        return ", ".join([*parts, *(word.replace("_", " ") for word in re.findall(r"(?:seed|candidate)_\d+$", name))])

    def with_settings(self, settings: Mapping[str, Any]) -> PlannedRun:
        """Returns the run with other settings, by dotted key."""
        return replace(self, config=self.config.override(settings))


@dataclass(frozen=True)
class Choice:
    """Which candidate a nested protocol took for a fold, and why.

    Args:
      fold: that is tested on, and was not looked at.
      chosen_on: the fold on which the candidates were scored; it is left out of their training as `fold` is.
      accuracies: of the candidates, in their order; of taggers their mean average precisions.
      metric: which of the two they are, as JSON has it.
    """

    fold: str
    chosen_on: str
    accuracies: tuple[float, ...]
    metric: str = "accuracies"

    @property
    def chosen(self) -> int:
        """Number of the best candidate, from 0; the first of equals."""
        return self.accuracies.index(max(self.accuracies))

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values, for JSON; the number of the chosen one counts from 1, as its folder does."""
        return {"chosen_on": self.chosen_on, self.metric: list(self.accuracies), "chosen": self.chosen + 1}


def plan_runs(
    config: RunConfig,
    spec: DatasetSpec,
    *,
    folds: Sequence[int] = (),
    by_group: bool = False,
    seeds: Sequence[int] = (),
    nested: bool = False,
) -> list[PlannedRun]:
    """Returns the runs of a protocol: one a fold or group, and of each one a seed.

    Args:
      config: what all have in common.
      spec: the data set.
      folds: official folds to test on, one after the other; empty leaves the test set to config.
      by_group: test on each group instead.
      seeds: of the trainings; empty leaves the seed to config.
      nested: keep the output folder free for the candidates' runs, even where there is one run alone.

    Raises:
      TfaudioError: if the data set has fewer than two groups, and they are asked for.
    """
    tests: list[tuple[str, str, dict[str, Any]]] = [(fold_of(config), "", {})]
    if by_group:
        groups = sorted({spec.group_of(clip) for clip in spec.clips})
        if len(groups) < 2:
            raise TfaudioError(f"Data set '{spec.name}' has no two groups, so none can be left out; name them.")
        tests = [
            (group, folder_of(None, group), {"data.test_fold": None, "data.test_group": group}) for group in groups
        ]
    elif folds:
        tests = [
            (str(fold), folder_of(fold, None) if len(folds) > 1 or nested else "", {"data.test_fold": fold})
            for fold in folds
        ]
    runs = []
    for fold, folder, overrides in tests:
        if not seeds:
            runs.append(PlannedRun(fold, folder, config.override(overrides)))
        for seed in seeds:
            name = f"{folder}_seed_{seed}" if folder else f"seed_{seed}"
            runs.append(PlannedRun(fold, name, config.override({**overrides, "training.seed": seed})))
    return runs


@dataclass(frozen=True)
class Candidate:
    """A training by which settings are chosen, and what it is scored on for that.

    Args:
      run: the training, which leaves out two folds: one it is tested on, one takes no part.
      scored: the same with the fold to choose by as its test set, be it the one or the other.
    """

    run: PlannedRun
    scored: PlannedRun


def plan_candidates(run: PlannedRun, candidates: Sequence[Mapping[str, Any]], spec: DatasetSpec) -> list[Candidate]:
    """Returns the trainings by which the settings of a fold's model are chosen, none of which knows that fold.

    Folds go in pairs, in their order, the last one of an odd number with the first. One training that leaves out both
    serves both: scored on either, it chooses for the other.

    Args:
      run: tested on an official fold.
      candidates: settings by dotted key, which change the run's.
      spec: the data set.

    Returns:
      One for each candidate; its seed is the run's.

    Raises:
      TfaudioError: if the data set has fewer than three folds, or a candidate is no fair one.
    """
    outer = run.config.data.test_fold
    if outer not in spec.folds or len(spec.folds) < 3:
        raise TfaudioError(
            "A nested protocol tests on official folds, and needs at least three (to train on, to choose by, to test "
            f"on); data set '{spec.name}' has {', '.join(map(str, spec.folds)) or 'none'}, not {outer}."
        )
    position = spec.folds.index(outer)
    first = position - position % 2
    pair = (spec.folds[first], spec.folds[(first + 1) % len(spec.folds)])
    other = dict(zip(pair, reversed(pair), strict=True))

    def tested_on(fold: int) -> dict[str, int]:
        return {"data.test_fold": fold, "data.left_out_fold": other[fold]}

    planned = []
    for number, candidate in enumerate(candidates, 1):
        for key in candidate:
            # {} clears a whole section.
            if any(f"{name}.".startswith(f"{key}.") for name in _SHARED) or f"{key}.".startswith("data."):
                raise TfaudioError(f"A candidate may not set {key}, which all of them must share; set it for the run.")
        folder = f"{CANDIDATES}/folds_{pair[0]}_{pair[1]}/candidate_{number}"
        config = run.config.override(candidate)
        trained, scored = (
            PlannedRun(str(fold), folder, config.override(tested_on(fold))) for fold in (pair[1], other[outer])
        )
        planned.append(Candidate(trained, scored))
    return planned


def check_known_runs(planned: Iterable[PlannedRun], standing: Sequence[str], *, nested: bool = False) -> None:
    """Refuses to resume runs other than those of the folder: what is measured has to be all that stands there.

    Args:
      planned: what is asked for.
      standing: names of the folders inside the output folder, of runs and of a choice; "" if it is a run itself.
      nested: candidates are asked for.

    Raises:
      TfaudioError: if there are some that are not planned.
    """
    known = {run.folder for run in planned} | ({CANDIDATES} if nested else set())
    if others := [name for name in standing if name not in known]:
        told = "a single run" if others[0] == "" else f"other runs ({', '.join(others)})"
        raise TfaudioError(
            f"The output folder holds {told}; resume with the same --folds, --seeds and --protocol, or more folds and "
            "seeds, or name another."
        )


def folder_of(fold: int | None, group: str | None) -> str:
    """Names the folder of what is tested on an official fold, or on a group; "test" where it is neither."""
    if group is not None:
        return f"group_{_file_name(group)}"
    return "test" if fold is None else f"fold_{fold}"


def _file_name(group: str) -> str:
    """A name for any file system, the group's own where it can be one."""
    if re.fullmatch(r"[A-Za-z0-9._-]{1,60}", group):
        return group
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", group)[:40]
    return f"{readable}_{hashlib.sha256(group.encode()).hexdigest()[:8]}"
