"""Holds 'who may import whom' of CONTRIBUTING.md by reading the imports."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import tfaudio

PACKAGE = Path(__file__).resolve().parents[1] / "tfaudio"

# What a device runs of the package, beside `runtime`.
_DEVICE = {
    *("config", "errors", "golden", "interpreter", "labels", "memory", "model_settings", "sound_file", "terminal"),
    "text",
}
LOWEST = _DEVICE | {"files", "ranking", "registry"}
_AUDIO = LOWEST | {"audio"}
_FEATURES = _AUDIO | {"augment", "features"}
_MODELS = _FEATURES | {"models"}
_BUNDLE = _MODELS | {"bundle"}
_RUNS = _BUNDLE | {"data"}
# What the modules of a unit (a subpackage, or a module of the top level) may import of the package. `data` stands
# beside `models`: what reads both stands above both. Within a unit anything goes.
ALLOWED: dict[str, set[str]] = {
    **dict.fromkeys(_DEVICE, _DEVICE | {"registry"}),
    **dict.fromkeys(("files", "ranking", "registry"), LOWEST),
    "recipes": LOWEST,
    "audio": LOWEST,
    "features": _AUDIO | {"augment"},
    "augment": _AUDIO | {"features"},
    "data": _FEATURES,
    "models": _FEATURES,
    "bundle": _MODELS,
    "training": _RUNS,
    "export": _RUNS,
    "explain": _RUNS,
    "evaluation": _RUNS | {"training"},
    "optimize": _RUNS | {"training", "export"},
    "transcription": _RUNS | {"training", "evaluation"},
    "runtime": _DEVICE,
    "cli": _RUNS | {"recipes", "training", "export", "optimize", "explain", "evaluation", "transcription", "runtime"},
    "__init__": _RUNS | {"training", "export", "explain", "evaluation", "runtime"},
    "__main__": {"cli"},
}
TENSORFLOW = {"tensorflow", "tensorflow_io", "tensorflow_model_optimization", "tf_keras", "keras"}
# `registry` is here since `config` imports it.
ON_DEVICE = _DEVICE | {"registry", "runtime"}
RUNTIME_THIRD_PARTY = {"numpy", "soundfile", "ai_edge_litert"}
# Reading settings must not cost an import of TensorFlow, nor fail where there is none.
WITHOUT_TENSORFLOW = {*LOWEST, "recipes", "__init__", "__main__"}


def imports_of(tree: ast.AST, module: str) -> list[tuple[str, int]]:
    """Full dotted names that a module imports, anywhere in it, with their lines; `from a import b` gives a.b."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module.split(".")[: -node.level]
                base = ".".join([*package, base] if base else package)
            found += [(f"{base}.{alias.name}", node.lineno) for alias in node.names]
    return found


def violations(source: str, module: str) -> list[str]:
    """What a module does against the rules; it is named in dots, a package's own file with `__init__` at the end."""
    tree = ast.parse(source)
    unit = module.split(".")[1] if "." in module else "__init__"
    found: list[str] = []

    def report(line: int, message: str) -> None:
        found.append(f"{module}:{line}: {message}")

    if unit not in ALLOWED:
        report(1, f"'{unit}' has no place in the layering; give it one here and in CONTRIBUTING.md")
    for name, line in imports_of(tree, module):
        top, *rest = name.split(".")
        if top == "tfaudio":
            target = rest[0] if rest and rest[0] in ALLOWED else "__init__"
            if name in {"tfaudio", "tfaudio.__version__"}:
                continue
            if target != unit and target not in ALLOWED.get(unit, set()):
                report(line, f"{unit} may not import {name}")
            continue
        if top == "absl" and unit != "cli":
            report(line, "only cli knows absl")
        if top in TENSORFLOW and unit in WITHOUT_TENSORFLOW:
            report(line, f"{unit} may not import {top}")
        elif unit in ON_DEVICE and top not in RUNTIME_THIRD_PARTY | set(sys.stdlib_module_names):
            report(line, f"{unit} may not import {top}: a device does not have it")
        if top in TENSORFLOW - {"keras"} and unit == "models":
            report(line, f"models are built with keras alone, not {top}")
        elif top in {"tf_keras", "tensorflow_model_optimization"} and module != "tfaudio.optimize.legacy":
            report(line, f"only tfaudio.optimize.legacy imports {top}, which changes the environment")
        if name.startswith("tensorflow.keras"):
            report(line, "tensorflow.keras may be tf-keras; import keras")
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)):
            continue
        if node.value.id in {"tf", "tensorflow"} and node.attr == "keras":
            report(node.lineno, "tf.keras turns into tf-keras once tfmot is imported; use keras")
        if node.value.id == "tfaudio" and node.attr in tfaudio.__all__ and node.attr != "__version__":
            report(node.lineno, f"tfaudio.{node.attr} hides where it comes from; import it from its module")
    return found


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_keep_to_the_layers(path: Path) -> None:
    assert violations(path.read_text(encoding="utf-8"), module_name(path)) == []


@pytest.mark.parametrize(
    ("source", "module"),
    [
        ("import tfaudio.training.trainer", "tfaudio.export.tflite"),
        ("from tfaudio.training import trainer", "tfaudio.export.tflite"),
        ("from tfaudio import training", "tfaudio.export.tflite"),
        ("from ..training import trainer", "tfaudio.export.tflite"),
        ("from ..training import trainer", "tfaudio.export.__init__"),
        ("def f():\n    from tfaudio.models import MODELS", "tfaudio.data.pipeline"),
        ("from tfaudio.audio import decode", "tfaudio.config"),
        ("import tensorflow as tf", "tfaudio.labels"),
        ("import keras", "tfaudio.runtime.classifier"),
        ("from tfaudio.audio.framing import windows", "tfaudio.runtime.classifier"),
        ("from tqdm import tqdm", "tfaudio.runtime.classifier"),
        ("import scipy.signal", "tfaudio.runtime.classifier"),
        ("import scipy.signal", "tfaudio.sound_file"),
        ("from tfaudio.files import write_json", "tfaudio.model_settings"),
        ("from tfaudio.audio.decode import read_bytes", "tfaudio.sound_file"),
        ("import tensorflow as tf", "tfaudio.models.cnn"),
        ("from absl import flags", "tfaudio.training.trainer"),
        ("from tensorflow import keras", "tfaudio.training.trainer"),
        ("import tf_keras", "tfaudio.optimize.twin"),
        ("from tfaudio.optimize import run", "tfaudio.export.artifact"),
        ("import tensorflow as tf\ntf.keras.layers.Dense(1)", "tfaudio.training.trainer"),
        ("from tfaudio.cli.main import main", "tfaudio.evaluation.report"),
        ("import tfaudio\ntfaudio.RunConfig()", "tfaudio.models.cnn"),
        ("from tfaudio import RunConfig", "tfaudio.models.cnn"),
        ("", "tfaudio.utils"),
    ],
)
def test_a_violation_is_found(source: str, module: str) -> None:
    assert len(violations(source, module)) == 1


@pytest.mark.parametrize(
    ("source", "module"),
    [
        ("from tfaudio.config import RunConfig\nimport tensorflow as tf", "tfaudio.export.tflite"),
        ("from tfaudio.models.registry import MODELS\nimport keras", "tfaudio.models.cnn"),
        ("from . import layers", "tfaudio.models.cnn"),
        ("from . import cnn", "tfaudio.models.__init__"),
        (
            "import json\nimport numpy as np\nfrom ai_edge_litert.interpreter import Interpreter",
            "tfaudio.runtime.classifier",
        ),
        ("from absl import flags", "tfaudio.cli.train"),
        ("import tfaudio\nprint(tfaudio.__version__)", "tfaudio.bundle"),
    ],
)
def test_what_is_allowed_passes(source: str, module: str) -> None:
    assert violations(source, module) == []


def test_no_module_is_called_utils() -> None:
    assert [str(path) for path in PACKAGE.parent.glob("*/**/utils.py") if ".venv" not in str(path)] == []


def test_scripts_are_not_packages() -> None:
    folders = (PACKAGE.parent / name for name in ("tools", "export"))
    assert [path for folder in folders for path in folder.rglob("__init__.py")] == []


@pytest.mark.parametrize(
    "statement",
    [
        "import tfaudio; tfaudio.RunConfig(); tfaudio.LabelMap(('a',)); dir(tfaudio)",
        "from tfaudio.cli.main import main; assert main(['--help']) == 0",
        "from tfaudio.cli.main import main; assert main(['--version']) == 0",
        "from tfaudio.cli.main import main; assert main(['trian']) == 2",
        "import tfaudio.runtime",
    ],
)
def test_what_must_be_quick_imports_no_tensorflow(statement: str) -> None:
    check = "; import sys; heavy = {'tensorflow', 'keras', 'librosa'} & set(sys.modules); assert not heavy, heavy"
    done = subprocess.run(
        [sys.executable, "-c", statement + check], cwd=PACKAGE.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
