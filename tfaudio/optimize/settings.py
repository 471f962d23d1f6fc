"""What `tfaudio optimize` can do and how; no TensorFlow, so that a command can check its flags at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from tfaudio.config import Config
from tfaudio.errors import TfaudioError
from tfaudio.registry import unknown_name_message

QAT, PRUNE, CLUSTER = "qat", "prune", "cluster"
METHODS = (QAT, PRUNE, CLUSTER)
# The same training without any method: what a method is better than, if it is worth anything.
CONTROL = "control"

_MOST_EPOCHS = 100_000
_MOST_CLUSTERS = 256  # as many values as eight bits have


def check_methods(names: Sequence[str]) -> tuple[str, ...]:
    """Returns the methods asked for, each once, in the order of METHODS.

    Raises:
      TfaudioError: for an unknown one, or none.
    """
    if not names:
        raise TfaudioError(f"Name at least one method (--method): {', '.join(METHODS)}.")
    for name in names:
        if name not in METHODS:
            raise TfaudioError(unknown_name_message("method", name, list(METHODS)))
    return tuple(name for name in METHODS if name in names)


@dataclass(frozen=True, kw_only=True)
class OptimizeConfig(Config):
    """How a trained run is trained on.

    Args:
      epochs: further passes over the run's training recordings, the same for every method and for the control.
      learning_rate: first rate of Adam, which falls to 0 by a cosine; below that of the training, whose result is
        to be kept.
      sparsity: share of the weights of each convolution and dense layer that pruning sets to zero.
      clusters: distinct weights that clustering leaves in each convolution and dense layer.
      calibration_clips: training recordings that tell the ranges of plain int8.
    """

    section: ClassVar[str] = "optimize"

    epochs: int = 10
    learning_rate: float = 1e-3
    sparsity: float = 0.5
    clusters: int = 16
    calibration_clips: int = 200

    def check(self) -> None:
        self._check(1 <= self.epochs <= _MOST_EPOCHS, "epochs", f"1 to {_MOST_EPOCHS}")
        self._check(0 < self.learning_rate <= 100, "learning_rate", "in (0, 100]")
        self._check(0 < self.sparsity < 1, "sparsity", "above 0 and below 1")
        self._check(2 <= self.clusters <= _MOST_CLUSTERS, "clusters", f"2 to {_MOST_CLUSTERS}")
        self._check(self.calibration_clips >= 1, "calibration_clips", "1 or more")

    def _check(self, holds: bool, name: str, wanted: str) -> None:
        if not holds:
            raise TfaudioError(f"--{name} must be {wanted}, not {getattr(self, name)}.")
