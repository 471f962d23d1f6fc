from __future__ import annotations

import numpy as np
import pytest

from tests.export.small_runs import Exported
from tfaudio.export.flatbuffer import operator_name, parse, serialize
from tfaudio.export.layer_errors import LayerError, layer_errors, where_it_breaks


def test_a_file_beside_itself_has_no_error(cnn: Exported) -> None:
    content = cnn.content("float32")
    errors = layer_errors(content, content, cnn.waveforms[:2, None, None])
    assert {error.snr_db for error in errors} == {150.0}
    assert [error.index for error in errors] == sorted(error.index for error in errors)
    assert {"RFFT2D", "LOG", "CONV_2D", "SOFTMAX"} <= {error.operator for error in errors}
    assert where_it_breaks(errors) is None


@pytest.mark.parametrize("variant", ["float16", "dynamic_range", "int8", "int16x8"])
def test_the_signal_is_what_is_left_of_it(run: Exported, variant: str) -> None:
    if variant not in run.report.paths:
        pytest.skip("a transformer has no 16-bit form")
    errors = layer_errors(run.content("float32"), run.content(variant), run.waveforms[:2, None, None])
    assert where_it_breaks(errors) is None
    by_kind = {error.operator: error.snr_db for error in reversed(errors)}  # the first of each
    assert by_kind["LOG"] > 60
    assert by_kind["CONV_2D"] > (50 if variant == "float16" else 25)


def test_the_error_is_that_of_the_definition(cnn: Exported) -> None:
    # Half of every score: the difference has a quarter of the power, 6.02 dB.
    model = parse(cnn.content("float32"))
    graph = model.subgraphs[0]
    kinds = [operator_name(model.operatorCodes[operator.opcodeIndex]) for operator in graph.operators]
    last = [operator for operator, kind in zip(graph.operators, kinds, strict=True) if kind == "FULLY_CONNECTED"][-1]
    for tensor in map(int, last.inputs[1:]):
        buffer = model.buffers[graph.tensors[tensor].buffer]
        if buffer.data is not None:
            halved = 0.5 * np.frombuffer(np.asarray(buffer.data, np.uint8).tobytes(), np.float32)
            buffer.data = np.frombuffer(halved.tobytes(), np.uint8)
    errors = layer_errors(cnn.content("float32"), serialize(model), cnn.waveforms[:4, None, None])
    logits = next(error for error in reversed(errors) if error.operator == "FULLY_CONNECTED")
    if kinds.count("FULLY_CONNECTED") == 2:  # TensorFlow 2.21 adds the two halves of the pooling behind the product
        assert logits.snr_db == pytest.approx(6.02, abs=0.01)
    assert where_it_breaks(errors) is not None


def test_files_with_other_names_correspond_by_their_operators(cnn: Exported) -> None:
    model = parse(cnn.content("int8"))
    for index, tensor in enumerate(model.subgraphs[0].tensors):
        tensor.name = f"tensor_{index}".encode()
    renamed = layer_errors(cnn.content("float32"), serialize(model), cnn.waveforms[:2, None, None])
    by_name = layer_errors(cnn.content("float32"), cnn.content("int8"), cnn.waveforms[:2, None, None])
    assert len(renamed) >= 0.8 * len(by_name)
    known = {error.index: error.snr_db for error in by_name}
    assert all(error.snr_db == known[error.index] for error in renamed if error.index in known)


def test_the_first_that_falls_is_named() -> None:
    def errors(*decibels: float) -> list[LayerError]:
        return [LayerError(3 * i, "CONV_2D", f"layer {i}", value) for i, value in enumerate(decibels)]

    assert where_it_breaks([]) is None
    assert where_it_breaks(errors(40, 30, 10)) is None
    assert where_it_breaks(errors(40, 9.4, 30, 2)) == (
        "it breaks at operator 3 (CONV_2D, 'layer 1'), where the signal is 9 dB above the error, from 40 dB before it."
    )
    assert "operator 0" in str(where_it_breaks(errors(-150)))
    assert errors(12.345)[0].to_dict() == {"index": 0, "operator": "CONV_2D", "tensor": "layer 0", "snr_db": 12.3}
