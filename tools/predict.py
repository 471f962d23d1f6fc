"""`tfaudio predict` from a checkout in which the package is not installed."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tfaudio.cli.main import run

run(["predict", *sys.argv[1:]])
