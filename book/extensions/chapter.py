"""Sphinx extension: what stands at the head of a chapter.

A strip of the pipeline, on which the chapter's part is marked, how long it
takes to read, and a button that hides all code for those who only read.
"""

from pathlib import Path
from typing import Any

import chapters as told
from sphinx.application import Sphinx

PATHS = {
    "add": ["vectors", "cells", "residuals", "codes", "lists"],
    "search": ["query", "cells", "tables", "scan", "rerank", "D, I"],
}
PARTS = {  # of the pipeline, by chapter
    "exact-search": ["vectors", "query", "D, I"],
    "kmeans": ["cells"],
    "two-levels": ["cells"],
    "product-quantization": ["codes"],
    "distance-tables": ["tables", "scan"],
    "residuals": ["residuals", "codes"],
    "multi-level-search": ["cells", "lists", "scan", "rerank"],
    "comparison": ["D, I"],
    "bytes": ["lists"],
    "choosing": ["cells", "codes"],
    "what-to-use": ["cells", "codes", "rerank"],
    "rotations": ["vectors", "codes"],
    "sums-of-codewords": ["codes", "tables"],
    "codes-without-training": ["codes", "scan", "rerank"],
    "graphs": ["cells", "lists", "scan"],
    "embeddings": ["vectors", "query", "residuals", "codes"],
    "registers": ["tables", "scan"],
    "disk": ["vectors", "lists", "rerank"],
    "machines": ["vectors", "codes", "lists", "D, I"],
    "production": ["vectors", "codes", "lists", "rerank"],
}
BUTTON = {
    "type": "javascript",
    "javascript": "hideCode()",
    "tooltip": "Hide or show the code",
    "icon": "fas fa-eye-slash",
    "label": "hide-code-button",
}


def strip(chapter: str) -> str:
    """Return the strip as HTML: a row for each path."""
    here = PARTS[chapter]
    rows = []
    for path, parts in PATHS.items():
        marked = [
            f'<span class="here">{part}</span>'
            if part in here
            else f"<span>{part}</span>"
            for part in parts
        ]
        rows.append(f'<p class="{path}"><i>{path}</i> {" → ".join(marked)}</p>')
    label = f"This chapter in the pipeline: {', '.join(here)}"
    rows = "".join(rows)
    return f'<div class="pipeline" role="img" aria-label="{label}">{rows}</div>'


def complete(
    app: Sphinx,
    page: str,
    template: str,
    context: dict[str, Any],
    doctree: object,
) -> None:
    """Put the strip below the title, and the button beside the others."""
    body = context.get("body", "")
    chapter = page.removeprefix("book/")
    if chapter in PARTS:
        minutes = told.minutes(Path(app.srcdir, f"{page}.ipynb"))
        head = strip(chapter) + f'<p class="minutes">{minutes} minutes</p>'
        body = body.replace("</h1>", "</h1>\n" + head, 1)
        context["body"] = body
    if "cell_input" in body:
        context["header_buttons"].append(BUTTON)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("html-page-context", complete, priority=800)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
