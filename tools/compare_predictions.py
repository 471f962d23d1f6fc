"""Compares two files of predictions (JSON lines): `python tools/compare_predictions.py A B --tolerance=1e-3`.

Exits with 1 unless both name the same files, give each the same label, and scores within the tolerance.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path


def read(path: Path) -> dict[str, tuple[str, float]]:
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return {row["path"]: (row["label"], row["score"]) for row in rows}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("left", type=Path)
    parser.add_argument("right", type=Path)
    parser.add_argument("--tolerance", type=float, default=1e-3)
    arguments = parser.parse_args()
    left, right = read(arguments.left), read(arguments.right)
    if not left or set(left) != set(right):
        print(f"{len(set(left) ^ set(right))} of {len(set(left) | set(right))} files stand in one list only")
        return 1
    other = [path for path in left if left[path][0] != right[path][0]]
    for path in other:
        print(f"{path}: {left[path]} against {right[path]}")
    difference = max(abs(left[path][1] - right[path][1]) for path in left)
    print(f"{len(left) - len(other)} of {len(left)} labels agree; largest difference of a score {difference:.2e}")
    return 1 if other or difference > arguments.tolerance else 0


if __name__ == "__main__":
    sys.exit(main())
