"""The rooms of the package: each uses only those below it, and the page that draws them names them all."""

import ast
from functools import cache
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "mlpq"
FLOORS = [
    ["_blas", "_check", "_hdf5", "_objects", "_parallel", "_style"],
    ["search"],
    ["clustering"],
    ["codecs"],
    ["storage", "exchange", "model"],
    ["index"],
    ["data"],
    ["judge"],
    ["plots", "bench", "widgets", "distributed"],
]
HEIGHT = {room: height for height, floor in enumerate(FLOORS) for room in floor}
MODULES = [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]
PATH = ["clustering", "codecs/pq", "index", "storage", *(f"search/{p.stem}" for p in (PACKAGE / "search").glob("*.py"))]


@cache
def imported(path: Path) -> set[str]:
    """The modules of the package that a file imports, anywhere in it, as in `search.lists`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name.removeprefix("mlpq.") for name in found if name.startswith("mlpq.")}


def room(name: str) -> str:
    return name.split(".")[0]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_uses_only_what_lies_below_it(path: Path) -> None:
    own = path.relative_to(PACKAGE).with_suffix("").parts[0]
    for name in imported(path):
        if room(name) != own:
            assert HEIGHT[room(name)] <= HEIGHT[own], f"{path.name} imports {name}"


def test_no_imports_go_in_a_circle() -> None:
    names = {".".join(path.relative_to(PACKAGE).with_suffix("").parts): path for path in MODULES}
    uses = {
        name: {other for other in names for used in imported(path) if used == other or used.startswith(f"{other}.")}
        - {name}
        for name, path in names.items()
    }
    while uses:
        free = {name for name, others in uses.items() if not others & uses.keys()}
        assert free, sorted(uses)
        uses = {name: others for name, others in uses.items() if name not in free}


def test_the_page_names_every_room() -> None:
    drawn = (ROOT / "book" / "static" / "house.svg").read_text()
    for name in HEIGHT:
        if name != "_style":
            assert name in drawn, name
    text = (ROOT / "book" / "code.md").read_text()
    for path in sorted((PACKAGE / "search").glob("[a-z]*.py")):
        assert path.stem == "exact" or f"search/{path.name}" in text


def test_the_path_from_data_to_results_is_read_in_an_evening() -> None:
    """Cells, product quantization, search, index and file; `model` and the owners of codebooks come on top."""
    assert sum((PACKAGE / f"{name}.py").read_text().count("\n") for name in PATH) < 2200
