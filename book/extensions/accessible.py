"""Sphinx extension: mends markup that hinders screen readers."""

import re
from typing import Any

from sphinx.application import Sphinx


def mend(
    app: Sphinx,
    page: str,
    template: str,
    context: dict[str, Any],
    doctree: object,
) -> None:
    """Make no lists of what is none.

    The references have no list items, the lines of a signature no terms.
    """
    body = context.get("body", "").replace(
        '<div role="list" class="citation-list">',
        '<div class="citation-list">',
    )
    lines = r"<dl>\n((?:<dd>.*</dd>\n)+)</dl>"
    context["body"] = re.sub(lines, flattened, body)


def flattened(found: re.Match[str]) -> str:
    """Return the lines of a signature as blocks of text."""
    text = found[1].replace("<dd>", '<span class="sig-line">')
    return text.replace("</dd>", "</span>")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("html-page-context", mend)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
