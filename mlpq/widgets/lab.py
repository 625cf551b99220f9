"""Lab: a file of the reader's own vectors, measured in the page, and what to build for them."""

from __future__ import annotations

import json
from html import escape
from typing import Any, ClassVar

import anywidget
import traitlets

from mlpq.widgets.base import STYLE, source

SAMPLES = {"images": "Try 5,000 images", "texts": "Try 5,000 texts"}  # which the pages of the book bring along
NEEDS = (
    "Here the page measures a file of your own vectors and says which m, nbits and nprobe to take. It needs JavaScript. "
    "In Python, mlpq.recommend does the same."
)


class Lab(anywidget.AnyWidget):
    """Which m, nbits and nprobe for a file of vectors: read, measured and advised on by the page, without a kernel.

    Rows are drawn from the file (.npy, .fvecs, .bvecs, .fbin, .u8bin, .i8bin) by slices; a worker finds exact neighbours of
    rows held out, trains cells and codes after PCA as `MultiLevelPQ` does, and the page advises for the reader's number of
    vectors, RAM and recall. Nothing is uploaded.
    """

    explorer: ClassVar[str] = "lab"
    title: ClassVar[str] = "The Lab: which m, nbits and nprobe for your vectors?"
    _esm = source("lab")
    _css = STYLE

    data = traitlets.Dict().tag(sync=True)

    def __init__(self) -> None:
        samples = {name: {"words": words, "url": f"_static/explorers/sample-{name}.js"} for name, words in SAMPLES.items()}
        super().__init__(data={"title": self.title, "worker": source("lab-worker"), "samples": samples})

    def twin(self) -> str:
        """Return the Lab as HTML that needs no kernel; without scripts, a sentence remains."""
        state = json.dumps({"data": self.data}, separators=(",", ":")).replace("</", "<\\/")
        return (
            f'<div class="mlpq-explorer" data-explorer="{self.explorer}"><p><strong>{escape(self.title)}</strong></p>'
            f'<p>{escape(NEEDS)}</p><script type="application/json">{state}</script></div>'
        )

    def __repr__(self) -> str:
        return "Lab()"

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        bundle, metadata = super()._repr_mimebundle_(**kwargs) or ({}, {})
        return bundle | {"text/html": self.twin()}, metadata
