"""Sphinx extension: a page loads what it shows, and nothing jumps."""

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from PIL import Image
from sphinx.application import Sphinx


def size(path: Path) -> tuple[int, int]:
    """Return width and height of a picture; a drawing says them itself."""
    if path.suffix == ".svg":
        root = ElementTree.parse(path).getroot()
        return int(root.attrib["width"]), int(root.attrib["height"])
    with Image.open(path) as picture:
        return picture.size


def sized(app: Sphinx, body: str) -> str:
    """Let pictures load when the reader comes near, into a place kept."""
    sources = {name: path for path, name in app.builder.images.items()}

    def tag(found: re.Match[str]) -> str:
        width, height = size(Path(app.srcdir, sources[found[2]]))
        space = f'width="{width}" height="{height}"'
        return f'<img loading="lazy" {space} {found[1]}'

    image = r'<img ((?:(?!width=)[^>])*?src="[^"]*_images/([^"]+)")'
    return re.sub(image, tag, body)


def lighten(
    app: Sphinx,
    page: str,
    template: str,
    context: dict[str, Any],
    doctree: object,
) -> None:
    """Mend the pictures; no MathJax for pages without formulas.

    Sphinx counts the formulas of all pages below, so the first page has it.
    """
    context["body"] = sized(app, context.get("body", ""))
    if 'class="math' not in context["body"]:
        context["script_files"] = [
            script
            for script in context["script_files"]
            if "mathjax" not in str(script.filename).lower()
        ]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("html-page-context", lighten, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
