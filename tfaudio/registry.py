"""Names for things that a configuration can ask for."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

from tfaudio.errors import TfaudioError

T = TypeVar("T")


def unknown_name_message(kind: str, name: str, known: Sequence[str], *, listed: Sequence[str] = ()) -> str:
    """Says which names are known and, where one is close, which was probably meant.

    Args:
      kind: of thing that the name is of.
      name: that is unknown.
      known: all names.
      listed: what the sentence lists in their place, where they are too many to read.
    """
    # A setting's own name without its section is too short to be close to the whole.
    close = difflib.get_close_matches(name, known, n=1) or [one for one in known if one.endswith(f".{name}")]
    hint = f" Did you mean '{close[0]}'?" if close else ""
    return f"Unknown {kind} '{name}'; known: {', '.join(listed or known)}.{hint}"


class Registry(Generic[T]):
    """A mapping from name to builder that refuses duplicates and explains unknown names.

    >>> shapes = Registry("shape")
    >>> @shapes.register("square")
    ... def square(side): return side * side
    >>> shapes["square"](3)
    9
    >>> shapes.names()
    ['square']
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._items: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Returns a decorator that files its argument under `name`.

        Raises:
          ValueError: if the name is taken.
        """

        def add(item: T) -> T:
            if name in self._items:
                raise ValueError(f"The {self.kind} '{name}' is registered twice.")
            self._items[name] = item
            return item

        return add

    def names(self) -> list[str]:
        return sorted(self._items)

    def __getitem__(self, name: str) -> T:
        if name not in self._items:
            raise TfaudioError(unknown_name_message(self.kind, name, self.names()))
        return self._items[name]

    def __contains__(self, name: object) -> bool:
        return name in self._items

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())
