"""Whether a classifier is told something about a recording beside its sound, and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tfaudio.config.base import Config, check, check_range

_LONGEST_TEXT = 1024  # words; attention grows with the square
_LARGEST_VOCABULARY = 1_000_000


@dataclass(frozen=True, kw_only=True)
class TextConfig(Config):
    """Text beside the sound: a title, a description, what is said. For models that take both.

    Args:
      length: words of a text that are read, from its beginning; 0: the classifier takes no text.
      vocabulary_size: most words that are told apart, padding and the unknown word among them; the most frequent of the
        training texts are.
      audio_dropout: share of the training examples that lose their sound, so that the text alone learns to tell.
      text_dropout: share that lose their text, so that the sound alone does; no example loses both.
      mask_labels: leave out words that name a class (`tfaudio.text.LabelMask`), in training and whenever the model is
        used, so that a text does not simply give the answer away.
    """

    section: ClassVar[str] = "text"

    length: int = 0
    vocabulary_size: int = 2_000
    audio_dropout: float = 0.1
    text_dropout: float = 0.3
    mask_labels: bool = True

    def check(self) -> None:
        check_range("text.length", self.length, 0, _LONGEST_TEXT)
        check_range("text.vocabulary_size", self.vocabulary_size, 3, _LARGEST_VOCABULARY)
        for name in ("audio_dropout", "text_dropout"):
            check_range(f"text.{name}", getattr(self, name), 0, 1)
        total = self.audio_dropout + self.text_dropout
        check(
            total <= 1,
            f"text.audio_dropout and text.text_dropout must be 1 at most together, not {total:g}: no example loses "
            "both.",
        )
