"""Index <-> name of the classes, in the order of the model's outputs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tfaudio.errors import TfaudioError


@dataclass(frozen=True)
class LabelMap:
    """The classes of a model, in the order of its outputs.

    Args:
      names: distinct, non-empty class names; a name may hold spaces, commas and any script, but nothing
        that ends a line (U+2028 does too), since label files keep one name a line.

    Raises:
      TfaudioError: if a name is empty, repeated or holds a line break.

    >>> labels = LabelMap.from_labels(["rain", "dog", "rain"])
    >>> labels.names, labels.index("rain")
    (('dog', 'rain'), 1)
    """

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.names:
            raise TfaudioError("A label map needs at least one class name.")
        for name in self.names:
            if not name.strip() or name.splitlines() != [name]:
                raise TfaudioError(f"Class name {name!r} is empty or holds a line break; rename the class.")
        if len(set(self.names)) != len(self.names):
            twice = sorted({name for name in self.names if self.names.count(name) > 1})
            raise TfaudioError(f"Class names appear twice: {', '.join(twice)}.")

    @classmethod
    def from_labels(cls, labels: Iterable[str]) -> LabelMap:
        """Collects the distinct labels of a data set, sorted by name."""
        return cls(tuple(sorted(set(labels))))

    @classmethod
    def from_text(cls, text: str) -> LabelMap:
        """Reads a label file: one class name a line, also where an editor has ended the lines as Windows does."""
        lines = (line.removesuffix("\r") for line in text.split("\n"))
        return cls(tuple(line for line in lines if line.strip()))

    def to_text(self) -> str:
        return "".join(f"{name}\n" for name in self.names)

    def index(self, name: str) -> int:
        try:
            return self.names.index(name)
        except ValueError:
            raise TfaudioError(f"Label '{name}' is not one of the classes: {', '.join(self.names)}.") from None

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __getitem__(self, index: int) -> str:
        return self.names[index]
