"""The gate's limits as flags, of every command that writes models behind it."""

from __future__ import annotations

from dataclasses import asdict

from absl import flags

from tfaudio.export.report import GateConfig

_LIMITS = {
    "max_accuracy_drop": "Accuracy that a file may lose and still be written.",
    "min_agreement": "Share of clips that must get the label of the same weights in Keras.",
    "max_score_difference": "Of saved_model and float32 to Keras' scores; by default 1e-4, or 1e-3 with the spectral "
    "contrast.",
    "max_latency_ms": "Time of one call, on one thread.",
    "max_size_kb": "Size of a file, 1000 bytes each.",
    "max_memory_kb": "Memory that running a file takes.",
}


def define_gate_flags(flag_values: flags.FlagValues) -> None:
    """Defines a flag for each limit."""
    defaults = asdict(GateConfig())
    for name, text in _LIMITS.items():
        flags.DEFINE_float(name, defaults[name], text, flag_values=flag_values)


def gate_of(flag_values: flags.FlagValues) -> GateConfig:
    """The gate that the flags ask for."""
    return GateConfig(**{name: flag_values[name].value for name in _LIMITS})
