"""`python -m tfaudio.runtime MODEL.tflite FILE...`: classify recordings on a device, one JSON object a line.

Takes NumPy, soundfile and ai-edge-litert; `tfaudio predict` is the same with more comfort, where all of tfaudio is
installed. `python -m tfaudio.runtime.listen` takes streams.
"""

from __future__ import annotations

import argparse
import json
import sys

from tfaudio.errors import TfaudioError
from tfaudio.runtime.classifier import Classifier, average
from tfaudio.runtime.command import run
from tfaudio.runtime.self_test import run_self_test
from tfaudio.terminal import leave


def main(arguments: list[str] | None = None) -> int:
    """Classifies and prints; 1 if the model or a recording could not be used, or the self-test failed."""
    return run("tfaudio.runtime", lambda: _classify(arguments))


def _classify(arguments: list[str] | None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tfaudio.runtime", description="Classify recordings on a device.")
    parser.add_argument("model", help="a .tflite file that `tfaudio export` wrote")
    parser.add_argument("files", nargs="*", help="recordings; - reads one from standard input")
    parser.add_argument(
        "--self_test",
        action="store_true",
        help="replay the golden vectors (golden.npz) of the export: does the model compute here what it did there?",
    )
    parser.add_argument("--per_window", action="store_true", help="one line a window instead of one a recording")
    parser.add_argument("--text", help="about the recordings, for a model that takes text beside the sound")
    parser.add_argument("--threads", type=int, default=1, help="threads of the interpreter (default: 1)")
    options = parser.parse_intermixed_args(arguments)
    if not options.files and not options.self_test:
        parser.error("name recordings to classify, or --self_test")
    failures = 0
    try:
        if options.self_test:
            test = run_self_test(options.model)
            print(json.dumps(test.to_dict()), flush=True)
            failures += not test.ok
        classifier = Classifier(options.model, num_threads=options.threads) if options.files else None
    except TfaudioError as error:
        print(f"tfaudio.runtime: error: {error}", file=sys.stderr)
        return 1
    if classifier is None:
        return 1 if failures else 0
    for name in options.files:
        source = sys.stdin.buffer if name == "-" else name
        try:
            found = classifier.windows(source, text=options.text)
            for prediction in found if options.per_window else [average(found)]:
                print(json.dumps({"path": name, **prediction.to_dict()}, ensure_ascii=False), flush=True)
        except TfaudioError as error:
            failures += 1
            print(f"tfaudio.runtime: {error}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    leave(main())
