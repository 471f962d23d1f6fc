"""Multiplications by hand, operators timed alone, and the command."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from tests.export.small_runs import Exported
from tests.static_models import convert_static
from tfaudio.cli.main import main
from tfaudio.errors import TfaudioError
from tfaudio.export.benchmark import _Runner, operator_times, run_benchmark
from tfaudio.export.flatbuffer import parse, serialize
from tfaudio.export.single_operator import one_operator
from tfaudio.export.work import Work, work_of
from tfaudio.memory import memory_of

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A network whose multiplications are easily counted."""
    x = keras.Input((12, 10, 3))
    y = keras.layers.Conv2D(8, (3, 5), strides=2, padding="same")(x)  # [6, 5, 8]
    y = keras.layers.DepthwiseConv2D((3, 3), padding="valid")(y)  # [4, 3, 8]
    y = keras.layers.Dense(7)(keras.layers.Flatten()(y))
    return convert_static(keras.Model(x, y), tmp_path_factory.mktemp("small") / "m")


def test_multiplications_are_those_counted_by_hand(small: bytes) -> None:
    macs = {work.operator: work.macs for work in work_of(parse(small)) if work.macs}
    assert macs == {
        "CONV_2D": 6 * 5 * 8 * (3 * 5 * 3),
        "DEPTHWISE_CONV_2D": 4 * 3 * 8 * 9,
        "FULLY_CONNECTED": 4 * 3 * 8 * 7,
    }
    assert {work.arithmetic for work in work_of(parse(small))} == {"float32"}


def test_energy_is_multiplications_times_that_of_one() -> None:
    assert Work(0, "CONV_2D", 1_000_000, "float32").energy_microjoules == pytest.approx(4.6)
    assert Work(0, "CONV_2D", 1_000_000, "int8").energy_microjoules == pytest.approx(0.3)


@pytest.mark.parametrize("variant", ["float32", "float16", "dynamic_range", "int8", "int16x8"])
def test_precision_changes_the_arithmetic_and_not_the_count(cnn: Exported, variant: str) -> None:
    def products(name: str) -> dict[str, int]:
        found: dict[str, int] = {}
        for work in work_of(parse(cnn.content(name))):
            if work.operator in ("CONV_2D", "RFFT2D"):
                found[work.arithmetic] = found.get(work.arithmetic, 0) + work.macs
        return found

    fourier = 63 * (512 * math.log2(256) + 1024)
    first, others = 32 * 20 * 8 * 25, 16 * 10 * 16 * 72 + 8 * 5 * 24 * 144
    assert (
        products(variant)
        == {
            "float32": {"float32": fourier + first + others},
            "float16": {"float32": fourier + first + others},  # widened when loaded
            "dynamic_range": {"float32": fourier + first, "int8": others},  # fewer than 1,024 weights stay float
            "int8": {"float32": fourier, "int8": first + others},
            "int16x8": {"float32": fourier, "int16x8": first + others},
        }[variant]
    )


def test_an_operator_alone_gives_what_it_gives_in_the_whole(cnn: Exported) -> None:
    for variant in ("float32", "float16", "int8"):
        content = cnn.content(variant)
        model = parse(content)
        whole = Interpreter(model_content=content, experimental_preserve_all_tensors=True)
        whole.allocate_tensors()
        whole.set_tensor(whole.get_input_details()[0]["index"], cnn.waveforms[:1])
        whole.invoke()
        seen = 0
        for index, operator in enumerate(model.subgraphs[0].operators):
            part = one_operator(model, index)
            if part is None:
                continue
            alone = Interpreter(model_content=part.content)
            alone.allocate_tensors()
            for details, tensor in zip(alone.get_input_details(), part.inputs, strict=True):
                alone.set_tensor(details["index"], whole.get_tensor(tensor))
            alone.invoke()
            ours = alone.get_tensor(alone.get_output_details()[0]["index"])
            theirs = whole.get_tensor(int(operator.outputs[0]))
            scale = max(1.0, float(np.abs(theirs).max()))
            step = 1.0 if ours.dtype == np.int8 else 1e-4 * scale
            np.testing.assert_allclose(np.abs(ours.astype(complex) - theirs.astype(complex)), 0.0, atol=step)
            seen += 1
        assert seen > 15


def test_times_are_of_every_operator(cnn: Exported) -> None:
    content = cnn.content("float16")
    times = operator_times(content, "m")
    kinds = [work.operator for work in work_of(parse(content))]
    assert len(times) == len(kinds)
    widened = [time for time, kind in zip(times, kinds, strict=True) if kind == "DEQUANTIZE"]
    assert widened  # what is widened once, when the file is loaded, takes no time in a call
    assert not any(widened)
    assert all(time > 0 for time, kind in zip(times, kinds, strict=True) if kind in ("CONV_2D", "RFFT2D"))


def test_a_file_that_loads_and_does_not_run_is_told() -> None:
    class Broken:
        def invoke(self) -> None:
            raise RuntimeError("Node number 3 (ADD) failed to invoke.\n")

    runner = object.__new__(_Runner)
    runner._interpreter, runner._name = Broken(), "m.tflite"
    for call in (runner.call, runner.timed_call):
        with pytest.raises(TfaudioError, match=r"m\.tflite does not run: Node number 3 \(ADD\) failed"):
            call()


def test_a_file_that_branches_is_told_before_anything_is_timed(cnn: Exported, tmp_path: Path) -> None:
    model = parse(cnn.content("float32"))
    model.subgraphs = model.subgraphs * 2
    (tmp_path / "m.tflite").write_bytes(serialize(model))
    with pytest.raises(TfaudioError, match=r"m\.tflite: The model branches or loops"):
        run_benchmark([tmp_path / "m.tflite"])


def test_files_side_by_side(cnn: Exported) -> None:
    paths = [cnn.report.paths[name] for name in ("float32", "int8")]
    results = run_benchmark(paths, threads=(1, 2), calls=13)
    for path, result in zip(paths, results, strict=True):
        assert (result.path, result.size_bytes) == (str(path), path.stat().st_size)
        assert [latency.threads for latency in result.latencies] == [1, 2]
        assert all(0 < latency.median <= latency.p99 and latency.calls == 13 for latency in result.latencies)
        assert sum(result.macs.values()) == sum(operator.macs for operator in result.operators)
        assert [o.ms for o in result.operators] == sorted((o.ms for o in result.operators), reverse=True)
    assert results[1].energy_microjoules < results[0].energy_microjoules


def test_memory_grows_with_what_a_file_needs(cnn: Exported, small: bytes, tmp_path: Path) -> None:
    (tmp_path / "small.tflite").write_bytes(small)
    little, more = memory_of(tmp_path / "small.tflite"), memory_of(cnn.report.paths["float32"])
    if little is None or more is None:
        pytest.skip("only Linux tells how much memory a process takes")
    assert len(small) < little < more
    # The power spectrum alone, in float and complex.
    assert more > 63 * 257 * (4 + 8)
    (tmp_path / "broken.tflite").write_bytes(small[: len(small) // 2])
    with pytest.raises(TfaudioError, match=r"broken\.tflite cannot be measured"):
        memory_of(tmp_path / "broken.tflite")


def test_what_does_not_tell_its_memory_is_not_measured(
    small: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "small.tflite").write_bytes(small)
    (tmp_path / "status").write_text("Name:\tpython\nVmRSS:\t  123 kB\n")
    monkeypatch.setattr("tfaudio.memory._STATUS", tmp_path / "status")
    assert memory_of(tmp_path / "small.tflite") is None


def test_modules_of_the_users_folder_are_not_taken(
    small: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "small.tflite").write_bytes(small)
    for name in ("random", "queue"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('mine')")
    monkeypatch.chdir(tmp_path)
    memory_of("small.tflite")


def test_a_file_that_does_not_end_is_told(small: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "small.tflite").write_bytes(small)
    if memory_of(tmp_path / "small.tflite") is None:
        pytest.skip("only Linux tells how much memory a process takes")
    monkeypatch.setattr("tfaudio.memory._TIMEOUT_SECONDS", 0.01)
    with pytest.raises(TfaudioError, match=r"small\.tflite cannot be measured: it did not run once in 0\.01 s"):
        memory_of(tmp_path / "small.tflite")


def test_the_command_prints_a_table_and_writes_json(
    cnn: Exported, small: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "foreign.tflite").write_bytes(small)  # without metadata, and of another rank
    ours = cnn.report.paths["int8"]
    arguments = [f"--model={ours},{tmp_path / 'foreign.tflite'}", "--threads=1,2", "--calls=10", "--operators=2"]
    assert main(["benchmark", *arguments, f"--json={tmp_path / 'b.json'}"]) == 0
    text = capsys.readouterr().out
    assert f"{ours}: operators, each timed alone" in text
    files = json.loads((tmp_path / "b.json").read_text())["files"]
    assert [file["seconds_of_audio"] for file in files] == [1.0, None]
    assert [len(file["latencies"]) for file in files] == [2, 2]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--model=nowhere.tflite"], 1, "cannot be read: No such file"),
        (["--model=setup.cfg"], 1, "setup.cfg is not a TFLite file"),
        (["--model=a.tflite", "--threads=0"], 2, "--threads must be positive integers"),
        (["--model=a.tflite", "--threads=two"], 2, "--threads must be positive integers"),
        (["--model="], 2, "--model is empty"),
        ([], 2, "--model is needed"),
    ],
)
def test_mistakes(arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", *arguments]) == code
    assert message in capsys.readouterr().err


def test_a_file_cut_short_is_told(cnn: Exported, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "short.tflite").write_bytes(cnn.content("int8")[:2000])
    assert main(["benchmark", f"--model={tmp_path / 'short.tflite'}"]) == 1
    assert "short.tflite" in capsys.readouterr().err


def test_it_takes_no_tensorflow(cnn: Exported) -> None:
    check = (
        "import sys; from tfaudio.cli.main import main; "
        f"assert main(['benchmark', '--model={cnn.report.paths['int8']}', '--calls=2']) == 0; "
        "assert not {'tensorflow', 'keras'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
