"""What a SavedModel costs where it is served: time and memory by TensorFlow's C library, without Python's TensorFlow.

TensorFlow Serving loads a SavedModel into a session of that library too. In a process of its own, since the number of
threads is settled by the first session of a process, and since Python's TensorFlow takes hundreds of megabytes and
seconds by itself. That process is this module as a program: what it takes as JSON, what it found as JSON.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from tfaudio.export.parity import median_latency_ms
from tfaudio.memory import can_measure, growth, run_alone

_LIBRARY = "libtensorflow_cc.so.2"
_FLOAT, _STRING = 1, 7  # types.proto
_EMPTY_STRING_BYTES = 24  # a TF_TString of zeros is the empty string


@dataclass(frozen=True)
class ServingCost:
    """What one model takes in one process.

    Args:
      latency_ms: median time of a call.
      memory_bytes: by which loading the model and three calls raise the process's peak of memory.
    """

    latency_ms: float
    memory_bytes: int


def serving_cost(
    folder: str | os.PathLike[str],
    *,
    inputs: Mapping[str, tuple[int, ...] | None],
    output: str,
    num_threads: int,
) -> ServingCost | None:
    """Measures a SavedModel on noise; None where the system or this TensorFlow has no way to.

    Args:
      folder: of the SavedModel.
      inputs: shape of each float32 input by the tensor's name in the graph ("waveform:0"); None: one empty string.
      output: name of the tensor to compute.
      num_threads: of an operator and between operators.

    Raises:
      TfaudioError: if it does not run.
    """
    library = _library()
    if library is None or not can_measure():
        return None
    task = {
        **{"library": str(library), "folder": os.fspath(folder)},
        **{"inputs": dict(inputs), "output": output, "num_threads": num_threads},
    }
    # The threads are the processor's: on a GPU, whose memory the caller may hold, they would tell nothing.
    environment = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    told = run_alone(
        "tfaudio.export.serving_cost", json.dumps(task), what=f"The cost of {folder}", environment=environment
    )
    return ServingCost(**json.loads(told.splitlines()[-1]))


def _library() -> Path | None:
    spec = find_spec("tensorflow")
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / _LIBRARY
    return path if path.is_file() else None


class _Output(ctypes.Structure):
    _fields_ = (("operation", ctypes.c_void_p), ("index", ctypes.c_int))


class _Session:
    """A SavedModel in a session of the C library (tensorflow/c/c_api.h)."""

    def __init__(self, task: Mapping[str, Any]) -> None:
        self._lib = lib = ctypes.CDLL(task["library"])
        for name in (
            *("TF_NewStatus", "TF_NewGraph", "TF_NewSessionOptions", "TF_LoadSessionFromSavedModel"),
            *("TF_GraphOperationByName", "TF_AllocateTensor", "TF_TensorData"),
        ):
            getattr(lib, name).restype = ctypes.c_void_p
        lib.TF_Message.restype = ctypes.c_char_p
        self._status = ctypes.c_void_p(lib.TF_NewStatus())

    def load(self, task: Mapping[str, Any]) -> None:
        lib, threads = self._lib, int(task["num_threads"])
        options = ctypes.c_void_p(lib.TF_NewSessionOptions())
        # ConfigProto: 2 is intra_op_parallelism_threads, 5 is inter_op_parallelism_threads.
        config = bytes([2 << 3, threads, 5 << 3, threads])
        lib.TF_SetConfig(options, config, ctypes.c_size_t(len(config)), self._status)
        self._check()
        self._graph = ctypes.c_void_p(lib.TF_NewGraph())
        tags = (ctypes.c_char_p * 1)(b"serve")
        folder = os.fsencode(task["folder"])
        self._session = ctypes.c_void_p(
            lib.TF_LoadSessionFromSavedModel(options, None, folder, tags, 1, self._graph, None, self._status)
        )
        self._check()
        self._feeds = (_Output * len(task["inputs"]))(*(self._tensor(name) for name in task["inputs"]))
        self._values = (ctypes.c_void_p * len(task["inputs"]))(*(self._noise(s) for s in task["inputs"].values()))
        self._fetch = self._tensor(task["output"])

    def _tensor(self, name: str) -> _Output:
        operation, _, index = name.partition(":")
        found = self._lib.TF_GraphOperationByName(self._graph, operation.encode())
        if not found:
            raise RuntimeError(f"the graph has no '{operation}'")
        return _Output(found, int(index or 0))

    def _noise(self, shape: list[int] | None) -> int:
        lib = self._lib
        if shape is None:
            size = ctypes.c_size_t(_EMPTY_STRING_BYTES)
            tensor = lib.TF_AllocateTensor(_STRING, (ctypes.c_int64 * 1)(1), 1, size)
            ctypes.memset(lib.TF_TensorData(ctypes.c_void_p(tensor)), 0, _EMPTY_STRING_BYTES)
            return int(tensor)
        noise = np.random.default_rng(0).uniform(-0.1, 0.1, shape).astype(np.float32)
        dims = (ctypes.c_int64 * len(shape))(*shape)
        tensor = lib.TF_AllocateTensor(_FLOAT, dims, len(shape), ctypes.c_size_t(noise.nbytes))
        ctypes.memmove(lib.TF_TensorData(ctypes.c_void_p(tensor)), noise.ctypes.data, noise.nbytes)
        return int(tensor)

    def run(self) -> None:
        result = (ctypes.c_void_p * 1)()
        self._lib.TF_SessionRun(
            *(self._session, None),
            *(self._feeds, self._values, len(self._feeds)),
            *(ctypes.byref(self._fetch), result, 1),
            *(None, 0, None, self._status),
        )
        self._check()
        self._lib.TF_DeleteTensor(ctypes.c_void_p(result[0]))

    def _check(self) -> None:
        if self._lib.TF_GetCode(self._status):
            raise RuntimeError(self._lib.TF_Message(self._status).decode(errors="replace").splitlines()[0])


def _measure(task: Mapping[str, Any]) -> ServingCost:
    session = _Session(task)

    def load_and_run() -> None:
        session.load(task)
        for _ in range(3):
            session.run()

    memory = growth(load_and_run)
    return ServingCost(median_latency_ms(session.run), memory)


if __name__ == "__main__":
    print(json.dumps(vars(_measure(json.loads(sys.argv[1])))))
