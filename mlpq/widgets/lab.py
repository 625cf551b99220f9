"""Lab: a file of the reader's own vectors, measured in the page, and what to build for them."""

from __future__ import annotations

import json
from base64 import b64encode
from html import escape
from io import BytesIO
from typing import Any, ClassVar

import anywidget
import numpy as np
import traitlets

from mlpq.data.datasets import load_dataset
from mlpq.widgets.base import STYLE, source

SAMPLES = {"images": "fashion-mnist-20k", "texts": "wordnet-20k"}  # which the pages of the book bring along
ROWS = 5000  # of each
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
        samples = {
            name: {
                "words": f"Try {ROWS:,} {name}", "url": f"../_static/explorers/sample-{name}.js",
                "xb": f'mlpq.load_dataset("{dataset}").xb[:{ROWS}]',
            } for name, dataset in SAMPLES.items()
        }  # fmt: skip
        super().__init__(data={"title": self.title, "worker": source("lab-worker"), "samples": samples, "style": STYLE})

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


def sample(name: str) -> str:
    """Return a script that holds the first rows of a data set, as a file of bytes: .npy, of uint8 or int8."""
    x = load_dataset(SAMPLES[name]).xb[:ROWS]
    whole = bool((x == np.rint(x)).all())
    file = BytesIO()
    np.save(file, x.astype(np.uint8) if whole else np.rint(x * (127 / np.abs(x).max())).astype(np.int8))
    return f'(window.mlpqSamples ??= {{}}).{name} = "{b64encode(file.getvalue()).decode()}";\n'
