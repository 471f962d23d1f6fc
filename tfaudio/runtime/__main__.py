"""`python -m tfaudio.runtime MODEL.tflite FILE...`: classify recordings on a device, one JSON object a line.

Takes NumPy, soundfile and ai-edge-litert; `tfaudio predict` is the same with more comfort, where all of tfaudio is
installed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys

from tfaudio.errors import TfaudioError
from tfaudio.runtime.classifier import Classifier

# What a shell reports for a program ended by SIGINT and by SIGPIPE.
_EXIT_INTERRUPTED = 130
_EXIT_BROKEN_PIPE = 141


def main(arguments: list[str] | None = None) -> int:
    """Classifies and prints; 1 if the model or a recording could not be used."""
    try:
        code = _classify(arguments)
        sys.stdout.flush()  # so that a closed pipe shows here, not at the interpreter's end
        return code
    except KeyboardInterrupt:
        print("tfaudio.runtime: interrupted", file=sys.stderr)
        return _EXIT_INTERRUPTED
    except BrokenPipeError:
        return _EXIT_BROKEN_PIPE


def _classify(arguments: list[str] | None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tfaudio.runtime", description="Classify recordings on a device.")
    parser.add_argument("model", help="a .tflite file that `tfaudio export` wrote")
    parser.add_argument("files", nargs="+", help="recordings; - reads one from standard input")
    parser.add_argument("--per_window", action="store_true", help="one line a window instead of one a recording")
    parser.add_argument("--threads", type=int, default=1, help="threads of the interpreter (default: 1)")
    options = parser.parse_args(arguments)
    failures = 0
    try:
        classifier = Classifier(options.model, num_threads=options.threads)
    except TfaudioError as error:
        print(f"tfaudio.runtime: error: {error}", file=sys.stderr)
        return 1
    for name in options.files:
        source = sys.stdin.buffer if name == "-" else name
        try:
            found = classifier.windows(source) if options.per_window else [classifier.classify(source)]
            for prediction in found:
                print(json.dumps({"path": name, **prediction.to_dict()}, ensure_ascii=False), flush=True)
        except TfaudioError as error:
            failures += 1
            print(f"tfaudio.runtime: {error}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    code = main()
    if code == _EXIT_BROKEN_PIPE:
        # The interpreter flushes stdout once more on its way out, and would report the closed pipe then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)
