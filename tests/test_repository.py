"""What the repository promises about itself: bounds, docstrings, sizes, notebooks in their normal form."""

import ast
import inspect
import os
import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import numpy as np
import pytest
import yaml
from IPython.core.interactiveshell import InteractiveShell
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

import mlpq
from tests.conftest import ROOT

NOTEBOOKS = sorted((ROOT / "book").glob("*.ipynb"))
PARTS = {part["caption"]: part["chapters"] for part in yaml.safe_load((ROOT / "_toc.yml").read_text())["parts"]}
CHAPTERS = [chapter["file"] for chapter in PARTS["The chapters"]]
TARGETS = {
    name for line in re.findall(r"^([\w./ ]+):(?!=)", (ROOT / "Makefile").read_text(), re.M) for name in line.split()
}
MODULES = sorted((ROOT / "mlpq").rglob("*.py"))


def requirements(lines: list[str]) -> dict[str, str]:
    parts = [re.fullmatch(r"([\w-]+)(\[\w+\])?([<>=!~].*)", line.split("#")[0].strip()) for line in lines]
    return {part[1]: part[3] for part in parts if part}


def test_requirements_and_pyproject_agree_and_are_bounded() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    package = requirements(project["dependencies"])
    everything = requirements((ROOT / "requirements.txt").read_text().splitlines())
    extras = requirements([line for extra in project["optional-dependencies"].values() for line in extra])
    assert everything["jupyter-book"] == "==1.0.4.post1"
    assert package.items() <= everything.items()
    assert all("<" in bound or "==" in bound for bound in (package | everything | extras).values())
    assert all(everything.get(name, bound) == bound for name, bound in extras.items())
    assert "-e ." in (ROOT / "requirements.txt").read_text().splitlines()


def test_the_lock_holds_what_is_asked_for_and_no_address() -> None:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    locked = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert list(locked) == sorted(locked)
    assert len(locked) > 100
    for name, bounds in requirements((ROOT / "requirements.txt").read_text().splitlines()).items():
        assert Version(locked[canonicalize_name(name)]) in SpecifierSet(bounds), name
    assert all(re.fullmatch(r"[a-z0-9-]+==[\w.+!]+", line) for line in lines if not line.startswith("#"))


@pytest.mark.parametrize("path", sorted((ROOT / ".github").rglob("*.yml")), ids=lambda path: path.name)
def test_workflows_and_forms_are_well_formed(path: Path) -> None:
    content = yaml.safe_load(path.read_text())
    if path.parent.name == "workflows":
        assert content[True]  # "on", as YAML reads it
        for job in content["jobs"].values():
            assert job["timeout-minutes"]
            for line in [step["run"] for step in job["steps"] if "run" in step]:
                for target in re.findall(r"(?:^|&& )make ([\w./ ]+)", line):
                    assert set(target.split()) <= TARGETS, line
    elif path.name != "config.yml":
        ids = [part["id"] for part in content["body"] if part["type"] != "markdown"]
        assert len(ids) == len(set(ids)) >= 3


def test_repository_address_stands_in_one_place() -> None:
    url = yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]["url"]
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    texts = [name for name in files if Path(name).suffix in {".md", ".yml", ".toml", ".cff", ".py", ".txt"}]
    assert [name for name in texts if url in (ROOT / name).read_text()] == ["_config.yml"]
    for path in NOTEBOOKS:  # their second cell is written by `make notebooks`
        cells = nbformat.read(path, as_version=4).cells
        assert [number for number, cell in enumerate(cells) if url in cell.source] == [1]


def test_cell_for_colab_does_nothing_elsewhere_and_fetches_the_rest_there(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = runpy.run_path(str(ROOT / "book" / "execute.py"))["FOR_COLAB"]
    for path in NOTEBOOKS:
        second = nbformat.read(path, as_version=4).cells[1]
        assert (second.source, second.metadata.tags, second.outputs) == (cell, ["remove-cell"], [])
    asked: list[str] = []
    shell = InteractiveShell()
    monkeypatch.setattr(shell, "system", asked.append)
    monkeypatch.setattr(shell, "run_line_magic", lambda name, line, **_: asked.append(f"{name} {line}"))
    assert shell.run_cell(cell).success
    assert asked == []
    monkeypatch.setitem(sys.modules, "google.colab", sys)
    assert shell.run_cell(cell).success
    url = yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]["url"]
    assert asked == [f"git clone -q {url}", 'pip install -q "./mlpq[widgets]"', "cd mlpq/book"]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_modules_are_short_and_say_what_they_are(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    assert ast.get_docstring(tree)
    assert text.count("\n") <= 300
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            assert not body or node.end_lineno is None or node.end_lineno - body[0].lineno < 40, node.name


HOSTS = {"https://raw.githubusercontent.com", "https://ann-benchmarks.com"}  # where data sets come from
FORBIDDEN = {"eval", "exec", "compile", "__import__", "pickle", "marshal", "shelve", "dill", "joblib"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_nothing_from_data_is_executed_and_nobody_is_called(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Name):
            assert node.id not in FORBIDDEN
        elif isinstance(node, ast.Import | ast.ImportFrom):
            imported = [alias.name for alias in node.names] + [getattr(node, "module", "") or ""]
            assert not FORBIDDEN & {part for name in imported for part in name.split(".")}
            assert "subprocess" not in imported or path.parent.name == "bench"
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            assert ast.unparse(node.value) == "False"
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            assert set(re.findall(r"https?://[\w.-]+", node.value)) <= HOSTS


def public_functions() -> dict[str, object]:
    found = {name: getattr(mlpq, name) for name in mlpq.__all__}
    for name, thing in list(found.items()):
        if inspect.isclass(thing):
            methods = {f"{name}.{key}": value for key, value in vars(thing).items() if not key.startswith("_")}
            found |= {
                key: value
                for key, value in methods.items()
                if callable(value) or isinstance(value, property | classmethod)
            }
    return found


@pytest.mark.parametrize("name", sorted(public_functions()))
def test_public_names_are_documented(name: str) -> None:
    if not name.endswith(".is_trained"):
        assert inspect.getdoc(public_functions()[name])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebooks_are_in_normal_form(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert notebook.metadata.kernelspec.name == "python3"
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    for cell in code:
        assert len(cell.source.splitlines()) <= 15, cell.source
        assert "execution" not in cell.metadata
        for output in cell.outputs:
            assert output.output_type != "error"
            assert output.get("name") != "stderr"
            if "image/png" in output.get("data", {}):
                assert len(cell.metadata.mystnb.image.alt) > 40, f"no alt text: {cell.source}"
    text = path.read_text()
    assert not re.search(r"/(home|root|tmp|Users)/", text)
    ignored = sum("NBVAL_IGNORE_OUTPUT" in cell.source or "nbval-ignore-output" in str(cell.metadata) for cell in code)
    assert ignored <= len(code) / 10


@pytest.mark.parametrize("name", CHAPTERS)
def test_chapters_have_one_frame(name: str) -> None:
    cells = nbformat.read(ROOT / f"{name}.ipynb", as_version=4).cells
    text = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    assert text.startswith("# ")
    assert re.findall(r"^\*\*(After this chapter you can|You need)\*\*", text, re.MULTILINE) == [
        "After this chapter you can", "You need",
    ]  # fmt: skip
    headings = re.findall(r"^## (.*)", text, re.MULTILINE)
    assert headings[0] == "Predict first"
    assert headings[-3:] == ["What to remember", "Exercises", "Where this comes from"]
    assert "guess" in text.split("## Predict first")[1].split("## ")[0].lower()
    exercises, sources = text.split("## Exercises")[1].split("## Where this comes from")
    numbers = re.findall(r"^\*\*(\d)\.\*\*", exercises, re.MULTILINE)
    assert numbers == [str(n) for n in range(1, len(numbers) + 1)]
    assert 3 <= len(numbers) <= 5
    hidden = "\n".join(cell.source for cell in cells if "hide-cell" in cell.metadata.get("tags", []))
    assert re.findall(r"^# Solution (\d):", hidden, re.MULTILINE) == numbers
    assert "{cite}" in sources
    code = [cell for cell in cells if cell.cell_type == "code"]
    figures = sum("image/png" in str(cell.outputs) for cell in code)
    assert figures >= 3
    assert sum(cell.source.count("assert ") for cell in code) >= figures


def test_cited_works_are_in_the_bibliography_and_the_other_way_round() -> None:
    texts = [path.read_text() for path in [*(ROOT / "book").glob("*.md"), *NOTEBOOKS]]
    cited = {key for text in texts for group in re.findall(r"\{cite\}`([^`]+)`", text) for key in group.split(",")}
    known = set(re.findall(r"@\w+\{(\w+),", (ROOT / "book" / "references.bib").read_text()))
    assert cited == known


def test_readme_example_runs(tmp_path: Path) -> None:
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert code
    np.save(tmp_path / "vectors.npy", mlpq.synthetic(5000, 60, n_clusters=20).xb)
    env = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
    run = [sys.executable, "-c", code[1]]
    done = subprocess.run(run, cwd=tmp_path, env=env, check=True, capture_output=True, text=True)
    *lines, result = done.stdout.splitlines()
    assert lines[0] == "import mlpq"
    recall, size, _ = result.split()
    assert float(recall) >= 0.9
    assert int(size) <= 64 * 4500
    assert (tmp_path / "vectors.index").stat().st_size == pytest.approx(int(size), rel=0.05)
