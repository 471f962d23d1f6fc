"""What all settings share: types are checked, unknown keys refused, JSON goes in and out."""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, TypeVar

from tfaudio.errors import TfaudioError
from tfaudio.registry import unknown_name_message

C = TypeVar("C", bound="Config")


def check(condition: bool, message: str) -> None:
    """Raises TfaudioError unless the condition holds."""
    if not condition:
        raise TfaudioError(message)


def check_range(key: str, value: float, low: float, high: float) -> None:
    """Raises TfaudioError, naming the setting, unless low <= value <= high."""
    if not low <= value <= high:
        raise TfaudioError(f"{key} must be {low:.15g} to {high:.15g}, not {value}.")


def _coerce(value: Any, kind: Any, key: str) -> Any:
    """Checks a JSON value against a field's annotation and gives it the field's exact type."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        (inner,) = [a for a in arguments if a is not type(None)]
        return _coerce(value, inner, key)
    if origin is Literal:
        if value not in arguments:
            raise TfaudioError(unknown_name_message(f"value for {key}", str(value), [str(a) for a in arguments]))
        return value
    if origin is tuple:
        if isinstance(value, str) or not isinstance(value, typing.Iterable):
            raise TfaudioError(f"{key} must be a list, not {value!r}.")
        return tuple(_coerce(v, arguments[0], key) for v in value)
    if origin is dict:
        check(isinstance(value, Mapping), f"{key} must be a mapping, not {value!r}.")
        return dict(value)
    if isinstance(kind, type) and issubclass(kind, Config):
        return value if isinstance(value, kind) else kind.from_dict(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            value = float(value)
        except OverflowError:
            value = math.inf
    if kind is float and isinstance(value, float) and not math.isfinite(value):
        raise TfaudioError(f"{key} must be a finite number.")
    if kind in (int, float, str, bool) and type(value) is not kind:
        raise TfaudioError(f"{key} must be of type {kind.__name__}, not {value!r}.")
    return value


@dataclass(frozen=True, kw_only=True)
class Config:
    """Base of all settings: typed, frozen, to and from JSON; an unknown key or a wrong type raises."""

    section: ClassVar[str] = ""  # of RunConfig, by which messages name a setting as the user sets it

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self))
        prefix = f"{self.section}." if self.section else ""
        for f in fields(self):
            object.__setattr__(self, f.name, _coerce(getattr(self, f.name), hints[f.name], prefix + f.name))
        self.check()

    def check(self) -> None:
        """Raises TfaudioError if the values do not fit together."""

    @classmethod
    def from_dict(cls: type[C], values: Mapping[str, Any]) -> C:
        """Builds the settings from a mapping; missing keys keep their defaults.

        Raises:
          TfaudioError: on an unknown key, a wrong type or values that do not fit together.
        """
        known = [f.name for f in fields(cls)]
        prefix = f"{cls.section}." if cls.section else ""
        if not isinstance(values, Mapping):
            name, first = cls.section or cls.__name__, prefix + known[0]
            raise TfaudioError(f"{name} must be a mapping of settings such as {first}, not {values!r}.")
        for key in values:
            if key not in known:
                raise TfaudioError(unknown_name_message("setting", f"{prefix}{key}", [prefix + k for k in known]))
        return cls(**values)

    @classmethod
    def from_json(cls: type[C], text: str, *, source: str = "the configuration") -> C:
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:  # a number of too many digits, brackets too deep
            raise TfaudioError(f"{source} is not valid JSON: {error}.") from error
        return cls.from_dict(values)

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n"

    def replace(self: C, **changes: Any) -> C:
        return dataclasses.replace(self, **changes)

    def override(self: C, overrides: Mapping[str, Any]) -> C:
        """Returns a copy with dotted keys replaced.

        >>> from tfaudio.config import RunConfig
        >>> RunConfig().override({"front_end.num_mel_bins": 40}).front_end.num_mel_bins
        40
        """
        values = self.to_dict()
        for key, value in overrides.items():
            *parents, leaf = key.split(".")
            target = values
            for parent in parents:
                if not isinstance(target.get(parent), dict):
                    raise _unknown_setting(key, self.to_dict())
                target = target[parent]
            if leaf not in target and not (parents and parents[-1] == "options"):
                raise _unknown_setting(key, self.to_dict())
            target[leaf] = value
        return type(self).from_dict(values)


def _unknown_setting(key: str, values: Mapping[str, Any]) -> TfaudioError:
    """Says what there is in the section that was meant; of all sections there are over a hundred settings."""
    section, prefix = values, ""
    for name in key.split(".")[:-1]:
        if not isinstance(section.get(name), dict):
            break
        section, prefix = section[name], f"{prefix}{name}."
    listed = [f"{prefix}{name}{'.*' if isinstance(value, dict) else ''}" for name, value in section.items()]
    return TfaudioError(unknown_name_message("setting", key, _dotted_keys(values), listed=listed))


def _dotted_keys(values: Mapping[str, Any], prefix: str = "") -> list[str]:
    keys: list[str] = []
    for key, value in values.items():
        keys += _dotted_keys(value, f"{prefix}{key}.") if isinstance(value, dict) and value else [prefix + key]
    return keys
