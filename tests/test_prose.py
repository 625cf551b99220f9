"""Code in prose: what stands in backticks must exist in the package, in Faiss or NumPy, or in the notebook's own cells.

A span is judged when it reads as Python: each name and keyword in it must be known, and a dotted one must resolve from
its module or class on. Text that does not parse is left alone; paths in the repository and `make` targets must exist.
"""

import ast
import builtins
import importlib
import inspect
import math
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager

import mlpq
from tests.conftest import ROOT

PAGES = sorted([*(ROOT / "book").glob("*.md"), *(ROOT / "book").glob("*.ipynb"), *ROOT.glob("*.md")])
KEYS = {"Ctrl", "Home", "End", "K"}  # on the keyboard
ELSEWHERE = {"XDG_CACHE_HOME", "xb", "xq", "xt", "gt", "np", "km", "D", "I", "k", "m", "r", "x"}
MODULES = {"mlpq": "mlpq", "faiss": "faiss", "np": "numpy", "numpy": "numpy", "sys": "sys"}
TARGETS = set(re.findall(r"^([a-z][a-z ]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def defined(trees: Iterable[ast.AST], *, names: bool) -> Iterator[str]:
    """Yield what code defines or speaks of: functions, arguments, attributes, strings; variables if asked to."""
    for node in (node for tree in trees for node in ast.walk(tree)):
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
                yield name
            case ast.keyword(arg=str(name)) | ast.Constant(value=str(name)):
                yield name
            case ast.Name(id=name) if names:
                yield name
            case ast.alias():
                yield node.asname or node.name
            case ast.Module(body=body) if not names:  # the constants of a module, the fields of a class
                inner = [*body, *(line for part in body if isinstance(part, ast.ClassDef) for line in part.body)]
                targets = [t for line in inner if isinstance(line, ast.Assign) for t in line.targets]
                targets += [line.target for line in inner if isinstance(line, ast.AnnAssign)]
                yield from (target.id for target in targets if isinstance(target, ast.Name))


@cache
def known() -> set[str]:
    trees = [ast.parse(path.read_text()) for path in (ROOT / "mlpq").rglob("*.py")]
    makes = {target for line in TARGETS for target in line.split()}
    return {*defined(trees, names=False), *dir(builtins), *dir(math), *KEYS, *ELSEWHERE, *MODULES, *makes}


def resolves(dotted: list[str]) -> bool | None:
    """Return whether a dotted name exists, or None where it does not start at a module or a public class."""
    if dotted[0] in MODULES:
        thing: object = importlib.import_module(MODULES[dotted[0]])
    elif dotted[0] in mlpq.__all__:
        thing = getattr(mlpq, dotted[0])
    else:
        return None
    for depth, name in enumerate(dotted[1:], 2):
        if not hasattr(thing, name):
            try:
                importlib.import_module(".".join(dotted[:depth]))
            except ImportError:
                return False
        thing = getattr(thing, name)
    return True


def unknown(span: str, own: set[str]) -> list[str]:
    """Return the names of a span that nothing defines."""
    if span.startswith("make "):
        return [] if any(span[5:] in targets.split() for targets in TARGETS) else [span]
    if re.fullmatch(r"\w+(-\w+)+", span):  # a package or a data set, not a difference
        return []
    if re.fullmatch(r"\w+(/[\w.-]+)+|\w+\.(md|txt|yml|toml|lock|cff)", span):
        return [] if (ROOT / span).exists() or span.startswith("_build/") else [span]
    if re.fullmatch(r"[A-Z]\w*(,\w+)+", span):  # Faiss's description of an index
        return [] if mlpq.FaissIndex(64, span) else [span]
    try:
        tree = ast.parse(span.removesuffix("="))
    except SyntaxError:
        return []
    faiss = importlib.import_module("faiss")
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            found_out = resolves(ast.unparse(node).split("."))
            if not (node.attr in known() | own if found_out is None else found_out):
                found.append(ast.unparse(node))
        elif isinstance(node, ast.Name) and node.id not in known() | own and not hasattr(faiss, node.id):
            found.append(node.id)
        elif isinstance(node, ast.Call):
            found += [word.arg for word in node.keywords if word.arg and not takes(node.func, word.arg, own)]
    return found


def takes(function: ast.expr, keyword: str, own: set[str]) -> bool:
    """Return whether a public function takes this keyword; of others, whether anything does."""
    dotted = ast.unparse(function).removeprefix("mlpq.").split(".")
    if dotted[0] not in mlpq.__all__:
        return keyword in known() | own
    thing = getattr(mlpq, dotted[0])
    for name in dotted[1:]:
        thing = getattr(thing, name)
    return keyword in inspect.signature(thing).parameters


def prose_and_code(path: Path) -> tuple[str, set[str]]:
    """Return the text of a page without its blocks of code, and the names in the cells of a notebook."""
    if path.suffix == ".md":
        return re.sub(r"^```.*?^```", "", path.read_text(), flags=re.DOTALL | re.MULTILINE), set()
    cells = nbformat.read(path, as_version=4).cells
    python = TransformerManager().transform_cell  # of magics
    trees = [ast.parse(python(cell.source)) for cell in cells if cell.cell_type == "code"]
    text = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE), set(defined(trees, names=True))


def misnamed(text: str, own: set[str]) -> list[str]:
    """Return the spans in backticks that hold a name which nothing defines; roles such as {cite} are no code."""
    text = re.sub(r"\{[\w:]+\}`[^`]*`", "", text)
    spans = re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text)
    return [span for span in spans if not (ROOT / "mlpq" / span).is_file() and unknown(span, own)]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_names_in_prose_exist(path: Path) -> None:
    assert misnamed(*prose_and_code(path)) == []


@pytest.mark.parametrize(
    "span",
    [
        "n_inner_probe",
        "mlpq.Recall",
        "MultiLevelPQ.fit",
        "mlpq.load_dataset(n=3)",
        "make all",
        "index.searching(x)",
        "book/no.md",
        "NO.md",
    ],
)
def test_names_that_do_not_exist_are_found(span: str) -> None:
    assert misnamed(f"Call `{span}`.", set()) == [span]
