"""Texts to tokens without TensorFlow: what training, export and a device share.

A text is lower-cased; everything but letters, marks and digits of any script ends a word. Scripts that put no space
between words need one put there. `tfaudio.data.vocabulary` does the same inside a graph.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from tfaudio.config import TextConfig
from tfaudio.errors import TfaudioError
from tfaudio.labels import LabelMap

PADDING, UNKNOWN = 0, 1  # tokens that stand for no word of the vocabulary
_SPECIAL = ("[PAD]", "[UNK]")  # their lines in a vocabulary file; no word holds a bracket

_ENDINGS = ("ing", "s")
_SHORTEST_STEM = 3
_SHORTEST_PART = 4

Tokens = npt.NDArray[np.int32]


def words_of(text: str) -> list[str]:
    """Splits a text into its words.

    >>> words_of("Rose_bark, 2× (Größe: Ñ)")
    ['rose', 'bark', '2', 'größe', 'ñ']
    """
    return _split(unicodedata.normalize("NFC", text).lower())


def _split(lowered: str) -> list[str]:
    return "".join(sign if unicodedata.category(sign)[0] in "LMN" else " " for sign in lowered).split()


@dataclass(frozen=True)
class LabelMask:
    """The words of a text that name a class.

    A word is hidden if it holds a class name's word, less its ending "ing" or "s" ("dogbarks" for "dog", "sneeze" for
    "sneezing"), or if it is four or more letters of one in a row ("heli" for "helicopter"). Of a class called by one or
    two Latin letters or digits, that alone is. The rule would rather hide too much: "rain" hides "train". What is
    not spelt alike (another language, "cock-a-doodle-doo") it does not know.

    Args:
      stems: that hide what holds them.
      words: that are hidden as they are.

    >>> mask = LabelMask.of(LabelMap(("dog", "sneezing")))
    >>> [mask.hides(word) for word in ("dogs", "sneeze", "neez", "mark")]
    [True, True, True, False]
    """

    stems: tuple[str, ...]
    words: frozenset[str]

    @classmethod
    def of(cls, labels: Iterable[str]) -> LabelMask:
        """Makes the mask of class names."""
        stems: set[str] = set()
        hidden: set[str] = set()
        for name in {word for label in labels for word in words_of(label)}:
            stems_of_name = (name.removesuffix(ending) for ending in _ENDINGS if name.endswith(ending))
            stem = next((stem for stem in stems_of_name if len(stem) >= _SHORTEST_STEM), name)
            # Of bytes, so that one sign of a script whose words are that short counts as a word.
            (hidden if len(stem.encode("utf-8")) < _SHORTEST_STEM else stems).add(stem)
            hidden |= {
                name[start:end] for end in range(len(name) + 1) for start in range(max(0, end - _SHORTEST_PART + 1))
            }
        return cls(tuple(sorted(stems)), frozenset(hidden))

    def hides(self, word: str) -> bool:
        """Whether a word of `words_of` is left out."""
        return word in self.words or any(stem in word for stem in self.stems)


@dataclass(frozen=True)
class Tokenizer:
    """Makes tokens of texts: 0 pads, 1 is a word that is not known; all zeros say that there is no text.

    Args:
      vocabulary: the words of the tokens from 2 on.
      length: tokens of a text; further words are left out.
      hidden_labels: classes whose names are left out of every text; None leaves nothing out.

    >>> tokenizer = Tokenizer(("bark", "rose"), 4, LabelMap(("dog", "rain")))
    >>> tokenizer.tokens(["rose_bark", "Dogs bark aloud", None]).tolist()
    [[3, 2, 0, 0], [2, 1, 0, 0], [0, 0, 0, 0]]
    """

    vocabulary: tuple[str, ...]
    length: int
    hidden_labels: LabelMap | None = None

    @classmethod
    def from_text(cls, text: str, config: TextConfig, labels: LabelMap) -> Tokenizer:
        """Reads a vocabulary file: the word of each token, one a line.

        Args:
          text: its content.
          config: length, vocabulary_size and mask_labels are used.
          labels: of the model.

        Raises:
          TfaudioError: if it is none, or has more words than the model tells apart.
        """
        lines = [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]
        if tuple(lines[:2]) != _SPECIAL or len(lines) > config.vocabulary_size:
            raise TfaudioError(
                f"it is no vocabulary of up to {config.vocabulary_size} tokens, the first two of them "
                f"{' and '.join(_SPECIAL)}."
            )
        words = tuple(lines[2:])
        if not words or len(set(words)) != len(words) or any(_split(word.lower()) != [word] for word in words):
            raise TfaudioError("it holds no word, one twice, or a line that is not one word.")
        return cls(words, config.length, labels if config.mask_labels else None)

    def to_text(self) -> str:
        """Returns the vocabulary file; the number of a line, from 0, is the token."""
        return "".join(f"{word}\n" for word in (*_SPECIAL, *self.vocabulary))

    @cached_property
    def mask(self) -> LabelMask | None:
        """What is left out; None if nothing is."""
        return None if self.hidden_labels is None else LabelMask.of(self.hidden_labels)

    @cached_property
    def _token_of(self) -> dict[str, int]:
        return {word: token for token, word in enumerate(self.vocabulary, len(_SPECIAL))}

    def words(self, text: str | None) -> list[str]:
        """Returns the words of a text that are not left out; none where there is no text."""
        words = words_of(text or "")
        mask = self.mask
        return words if mask is None else [word for word in words if not mask.hides(word)]

    def tokens(self, texts: Iterable[str | None]) -> Tokens:
        """Returns the tokens of texts, int32 [texts, length]; None and "" are no text."""
        rows = [[self._token_of.get(word, UNKNOWN) for word in self.words(text)[: self.length]] for text in texts]
        tokens = np.full((len(rows), self.length), PADDING, np.int32)
        for row, found in zip(tokens, rows, strict=True):
            row[: len(found)] = found
        return tokens

    def settings(self) -> dict[str, Any]:
        """What a file has to say of it beside the vocabulary: keys of TextConfig."""
        return {
            "length": self.length,
            "vocabulary_size": len(_SPECIAL) + len(self.vocabulary),
            "mask_labels": self.hidden_labels is not None,
        }
