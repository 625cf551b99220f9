"""The package as its users get it: a wheel, unpacked into an empty folder and used from there, by programs and by checkers."""

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path

import pytest
import yaml

import mlpq
from tests.conftest import ROOT

PROGRAM = ROOT / "tests" / "user.py"
CHECKERS = {
    "mypy": ["mypy", "--strict", "--cache-dir", os.devnull, "--python-executable", sys.executable],
    "pyright": ["pyright", "--pythonpath", sys.executable],
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a wheel and an sdist of what git would hand to a newcomer."""
    out = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-d", out], cwd=ROOT, check=True, capture_output=True)
    return out


@pytest.fixture(scope="module")
def elsewhere(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of programs that find the wheel's package, and no other; they run in a folder of their own."""
    site, home = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("home")
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        wheel.extractall(site)
    without = {name: value for name, value in os.environ.items() if not name.startswith("MLPQ_")}
    with chdir(home):
        yield without | {"PYTHONPATH": str(site), "XDG_CACHE_HOME": str(home)}


def test_the_wheel_holds_the_package_and_is_light(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    assert wheel.stat().st_size <= 22_000_000
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "mlpq"]
    assert names == set(subprocess.check_output(listed, cwd=ROOT, text=True).split())
    assert "mlpq/py.typed" in names


def test_the_sdist_holds_what_builds_the_wheel(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "mlpq/__init__.py", "mlpq/py.typed"} <= names
    assert not any(name.startswith(("book/", "tests/")) for name in names)


def test_a_program_runs(elsewhere: dict[str, str]) -> None:
    done = subprocess.run([sys.executable, PROGRAM], env=elsewhere, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    version, file = done.stdout.split()
    assert version == mlpq.__version__
    assert Path(file).is_relative_to(elsewhere["PYTHONPATH"])


@pytest.mark.parametrize("checker", CHECKERS)
def test_types_are_known_to_users(checker: str, elsewhere: dict[str, str]) -> None:
    """The program passes; with one type that is not so, it does not."""
    text = PROGRAM.read_text()
    Path("right.py").write_text(text)
    Path("wrong.py").write_text(text.replace("assert_type(I, Ids)", "assert_type(I, Floats)"))
    command = [sys.executable, "-m", *CHECKERS[checker], "right.py", "wrong.py"]
    done = subprocess.run(command, env=elsewhere, capture_output=True, text=True)
    line = text[: text.index("assert_type(I, Ids)")].count("\n") + 1
    assert re.findall(r"(\w+\.py):(\d+).* error", done.stdout) == [("wrong.py", str(line))], done.stdout + done.stderr


def test_one_version_everywhere() -> None:
    """A release has a plain number; until then it ends in .dev0, and the changelog says that it is to come."""
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == mlpq.__version__
    number, dev, _ = mlpq.__version__.partition(".dev")
    assert re.fullmatch(r"\d+\.\d+\.\d+", number)
    first = re.search(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert first
    assert first[1].startswith(number)
    assert ("unreleased" in first[1]) == bool(dev)
