"""What is installed, what the console script answers, and what the checkout must not hold."""

from __future__ import annotations

import configparser
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from absl import flags

import tfaudio
from tfaudio.cli import UsageError, refuse_arguments
from tfaudio.cli import main as cli
from tfaudio.errors import TfaudioError

ROOT = Path(__file__).resolve().parents[1]


def load_script(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tracked_files() -> Iterator[Path]:
    """The files that a clone has: git's list, or everything but hidden and built folders where there is no git."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode == 0 and listed.stdout:
        names = [name for name in listed.stdout.split("\0") if name]
        yield from (ROOT / name for name in names if (ROOT / name).is_file())
        return
    for top in ROOT.iterdir():
        if top.is_file():
            yield top
        elif top.name in {"tfaudio", "tools", "export", "tests", "notebooks", ".ci"}:
            yield from (p for p in top.rglob("*") if p.is_file() and not {"__pycache__", "node_modules"} & set(p.parts))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of the checkout, without isolation: nothing is fetched, nothing is left behind."""
    source = tmp_path_factory.mktemp("source") / "with space"
    source.mkdir()
    for name in ("setup.cfg", "pyproject.toml", "LICENSE", "README.md"):
        if (ROOT / name).is_file():
            shutil.copy(ROOT / name, source)
    for name in ("tfaudio", "tools", "export", "tests", "notebooks"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
    target = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(target), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (built,) = target.glob("*.whl")
    return built


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert tops == {"tfaudio", f"tfaudio-{tfaudio.__version__}.dist-info"}
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "tfaudio").rglob("*.py")}
    assert modules == {name for name in names if name.endswith(".py")}
    assert any(name.endswith("LICENSE") for name in names)


def test_the_wheel_has_version_extras_and_console_script(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        info = f"tfaudio-{tfaudio.__version__}.dist-info"
        described = archive.read(f"{info}/METADATA").decode()
        scripts = archive.read(f"{info}/entry_points.txt").decode()
    assert f"\nVersion: {tfaudio.__version__}\n" in described
    assert re.findall(r"^Provides-Extra: (\w+)$", described, re.M) == ["io", "edge", "mediapipe", "dev"]
    assert re.search(r"^Requires-Python: >=3\.10$", described, re.M)
    assert "tfaudio = tfaudio.cli.main:run" in scripts


def test_a_plain_install_leaves_tensorflow_where_it_is() -> None:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    required = parser["options"]["install_requires"].split()
    assert "tensorflow>=2.16,<2.22" in required
    assert not [name for name in required if name.startswith(("tensorflow-io", "tensorflow_io"))]


@pytest.mark.parametrize("name", tfaudio.__all__)
def test_public_names_resolve(name: str) -> None:
    value = getattr(tfaudio, name)
    assert getattr(tfaudio, name) is value
    assert name in dir(tfaudio)
    assert not (ROOT / "tfaudio" / name).is_dir(), "a subpackage of this name would replace it"


def test_an_unknown_public_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Trainer'"):
        _ = tfaudio.Trainer


@pytest.mark.parametrize("entry", [["-m", "tfaudio"], ["tools/predict.py"], ["tools/train.py"], ["export/export.py"]])
def test_entry_points_answer_help(entry: list[str], tmp_path: Path) -> None:
    script = [str(ROOT / part) if part.endswith(".py") else part for part in entry]
    environment = dict(os.environ)
    if entry[0] == "-m":
        environment["PYTHONPATH"] = str(ROOT)
    command = [sys.executable, *script, "--help"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "tfaudio" in done.stdout
    assert done.stderr == ""


def test_the_console_script_is_installed() -> None:
    try:
        metadata.distribution("tfaudio")
    except metadata.PackageNotFoundError:
        pytest.skip("tfaudio runs from the checkout here and is not installed")
    script = Path(sys.executable).with_name("tfaudio")
    done = subprocess.run([str(script), "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"tfaudio {tfaudio.__version__}\n")


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_command_help_lists_its_own_flags_without_tensorflow(name: str) -> None:
    check = (
        f"import sys; from tfaudio.cli.main import main; code = main([{name!r}, '--help']); "
        "assert code == 0 and not {'tensorflow', 'keras'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"tfaudio {name}")
    assert "alsologtostderr" not in done.stdout


class FakeCommand(ModuleType):
    """A command that shows what it was given, or raises what it was told to."""

    USAGE = "tfaudio fake --run_dir=RUN FILE...\n\nDoes nothing."
    error: BaseException | None = None
    seen: tuple[dict[str, Any], list[str]] | None = None

    def define_flags(self, flag_values: flags.FlagValues) -> None:
        flags.DEFINE_string("run_dir", None, "The run folder.", flag_values=flag_values)
        flags.DEFINE_integer("epochs", 60, "Passes over the data.", flag_values=flag_values)
        flags.DEFINE_boolean("strict", False, "Stop at the first.", flag_values=flag_values)
        flags.DEFINE_enum("format", "table", ["table", "csv"], "Form of the output.", flag_values=flag_values)
        flags.mark_flag_as_required("run_dir", flag_values)

    def main(self, flag_values: flags.FlagValues, arguments: list[str]) -> int:
        self.seen = ({name: flag_values[name].value for name in flag_values}, arguments)
        if self.error is not None:
            raise self.error
        return 0


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeCommand:
    module = FakeCommand("fake_command")
    monkeypatch.setitem(sys.modules, "fake_command", module)
    monkeypatch.setitem(cli.COMMANDS, "fake", cli.Command("fake_command", "does nothing"))
    return module


def test_flags_and_arguments_come_in_any_order_and_spelling(fake: FakeCommand) -> None:
    arguments = ["fake", "a.wav", "--run-dir=some where", "-", "--no-strict", "--format", "csv", "--", "--b.wav"]
    assert cli.main(arguments) == 0
    assert fake.seen is not None
    values, rest = fake.seen
    assert values == {"run_dir": "some where", "epochs": 60, "strict": False, "format": "csv"}
    assert rest == ["a.wav", "-", "--b.wav"]


def test_two_calls_share_no_flags(fake: FakeCommand) -> None:
    assert cli.main(["fake", "--run_dir=a", "--epochs=3", "--strict"]) == 0
    assert cli.main(["fake", "--run_dir=b"]) == 0
    assert fake.seen is not None
    assert fake.seen[0]["epochs"] == 60
    assert fake.seen[0]["strict"] is False


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fake"], "tfaudio fake: error: --run_dir is needed. See `tfaudio fake --help`."),
        (["fake", "--rundir=x"], "Unknown flag --rundir. Did you mean --run_dir?"),
        (["fake", "--run_dir=x", "--epochs=many"], "--epochs must be an integer, not 'many'."),
        (["fake", "--run_dir=x", "--format=xml"], "value should be one of <table|csv>"),
        (["fake", "--run_dir=x", "--nostrict=1"], "does not take an argument"),
        (["fake", "--run_dir"], "Missing value for flag --run_dir"),
        (["fakes"], "Unknown command 'fakes'"),
        (["trian"], "Did you mean 'train'?"),
        (["--verison"], "Unknown flag '--verison'"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    fake: FakeCommand, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code", "shown"),
    [
        (TfaudioError("No such\nfile."), 1, "tfaudio: error: No such file.\n"),
        (UsageError("Too many."), 2, "tfaudio fake: error: Too many. See `tfaudio fake --help`.\n"),
        (KeyboardInterrupt(), 130, "tfaudio: interrupted\n"),
        (BrokenPipeError(), 141, ""),
    ],
)
def test_errors_become_exit_codes(
    fake: FakeCommand, capsys: pytest.CaptureFixture[str], error: BaseException, code: int, shown: str
) -> None:
    fake.error = error
    assert cli.main(["fake", "--run_dir=x"]) == code
    assert capsys.readouterr().err == shown


def test_a_defect_keeps_its_traceback(fake: FakeCommand) -> None:
    fake.error = ZeroDivisionError("a defect")
    with pytest.raises(ZeroDivisionError):
        cli.main(["fake", "--run_dir=x"])


def test_help_tells_flags_values_and_defaults(fake: FakeCommand, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["fake", "--help"]) == 0
    assert capsys.readouterr().out == (
        "tfaudio fake --run_dir=RUN FILE...\n\nDoes nothing.\n\nFlags:\n"
        "  --run_dir=VALUE\n      The run folder.\n"
        "  --epochs=INTEGER\n      Passes over the data. Default: 60.\n"
        "  --[no]strict\n      Stop at the first.\n"
        "  --format=table|csv\n      Form of the output. Default: table.\n"
    )


def test_a_closed_pipe_is_silent() -> None:
    command = f"{shlex.quote(sys.executable)} -m tfaudio --help | true"
    done = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr == ""


def test_refuse_arguments() -> None:
    refuse_arguments([])
    with pytest.raises(UsageError, match=r"a\.wav"):
        refuse_arguments(["a.wav"])


def test_an_environment_counts_only_with_its_stamp(tmp_path: Path) -> None:
    maker = load_script("tools/make_venv.py")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").touch()
    assert not maker.is_complete("io", tmp_path, (3, 11))
    stamp = maker.expected_stamp("io", tmp_path, (3, 11))
    (tmp_path / maker.STAMP).write_text(maker.json.dumps(stamp), encoding="utf-8")
    assert maker.is_complete("io", tmp_path, (3, 11))
    assert maker.is_complete("io", tmp_path, None)
    assert not maker.is_complete("io", tmp_path, (3, 12)), "another Python was asked for"
    assert not maker.is_complete("latest", tmp_path, (3, 11)), "another set was asked for"
    moved = tmp_path.with_name(f"{tmp_path.name} moved")
    shutil.copytree(tmp_path, moved)
    assert not maker.is_complete("io", moved, (3, 11)), "its scripts point to the old place"
    (tmp_path / maker.STAMP).write_text("{", encoding="utf-8")
    assert not maker.is_complete("io", tmp_path, (3, 11))


def test_the_demo_clears_nothing_but_its_own_folder(tmp_path: Path) -> None:
    demo = load_script("tools/demo.py")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    (tmp_path / "file").touch()
    for name, why in (("mine", "is not from an earlier demo"), ("file", "is a file")):
        with pytest.raises(SystemExit, match=why):
            demo.make_room(tmp_path / name)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"
    for _ in range(2):
        demo.make_room(tmp_path / "demo")
        assert [path.name for path in (tmp_path / "demo").iterdir()] == [demo.MARKER]
        (tmp_path / "demo" / "left").touch()


def test_python_3_13_gets_the_latest_set() -> None:
    maker = load_script("tools/make_venv.py")
    assert [maker.effective_set("io", (3, minor)) for minor in (10, 11, 12, 13)] == ["io", "io", "io", "latest"]


# Put together here, so that this file does not hold what it forbids.
_FORBIDDEN = re.compile(
    "|".join(
        [
            r"(?<![\w.~}])/(?:root|work|home/\w+|Users/\w+)" + "/",
            r"\bpypi\." + r"org\b",
            "pythonhosted" + r"\.org",
            r"\bregistry\." + r"npmjs\.",
            "--(?:extra-)?index" + "-url",
        ]
    )
)


def test_the_checkout_names_no_registry_and_no_place_on_a_machine() -> None:
    found = []
    for path in tracked_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(ROOT)}: {match[0]}" for match in _FORBIDDEN.finditer(text)]
    assert found == []


@pytest.mark.parametrize("text", ["see /" + "root/x", "in /" + "home/me/x", "https://pypi." + "org/simple"])
def test_what_is_forbidden_is_found(text: str) -> None:
    assert _FORBIDDEN.search(text)
