"""Sphinx extension: ways through the book, from what the chapters say.

The directives `chapter-map` and `chapter-cards`, and the role `minutes`: how
long pages take to read.
"""

from pathlib import Path

import chapters as told
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective, SphinxRole

WIDE, HIGH, ACROSS, DOWN = 112, 34, 132, 52  # of boxes, and from one to another
PLACES = {  # column, row, and what fits into a box
    "exact-search": (1, 0, "Exact search"),
    "kmeans": (1, 1, "k-means"),
    "product-quantization": (0, 2, "Product\nquantization"),
    "two-levels": (1, 2, "Clusters\nof clusters"),
    "distance-tables": (0, 3, "Distance\ntables"),
    "residuals": (1, 3, "Residuals"),
    "sums-of-codewords": (0, 4, "Sums of\ncodewords"),
    "multi-level-search": (1, 4, "Multi-level\nsearch"),
    "bytes": (2, 4, "Bytes"),
    "comparison": (0, 5, "Comparison"),
    "codes-without-training": (0, 6, "Untrained\ncodes"),
    "graphs": (0, 7, "Graphs"),
    "embeddings": (0, 8, "Embeddings"),
    "registers": (0, 9, "Registers\nand cards"),
    "disk": (1, 5, "Disk"),
    "machines": (1, 6, "Many\nmachines"),
    "choosing": (1, 7, "Choosing m,\nnbits, nprobe"),
    "production": (1, 8, "Production"),
    "what-to-use": (2, 5, "What to use,\nmistakes"),
    "rotations": (2, 6, "Turning\nthe axes"),
}


def corner(name: str) -> tuple[int, int]:
    """Return where a chapter's box has its upper left corner."""
    column, row, _ = PLACES[name]
    return 2 + ACROSS * column, 2 + DOWN * row


def line(before: str, after: str) -> str:
    """Return the path from a chapter to one that asks for it."""
    (x, y), (to, end) = corner(before), corner(after)
    x, y, foot = x + WIDE // 2, y + HIGH, end - 6
    if end - y < DOWN:  # the next row
        return f"M{x} {y}V{y + 3}L{to + WIDE // 2} {end - 3}V{end}"
    left = to if to >= x - WIDE // 2 else to + WIDE  # the side of its box
    lane = left - 10 if left == to else left + 10
    return f"M{x} {y}V{y + 6}H{lane}V{foot + 6 + HIGH // 2}H{left}"


def box(chapter: told.Chapter) -> str:
    """Return a chapter's box, which links to it."""
    x, y = corner(chapter.name)
    lines = PLACES[chapter.name][2].split("\n")
    first = y + HIGH / 2 + 4 - 6.5 * (len(lines) - 1)
    text = "".join(
        f'<tspan x="{x + 26}" y="{first + 13 * i}">{words}</tspan>'
        for i, words in enumerate(lines)
    )
    number = f'<tspan class="number" x="{x + 5}">{chapter.number}</tspan>'
    place = f'x="{x}" y="{y}" width="{WIDE}" height="{HIGH}"'
    return (
        f'<a href="{chapter.name}.html"><rect {place} rx="4"/>'
        f'<text y="{y + HIGH / 2 + 4}">{number} {text}</text></a>'
    )


def drawn(chapters: tuple[told.Chapter, ...]) -> str:
    """Return the map as SVG: boxes, and lines from each to what needs it."""
    needed = {chapter.name: chapter.needs for chapter in chapters}
    lines = [line(*pair) for pair in sorted(told.nearest(needed))]
    wide = 4 + 2 * ACROSS + WIDE
    high = 4 + HIGH + DOWN * max(row for _, row, _ in PLACES.values())
    return (
        f'<nav aria-label="Map of the chapters" class="chapter-map">'
        f'<svg viewBox="0 0 {wide} {high}" width="{wide}" height="{high}">'
        f'<path d="{"".join(lines)}"/>{"".join(map(box, chapters))}</svg></nav>'
    )


class Map(SphinxDirective):
    """The chapters, and which asks for which."""

    def run(self) -> list[nodes.Node]:
        """Return the drawing."""
        svg = drawn(told.chapters(Path(self.env.srcdir)))
        return [nodes.raw("", svg, format="html")]


class Cards(SphinxDirective):
    """A card for each chapter: what its reader then can, and how long."""

    def run(self) -> list[nodes.Node]:
        """Return the cards, as the directives of sphinx-design make them."""
        root = Path(self.env.srcdir)
        lines = ["````{grid} 1 1 2 2", ":gutter: 3"]
        for one in told.chapters(root):
            page = f"book/{one.name}.ipynb"
            head = f"**{one.number}. [](/{page})**"
            lines += ["```{grid-item-card}"]
            lines += [f"{head} {told.minutes(root / page)} minutes", ""]
            lines += [f"You can {one.can}", "```"]
        found = nodes.container()
        text = StringList([*lines, "````"], self.env.docname)
        self.state.nested_parse(text, 0, found)
        return found.children


class Minutes(SphinxRole):
    """How long pages take to read, those that are named, one after another."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Return the number and its unit."""
        book = Path(self.env.srcdir, "book")
        pages = [told.page_of(book, name) for name in self.text.split()]
        total = sum(map(told.minutes, pages))
        said = (
            f"{total} minutes" if total < 90 else f"{round(total / 60)} hours"
        )
        return [nodes.Text(said)], []


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_directive("chapter-map", Map)
    app.add_directive("chapter-cards", Cards)
    app.add_role("minutes", Minutes())
    return {"parallel_read_safe": True, "parallel_write_safe": True}
