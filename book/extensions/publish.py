"""Sphinx extension: where the book will stand, its version, links to it."""

from pathlib import Path
from typing import Any

import mlpq

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from sphinx.application import Sphinx
from sphinx.config import Config

INK, SOFT = "#1f2328", "#59636e"
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")  # of the logo
CODE = (23, 201, 7, 142)
SHADES = (0.35, 0.8, 0.55, 1, 0.45, 0.7, 0.9)


def locate(app: Sphinx, config: Config) -> None:
    """Derive the pages' address, on GitHub Pages, from the repository's.

    `{{ report }}` in a page becomes a link to the forms for issues.
    """
    repository = config.html_theme_options["repository_url"]
    owner, name = repository.rsplit("/", 2)[1:]
    config.ogp_site_url = f"https://{owner}.github.io/{name}/"
    form = f"[Report it]({repository}/issues/new/choose)"
    config.myst_substitutions = {"report": form}
    # Forms ask for a login; publishers, to whom DOIs lead, refuse programs.
    config.linkcheck_ignore = [repository, "https://doi.org/"]
    config.version = config.release = mlpq.__version__


def draw(app: Sphinx) -> None:
    """Draw the card: a vector, cut into four sub-vectors, and its code."""
    figure = Figure(figsize=(12, 6.3), dpi=100, facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, 1200), ylim=(0, 630))
    axes.axis("off")
    title = "Product quantization\nwith multi-level clustering"
    line = "Search many vectors in little memory: a book that runs"
    bold: Any = {"weight": "bold", "va": "center"}
    axes.text(80, 505, title, size=47, color=INK, **bold)
    axes.text(80, 372, line, size=26, color=SOFT, va="center")
    arrow = {"arrowstyle": "->", "color": SOFT, "lw": 2.5}
    for j, (color, number) in enumerate(zip(COLORS, CODE, strict=True)):
        left, middle = 80 + 265 * j, 200 + 265 * j
        for i, shade in enumerate(SHADES[-j:] + SHADES[:-j]):
            place = (left + 35 * i, 205)
            patch = Rectangle(place, 31, 70, color=color, alpha=shade)
            axes.add_patch(patch)
        axes.annotate("", (middle, 138), (middle, 192), arrowprops=arrow)
        axes.text(
            middle, 100, number, size=40, color=color, ha="center", **bold
        )
    folder = Path(app.outdir, "_static")
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "card.png")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("config-inited", locate)
    app.connect("builder-inited", draw)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
