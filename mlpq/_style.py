"""The look of all figures: colours, markers, and Matplotlib's settings while one is drawn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.colors import LinearSegmentedColormap

# Okabe & Ito's colours, told apart with any colour vision; the yellow is left out, too pale on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "os^DvPX"
RIGHT, WRONG, NEUTRAL = "#009E73", "#D55E00", "#999999"
SIGNED = LinearSegmentedColormap.from_list("signed", [PALETTE[0], "white", "black"], N=255)  # odd: 0 is white
STYLE: Any = {
    "figure.facecolor": "white",  # pages in dark mode turn it dark: book/static/book.css
    "figure.dpi": 144,
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.axisbelow": True,
    "grid.color": "#DDDDDD",
    "legend.frameon": False,
}


@contextmanager
def style() -> Iterator[None]:
    """Apply `STYLE` to the figures made inside.

    Not by `plt.rc_context`: that also restores `interactive`, which Jupyter's backend turns on while the first figure is
    made, and no later figure would be shown.
    """
    before = {key: plt.rcParams[key] for key in STYLE}
    plt.rcParams.update(STYLE)
    try:
        yield
    finally:
        plt.rcParams.update(before)
