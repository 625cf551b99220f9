"""Run the notebooks anew and store them in one normal form: `make notebooks`.

    python book/execute.py [NOTEBOOK ...]

The normal form has outputs and execution counts in order, and neither state
and views of widgets nor timestamps, nor anything that depends on the machine.
Below its title a notebook has the cell that Colab needs, hidden in the pages.
"""

import sys
from pathlib import Path

import nbformat
import yaml
from nbclient import NotebookClient

BOOK = Path(__file__).parent
VIEW = "application/vnd.jupyter.widget-view+json"
METADATA = {
    "kernelspec": {
        "display_name": "Python 3",
        "language": "python",
        "name": "python3",
    },
    "language_info": {
        "name": "python",
        "file_extension": ".py",
        "mimetype": "text/x-python",
    },
}
CONFIG = yaml.safe_load((BOOK.parent / "_config.yml").read_text())
FOR_COLAB = f"""import sys

if "google.colab" in sys.modules:  # it opens a notebook alone: fetch the rest
    !git clone -q {CONFIG["repository"]["url"]}
    %pip install -q "./mlpq[widgets]"
    %cd mlpq/book"""


def with_colab_cell(notebook: nbformat.NotebookNode) -> None:
    """Put the cell for Colab in its place, once."""
    notebook.cells = [
        cell
        for cell in notebook.cells
        if not ("google.colab" in cell.source and cell.cell_type == "code")
    ]
    cell = nbformat.v4.new_code_cell(FOR_COLAB)
    cell.metadata["tags"] = ["remove-cell"]
    notebook.cells.insert(1, cell)


def whole(
    outputs: list[nbformat.NotebookNode],
) -> list[nbformat.NotebookNode]:
    """Join what a cell printed, which a busy machine hands over in pieces."""
    joined: list[nbformat.NotebookNode] = []
    for one in outputs:
        before = joined[-1] if joined else {}
        name = one.get("name")
        if name and before.get("name") == name:
            before["text"] += one["text"]
        else:
            joined.append(one)
    return joined


def execute(path: Path) -> None:
    """Run a notebook and write it back; nothing is written if a cell fails."""
    notebook = nbformat.read(path, as_version=4)
    with_colab_cell(notebook)
    resources = {"metadata": {"path": str(BOOK)}}
    NotebookClient(notebook, timeout=600, resources=resources).execute()
    notebook.metadata = nbformat.from_dict(METADATA)
    for number, cell in enumerate(notebook.cells):
        cell.id = f"{path.stem}-{number:02d}"
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            # A live widget's view is gone with its kernel; its twin stays.
            output.get("data", {}).pop(VIEW, None)
        if cell.cell_type == "code":
            cell.outputs = whole(cell.outputs)
    nbformat.write(notebook, path)


if __name__ == "__main__":
    for path in [Path(name) for name in sys.argv[1:]] or sorted(
        BOOK.glob("*.ipynb")
    ):
        print(path)
        execute(path)
