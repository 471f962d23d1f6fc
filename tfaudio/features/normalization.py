"""Standardisation of features by statistics of the training data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tfaudio.config import Config
from tfaudio.errors import TfaudioError


@dataclass(frozen=True, kw_only=True)
class Normalization(Config):
    """Mean and standard deviation of each bin, fitted on training data and stored with the model.

    Args:
      mean: one value a bin, or empty for features as they are.
      stddev: likewise.
    """

    mean: tuple[float, ...] = ()
    stddev: tuple[float, ...] = ()

    def check(self) -> None:
        if len(self.mean) != len(self.stddev):
            raise TfaudioError(f"normalization has {len(self.mean)} means but {len(self.stddev)} deviations.")
        if any(s <= 0 for s in self.stddev):
            raise TfaudioError("normalization.stddev must be positive.")

    def __bool__(self) -> bool:
        return bool(self.mean)


class NormalizationFitter:
    """Gathers mean and deviation over batches of features, in float64 and one pass.

    Args:
      smallest: the smallest deviation of each bin, or of all, so that a bin that never moved is not blown up.
    """

    def __init__(self, smallest: npt.ArrayLike = 1e-3) -> None:
        self._smallest = np.asarray(smallest, np.float64)
        self._count = 0
        self._sum: np.ndarray | float = 0.0
        self._squares: np.ndarray | float = 0.0

    def add(self, features: np.ndarray) -> None:
        """Adds the frames of one or more examples: [..., frames, bins], without padding."""
        rows = np.asarray(features, np.float64).reshape(-1, features.shape[-1])
        self._count += len(rows)
        self._sum = self._sum + rows.sum(axis=0)
        self._squares = self._squares + np.square(rows).sum(axis=0)

    def result(self) -> Normalization:
        """Returns the statistics, rounded to float32 so that every consumer has the same numbers.

        Raises:
          TfaudioError: if nothing was added.
        """
        if not self._count:
            raise TfaudioError("There is no training audio to take the features' mean and deviation from.")
        mean = np.asarray(self._sum) / self._count
        variance = np.asarray(self._squares) / self._count - np.square(mean)
        stddev = np.maximum(np.sqrt(np.maximum(variance, 0.0)), self._smallest)
        return Normalization(
            mean=tuple(float(m) for m in mean.astype(np.float32)),
            stddev=tuple(float(s) for s in stddev.astype(np.float32)),
        )
