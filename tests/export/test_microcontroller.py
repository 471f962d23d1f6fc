"""What is written for a microcontroller, compiled and run here."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from tests.export.small_files import file_of_operators
from tests.export.small_runs import FRONT_END, LABELS, LEAF, Exported, tones, untrained
from tfaudio.cli.main import main
from tfaudio.config import FrontEndConfig
from tfaudio.errors import TfaudioError
from tfaudio.export import c_source, microcontroller
from tfaudio.export.arena import Interval, arena_bytes, plan
from tfaudio.export.artifact import export_run
from tfaudio.export.flatbuffer import operators
from tfaudio.export.microcontroller import operator_header, why_not_ported
from tfaudio.runtime.metadata import read_settings_folder

SOURCES = Path(__file__).resolve().parents[2] / "export" / "microcontroller"
STRICT = ["-Wall", "-Wextra", "-Werror", "-O1"]
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="there is no g++ on this machine")


@pytest.fixture(scope="module")
def folder(cnn: Exported) -> Path:
    return cnn.report.paths["tflm"]


def run(*command: str | Path) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def test_the_folder_holds_model_constants_and_settings(folder: Path, cnn: Exported) -> None:
    assert sorted(path.name for path in folder.iterdir()) == [
        "golden.npz",
        "labels.txt",
        "model.tflite",
        "tfaudio.json",
        "tfaudio_golden.c",
        "tfaudio_golden.h",
        "tfaudio_model.cc",
        "tfaudio_model.h",
        "tfaudio_operators.h",
        "tfaudio_settings.c",
        "tfaudio_settings.h",
    ]
    metadata = read_settings_folder(folder)
    assert (metadata.variant, metadata.labels, metadata.front_end) == ("tflm", LABELS, FRONT_END)
    assert metadata.calibration is not None
    assert metadata.calibration.clips == 60
    (found,) = [report for report in cnn.report.formats if report.name == "tflm"]
    assert found.size_bytes == (folder / "model.tflite").stat().st_size
    assert found.agreement is not None
    assert found.agreement >= 0.95


def test_info_reads_the_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(folder), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["kind"], facts["variant"], facts["labels"]) == ("microcontroller", "tflm", list(LABELS))
    assert facts["calibration"]["clips"] == 60
    assert len(facts["normalization"]["mean"]) == 40


@needs_compiler
@pytest.mark.parametrize(("compiler", "standard"), [("gcc", "-std=c99"), ("g++", "-std=c++11")], ids=["as C", "as C++"])
def test_the_c_front_end_gives_the_golden_features(folder: Path, tmp_path: Path, compiler: str, standard: str) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"there is no {compiler} on this machine")
    program = tmp_path / "self_test"
    parts = [SOURCES / "self_test.c", SOURCES / "tfaudio_front_end.c"]
    parts += [folder / "tfaudio_settings.c", folder / "tfaudio_golden.c"]
    run(compiler, standard, *STRICT, f"-I{folder}", f"-I{SOURCES}", *parts, "-o", program, "-lm")
    found = json.loads(run(program))
    assert found["vectors"] == 3
    assert found["features"] == 3 * 63 * 40
    assert found["largest_difference"] <= 1
    assert found["differing"] < 0.01 * found["features"]


@needs_compiler
@pytest.mark.parametrize(
    "changes",
    [
        {"compression": "db", "spectrum": "magnitude", "frame_length": 400, "frame_step": 160},
        {"compression": "none", "mel_norm": "none", "lower_edge_hertz": 60.0, "num_mel_bins": 20},
    ],
    ids=lambda changes: changes["compression"],
)
def test_other_front_ends_in_c(changes: dict[str, object], tmp_path: Path) -> None:
    bundle = untrained("ds_cnn", front_end=FRONT_END.replace(**changes))
    report = export_run(bundle, formats=["tflm"], output_dir=tmp_path / "out", calibration=tones(8, 1)[0])
    folder = report.paths["tflm"]
    program = tmp_path / "self_test"
    parts = [SOURCES / "self_test.c", SOURCES / "tfaudio_front_end.c"]
    parts += [folder / "tfaudio_settings.c", folder / "tfaudio_golden.c"]
    run("gcc", "-std=c99", *STRICT, f"-I{folder}", f"-I{SOURCES}", *parts, "-o", program, "-lm")
    assert json.loads(run(program))["largest_difference"] <= 1


CHECK = r"""
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <vector>
#include "tfaudio_front_end.h"
#include "tfaudio_model.h"
enum Status { kTfLiteOk, kTfLiteError };
struct Resolver {
  std::vector<const char*> added;
  @METHODS@
};
#include "tfaudio_operators.h"
int main() {
  Resolver resolver;
  if (!tfaudio_add_operators(resolver) || resolver.added.size() != TFAUDIO_NUM_OPERATORS) return 1;
  if (reinterpret_cast<std::uintptr_t>(tfaudio_model) % 16) return 2;
  if (std::memcmp(tfaudio_model + 4, "TFL3", 4)) return 3;
  std::fwrite(tfaudio_model, 1, tfaudio_model_size, stdout);
  const std::int8_t logits[TFAUDIO_NUM_CLASSES] = {10, -20, 30, 127, -128, 0};
  float scores[TFAUDIO_NUM_CLASSES];
  tfaudio_scores(logits, scores);
  for (int i = 0; i < TFAUDIO_NUM_CLASSES; ++i) std::fprintf(stderr, "%s\n%.9g\n", tfaudio_labels[i], scores[i]);
}
"""


def _checked(folder: Path, tmp_path: Path) -> tuple[bytes, list[str]]:
    """What CHECK writes to its outputs when it is compiled with a folder's sources."""
    methods = "".join(
        f'Status {name}() {{ added.push_back("{name}"); return kTfLiteOk; }}\n'
        for name in re.findall(r"resolver\.(\w+)\(\)", (folder / "tfaudio_operators.h").read_text())
    )
    (tmp_path / "check.cc").write_text(CHECK.replace("@METHODS@", methods))
    parts = [tmp_path / "check.cc", folder / "tfaudio_model.cc"]
    program = tmp_path / "check"
    objects = []
    for source in (SOURCES / "tfaudio_front_end.c", folder / "tfaudio_settings.c"):
        objects.append(tmp_path / f"{source.stem}.o")
        run("gcc", "-std=c99", *STRICT, f"-I{folder}", f"-I{SOURCES}", "-c", source, "-o", objects[-1])
    run("g++", "-std=c++11", *STRICT, f"-I{folder}", f"-I{SOURCES}", *parts, *objects, "-o", program)
    done = subprocess.run([program], capture_output=True, check=False)
    assert done.returncode == 0
    return done.stdout, done.stderr.decode("utf-8").splitlines()


def _logits(folder: Path) -> npt.NDArray[np.float64]:
    """Those of CHECK, as the model means them."""
    interpreter = Interpreter(model_path=str(folder / "model.tflite"))
    scale, zero = interpreter.get_output_details()[0]["quantization"]
    return (np.array([10, -20, 30, 127, -128, 0]) - zero) * float(scale)


@needs_compiler
def test_the_model_the_labels_and_the_operators_compile(folder: Path, tmp_path: Path) -> None:
    model, lines = _checked(folder, tmp_path)
    assert model == (folder / "model.tflite").read_bytes()
    assert lines[::2] == list(LABELS)
    logits = _logits(folder)
    expected = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    np.testing.assert_allclose([float(line) for line in lines[1::2]], expected, rtol=1e-5)


@needs_compiler
def test_tags_have_scores_of_their_own_in_c(folder: Path, tmp_path: Path) -> None:
    tagger = tmp_path / "tagger"
    shutil.copytree(folder, tagger)
    settings = (tagger / "tfaudio_settings.h").read_text()
    assert "SCORES_SIGMOID 0" in settings  # test_tags.py has a tagger's, where it is 1
    (tagger / "tfaudio_settings.h").write_text(settings.replace("SCORES_SIGMOID 0", "SCORES_SIGMOID 1"))
    _, lines = _checked(tagger, tmp_path)
    expected = 1 / (1 + np.exp(-_logits(tagger)))
    np.testing.assert_allclose([float(line) for line in lines[1::2]], expected, rtol=1e-5)


def test_the_golden_logits_are_those_of_the_reference_kernels(folder: Path) -> None:
    # TFLM's kernels round as the reference kernels do; those that are in use here by default may differ by a step.
    vectors = np.load(folder / "golden.npz")
    interpreter = Interpreter(
        model_path=str(folder / "model.tflite"), experimental_op_resolver_type=OpResolverType.BUILTIN_REF
    )
    interpreter.allocate_tensors()
    for features, logits in zip(vectors["features"], vectors["logits"], strict=True):
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], features[None])
        interpreter.invoke()
        found = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0]
        assert np.abs(found.astype(int) - logits).max() <= 1


@pytest.mark.skipif(
    importlib.util.find_spec("tflite_micro") is None, reason="tflite-micro is not installed, which wants NumPy 2"
)
def test_tflm_runs_the_model_within_the_arena(folder: Path) -> None:
    run(sys.executable, SOURCES / "run_in_tflm.py", folder)


def test_tensors_that_live_at_different_times_share_memory() -> None:
    # A chain of three: the first and the third share; then one that outlives all.
    assert plan([Interval(100, -1, 0), Interval(60, 0, 1), Interval(100, 1, 2)]) == 112 + 64
    assert plan([Interval(100, -1, 9), Interval(60, 0, 1), Interval(60, 2, 3)]) == 112 + 64
    assert plan([]) == 0


def test_the_arena_holds_the_tensors_and_not_much_more(folder: Path) -> None:
    content = (folder / "model.tflite").read_bytes()
    # Input, and what the first convolution makes of it, live at the same time: [1, 63, 40] padded, and [1, 32, 20, 8].
    least = 67 * 44 + 32 * 20 * 8
    assert least < arena_bytes(content) < 3 * least


def test_a_front_end_that_c_does_not_compute_is_told(tmp_path: Path) -> None:
    bundle = untrained("cnn", front_end=LEAF)
    report = export_run(bundle, formats=["tflm"], output_dir=tmp_path / "out", calibration=tones(8, 1)[0])
    (found,) = report.formats
    assert "does not compute a learnt front end" in found.notes[1]
    header = (report.paths["tflm"] / "tfaudio_settings.h").read_text()
    assert "#define TFAUDIO_FRONT_END_PORTED 0" in header
    assert "tfaudio_window" not in header


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, None),
        ({"compression": "db", "spectrum": "magnitude"}, None),
        ({"compression": "db", "top_db": 80.0}, "front_end.top_db"),
        ({"compression": "pcen"}, "compression 'pcen'"),
        ({"deltas": 1}, "front_end.deltas"),
        ({"feature": "mfcc"}, "features 'mfcc'"),
        ({"fft_length": 1536, "implementation": "matmul"}, "a Fourier transform of 1536 points"),
    ],
)
def test_what_c_computes(changes: dict[str, object], expected: str | None) -> None:
    assert why_not_ported(FrontEndConfig(**changes)) == expected  # type: ignore[arg-type]


def test_an_operator_that_tflm_lacks_is_refused(cnn: Exported) -> None:
    assert "RFFT2D" in operators(cnn.content("float32"))
    with pytest.raises(TfaudioError, match=r"no kernel for .*RFFT2D"):
        operator_header(cnn.content("float32"))


# Of tensorflow/lite/micro/micro_mutable_op_resolver.h.
METHODS = {
    "ABS": "AddAbs",
    "ADD": "AddAdd",
    "AVERAGE_POOL_2D": "AddAveragePool2D",
    "BATCH_MATMUL": "AddBatchMatMul",
    "CONCATENATION": "AddConcatenation",
    "CONV_2D": "AddConv2D",
    "DEPTHWISE_CONV_2D": "AddDepthwiseConv2D",
    "DEQUANTIZE": "AddDequantize",
    "DIV": "AddDiv",
    "EXP": "AddExp",
    "EXPAND_DIMS": "AddExpandDims",
    "FULLY_CONNECTED": "AddFullyConnected",
    "GATHER": "AddGather",
    "HARD_SWISH": "AddHardSwish",
    "L2_POOL_2D": "AddL2Pool2D",
    "LEAKY_RELU": "AddLeakyRelu",
    "LOG": "AddLog",
    "LOGISTIC": "AddLogistic",
    "MAXIMUM": "AddMaximum",
    "MAX_POOL_2D": "AddMaxPool2D",
    "MEAN": "AddMean",
    "MINIMUM": "AddMinimum",
    "MUL": "AddMul",
    "NEG": "AddNeg",
    "PACK": "AddPack",
    "PAD": "AddPad",
    "PADV2": "AddPadV2",
    "PRELU": "AddPrelu",
    "QUANTIZE": "AddQuantize",
    "REDUCE_MAX": "AddReduceMax",
    "RELU": "AddRelu",
    "RELU6": "AddRelu6",
    "RESHAPE": "AddReshape",
    "RSQRT": "AddRsqrt",
    "SLICE": "AddSlice",
    "SOFTMAX": "AddSoftmax",
    "SPLIT": "AddSplit",
    "SPLIT_V": "AddSplitV",
    "SQRT": "AddSqrt",
    "SQUARE": "AddSquare",
    "SQUARED_DIFFERENCE": "AddSquaredDifference",
    "SQUEEZE": "AddSqueeze",
    "STRIDED_SLICE": "AddStridedSlice",
    "SUB": "AddSub",
    "SUM": "AddSum",
    "TANH": "AddTanh",
    "TRANSPOSE": "AddTranspose",
    "TRANSPOSE_CONV": "AddTransposeConv",
    "UNPACK": "AddUnpack",
}


def test_operators_are_added_by_the_names_that_tflm_gives_them() -> None:
    assert set(METHODS) == set(microcontroller._RESOLVER_METHODS) | microcontroller._RESOLVER_PLAIN
    for operator, method in METHODS.items():
        header = operator_header(file_of_operators(operator))
        assert re.findall(r"resolver\.(\w+)\(\)", header) == [method]


@pytest.mark.parametrize("operator", ["EXP", "L2_POOL_2D", "LOG", "NEG", "SQRT", "SQUARE"])
def test_integers_that_a_kernel_of_tflm_does_not_compute_are_refused(operator: str) -> None:
    assert METHODS[operator] in operator_header(file_of_operators(operator, "ADD"))
    with pytest.raises(TfaudioError, match=f"computes {operator} in float32 alone.*choose another model"):
        operator_header(file_of_operators(operator, "ADD", type_name="INT8"))
    for other in ("ABS", "RSQRT", "SQUARED_DIFFERENCE"):
        assert METHODS[other] in operator_header(file_of_operators(other, type_name="INT8"))


def test_constants_in_c() -> None:
    assert [c_source.real(v) for v in (0.0, -1.0, 0.1, 1e-30, 3e8)] == [
        "0.0f",
        "-1.0f",
        "0.100000001f",
        "1e-30f",
        "300000000.0f",
    ]
    values = np.random.default_rng(0).normal(size=200).astype(np.float32)
    assert np.array_equal(np.array([float(c_source.real(v)[:-1]) for v in values], np.float32), values)
