"""Makes a virtual environment with one of the tested sets of versions, unless it stands already.

`make venv` calls this as `python3 tools/make_venv.py --set=io --folder=.venv`. An environment counts as made only
when its stamp says that the last install ended well, with the same requirements, in the same place.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
STAMP = "tfaudio-installed.json"
OLDEST, NEWEST = (3, 10), (3, 13)
NEWEST_FOR_IO = (3, 12)
EXTRAS = {"io": "dev,io", "latest": "dev"}


def effective_set(wanted: str, python: tuple[int, int]) -> str:
    """TensorFlow 2.16, which tensorflow-io needs, has no wheel for Python 3.13."""
    return "latest" if python > NEWEST_FOR_IO else wanted


def requirements_digest(version_set: str) -> str:
    digest = hashlib.sha256()
    for name in ("setup.cfg", f"tools/constraints-{version_set}.txt"):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def expected_stamp(wanted: str, folder: Path, python: tuple[int, int]) -> dict[str, object]:
    version_set = effective_set(wanted, python)
    return {
        "set": version_set,
        "python": list(python),
        "requirements": requirements_digest(version_set),
        # An environment that was moved or copied has its old place in all of its scripts.
        "place": str(folder.resolve()),
    }


def is_complete(wanted: str, folder: Path, python: tuple[int, int] | None) -> bool:
    """Whether the environment stands as it would be made now; `python` None accepts the version that it has."""
    try:
        stamp = json.loads((folder / STAMP).read_text(encoding="utf-8"))
        major, minor = stamp["python"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    # The link dangles where the system's Python was upgraded.
    return (folder / "bin" / "python").exists() and stamp == expected_stamp(wanted, folder, python or (major, minor))


def make(wanted: str, folder: Path, python: tuple[int, int]) -> None:
    version_set = effective_set(wanted, python)
    if version_set != wanted:
        print(
            f"Python {python[0]}.{python[1]}: TensorFlow 2.16 and tensorflow-io have no wheels for it, "
            f"so {folder.name} gets the set '{version_set}' in place of '{wanted}'.",
            flush=True,
        )
    print(
        f"Making {folder.name} with the set '{version_set}' (about 2 GB on disk; minutes on a slow line) ...",
        flush=True,
    )
    environment = {
        **os.environ,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        # Set by some shells; it would lead pip past the new environment.
        "PYTHONPATH": "",
    }
    if subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], env=environment).returncode != 0:
        sys.exit("Making a virtual environment failed; on Debian and Ubuntu it needs the package python3-venv.")
    constraints = f"tools/constraints-{version_set}.txt"
    command = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    command += ["--editable", f".[{EXTRAS[version_set]}]", "--constraint", constraints]
    if subprocess.run(command, cwd=ROOT, env=environment).returncode != 0:
        sys.exit(f"Installing into {folder.name} failed (see above); run the same command again to start afresh.")
    stamp = json.dumps(expected_stamp(wanted, folder, python), indent=2) + "\n"
    (folder / STAMP).write_text(stamp, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", dest="version_set", choices=sorted(EXTRAS), required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--keep_python", action="store_true", help="accept an environment of another Python")
    arguments = parser.parse_args()
    python = (sys.version_info[0], sys.version_info[1])
    folder = ROOT / arguments.folder
    if is_complete(arguments.version_set, folder, None if arguments.keep_python else python):
        return
    if not OLDEST <= python <= NEWEST:
        sys.exit(
            f"tfaudio needs Python 3.10 to 3.13, and {sys.executable} is {python[0]}.{python[1]}; "
            f"name another, as in: make PYTHON=python3.12"
        )
    make(arguments.version_set, folder, python)


if __name__ == "__main__":
    main()
