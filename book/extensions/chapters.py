"""What the notebooks say of themselves: title, what they teach, what they need.

And how long they take to read: computed from their words, typed nowhere.
"""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import nbformat
import yaml

WORDS = 200  # read in a minute
CHAPTERS = ("The chapters", "Beyond")  # the numbered parts


@dataclass(frozen=True)
class Chapter:
    """A numbered chapter.

    Attributes:
        number: as in the contents.
        name: of its file, without ending.
        can: what its reader then can.
        needs: names of the chapters that it asks for.
    """

    number: int
    name: str
    can: str
    needs: tuple[str, ...]


def prose_of(page: Path) -> str:
    """Return the text of a page without its code."""
    if page.suffix == ".md":
        return page.read_text("utf-8")
    cells = nbformat.read(page, as_version=4).cells
    prose = [cell.source for cell in cells if cell.cell_type == "markdown"]
    return "\n\n".join(prose)


@cache
def minutes(page: Path) -> int:
    """Return how long the words of a page take to read."""
    return max(1, round(len(prose_of(page).split()) / WORDS))


def page_of(book: Path, name: str) -> Path:
    """Return the file of a page, whichever of both it is."""
    notebook = book / f"{name}.ipynb"
    return notebook if notebook.is_file() else book / f"{name}.md"


@cache
def chapters(root: Path) -> tuple[Chapter, ...]:
    """Return the chapters that the contents number, in order."""
    toc = yaml.safe_load((root / "_toc.yml").read_text("utf-8"))
    parts = [part for part in toc["parts"] if part["caption"] in CHAPTERS]
    files = [chapter["file"] for part in parts for chapter in part["chapters"]]
    names = [Path(file).name for file in files]
    found = []
    for number, name in enumerate(names, 1):
        prose = prose_of(root / "book" / f"{name}.ipynb")
        needs = re.findall(r"\((\S+)\.ipynb", said(prose, "You need", ". "))
        can = said(prose, "After this chapter you can", "\n\n")
        found.append(Chapter(number, name, can, tuple(needs)))
    return tuple(found)


def said(prose: str, what: str, end: str) -> str:
    """Return what follows these words at a chapter's head, in one line."""
    after = prose.split(f"**{what}** ", 1)[1].split("\n\n", 1)[0]
    return " ".join(after.split()).split(end, 1)[0]


def nearest(needed: dict[str, tuple[str, ...]]) -> set[tuple[str, str]]:
    """Return pairs of a chapter and one needed for it, and for no other of it.

    What a needed chapter needs in turn goes without saying.
    """

    def all_of(name: str) -> set[str]:
        direct = set(needed[name])
        return direct.union(*map(all_of, direct)) if direct else direct

    return {
        (before, name)
        for name, direct in needed.items()
        for before in direct
        if not any(before in all_of(other) for other in direct)
    }
