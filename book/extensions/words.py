"""Sphinx extension: an index of words, from terms to sections about them.

A section is about a term if the term stands in its heading, or in italics in
its text. Where no section of the chapter is to which the glossary sends the
reader, the first one that mentions the term is.
"""

import re
from functools import cache
from pathlib import Path

import chapters as told
from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform


@cache
def terms(book: Path) -> dict[str, str]:
    """Return the terms that the glossary explains, with their entries."""
    text = (book / "glossary.md").read_text("utf-8")
    entries = text.split("```{glossary}\n")[1].split("```")[0]
    return dict(re.findall(r"^(\S.*)\n((?:  .*\n)+)", entries, re.MULTILINE))


def own(section: nodes.section) -> list[nodes.Node]:
    """Return what stands in a section, and not in those within it."""
    return [one for one in section if not isinstance(one, nodes.section)]


def is_about(section: nodes.section, term: str) -> bool:
    """Return whether the heading or italics name a term, one or several."""
    said = {
        " ".join(node.astext().lower().split())
        for child in own(section)
        for node in child.findall(nodes.emphasis)
    }
    return bool({term.lower(), plural(term.lower())} & said) or names(
        section[0].astext(), term
    )


def plural(term: str) -> str:
    """Return what several are called: codes, queries."""
    return re.sub(r"([^aeiou])y$", r"\1ie", term) + "s"


def names(text: str, term: str) -> bool:
    """Return whether a text holds a term; the first word of "cold, warm"."""
    word = re.escape(term.split(", ")[0])
    return bool(re.search(rf"\b{word}(s|ed)?\b", text, re.IGNORECASE))


def sections_about(
    term: str, sections: list[nodes.section], *, sent: bool
) -> list[nodes.section]:
    """Return the sections about a term; `sent`: the glossary leads here."""
    found = [section for section in sections if is_about(section, term)]
    if sent and not found:
        found = [
            section
            for section in sections
            if any(names(child.astext(), term) for child in own(section))
        ][:1]
    return found


class IndexTerms(SphinxTransform):
    """Note, for each term, the sections of the chapters that are about it."""

    default_priority = 800  # before Sphinx collects the index

    def apply(self) -> None:
        """Put entries at the head of the sections."""
        root = Path(self.env.srcdir)
        name = self.env.docname.removeprefix("book/")
        numbers = {one.name: one.number for one in told.chapters(root)}
        if name not in numbers:
            return
        sections = list(self.document.findall(nodes.section))
        for term, entry in terms(root / "book").items():
            sent = f"({name}.ipynb" in entry
            for section in sections_about(term, sections, sent=sent):
                heading = section[0].astext().replace(";", ",")
                where = f"{term}; {numbers[name]}: {heading}"
                entries = [("single", where, section["ids"][0], "", None)]
                section.insert(1, addnodes.index(entries=entries))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_transform(IndexTerms)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
