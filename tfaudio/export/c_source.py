"""Constants as C sources."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
import numpy.typing as npt

_TYPES = {"float32": "float", "int8": "int8_t", "int16": "int16_t", "uint16": "uint16_t"}
_NOTE = "// Written by `tfaudio export --formats=tflm`.\n"


def header(guard: str, content: str) -> str:
    """Wraps declarations in an include guard, with C linkage for C++."""
    return (
        f"{_NOTE}#ifndef {guard}\n#define {guard}\n\n"
        f'#ifdef __cplusplus\nextern "C" {{\n#endif\n\n{content.strip()}\n\n'
        "#ifdef __cplusplus\n}\n#endif\n\n#endif\n"
    )


def aligned_bytes(included: str, name: str, content: bytes) -> str:
    """A C++ source that holds a file as an array on a 16-byte boundary, and its size as NAME_size."""
    values = ", ".join(f"0x{byte:02x}" for byte in content)
    return (
        f'{_NOTE}#include "{included}"\n\nalignas(16) const unsigned char {name}[] = {{\n'
        f"{textwrap.fill(values, 118, initial_indent='  ', subsequent_indent='  ')}\n}};\n"
        f"const unsigned int {name}_size = {len(content)};\n"
    )


def declaration(name: str, values: npt.NDArray[Any]) -> str:
    """Declares a constant array [n]."""
    return f"extern const {_TYPES[values.dtype.name]} {name}[{len(values)}];"


def array(name: str, values: npt.NDArray[Any]) -> str:
    """Defines a constant array [n]."""
    items = ", ".join(map(real if values.dtype == np.float32 else str, values.tolist()))
    body = textwrap.fill(items, 118, initial_indent="  ", subsequent_indent="  ")
    return f"const {_TYPES[values.dtype.name]} {name}[{len(values)}] = {{\n{body}\n}};\n"


def strings(name: str, size: str, values: list[str]) -> str:
    """Defines an array of strings, in UTF-8."""
    return f"const char* const {name}[{size}] = {{\n" + "".join(f"  {text(value)},\n" for value in values) + "};\n"


def text(value: str) -> str:
    r"""Quotes a string for C: what is not ASCII becomes octal escapes, which no following digit can lengthen.

    >>> print(text('"é"1'))
    "\"\303\251\"1"
    """
    quoted = "".join(
        chr(byte) if 32 <= byte < 127 and chr(byte) not in '"\\?' else _escape(byte) for byte in value.encode("utf-8")
    )
    return f'"{quoted}"'


def _escape(byte: int) -> str:
    return f"\\{chr(byte)}" if chr(byte) in '"\\?' else f"\\{byte:03o}"


def real(value: float) -> str:
    """A float literal that gives the same float32 back.

    >>> real(1.0), real(1e-6)
    ('1.0f', '9.99999997e-07f')
    """
    written = f"{np.float32(value):.9g}"
    return written + ("f" if any(c in written for c in ".en") else ".0f")
