"""Sphinx extension: gives pages with explorers the scripts that run them.

A page without code shows one by the directive `explorer`, given its name.
"""

import json
import re
from pathlib import Path
from typing import Any

from mlpq import widgets
from mlpq.widgets import base, lab

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class Place(SphinxDirective):
    """An explorer with what is recorded for it, as a notebook shows it."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the explorer as HTML."""
        name = self.arguments[0]
        file = f"book/recorded/{name}.json"
        self.env.note_dependency(file)
        classes = {cls.explorer: cls for cls in widgets.EXPLORERS}
        html = classes[name](Path(self.env.srcdir, file)).twin()
        return [nodes.raw("", html, format="html")]


def write(app: Sphinx) -> None:
    """Write the style, the host script and a script per explorer.

    The scripts are classic ones that hold a module's source as a string, since
    a browser refuses to load modules from disk.
    """
    folder = Path(app.outdir) / "_static" / "explorers"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "style.css").write_text(base.STYLE)
    (folder / "host.js").write_text((base.FOLDER / "host.js").read_text())
    for cls in (*widgets.EXPLORERS, widgets.Lab):
        text = json.dumps(base.source(cls.explorer))
        script = f"(window.mlpqExplorers ??= {{}}).{cls.explorer} = {text};\n"
        (folder / f"{cls.explorer}.js").write_text(script)
    for name in lab.SAMPLES:
        (folder / f"sample-{name}.js").write_text(lab.sample(name))


def load(
    app: Sphinx,
    page: str,
    template: str,
    context: dict[str, Any],
    doctree: object,
) -> None:
    """Ask for the scripts of the explorers on this page."""
    names = re.findall(r'data-explorer="(\w+)"', context.get("body", ""))
    if names:
        app.add_css_file("explorers/style.css")
        for name in dict.fromkeys([*names, "host"]):
            app.add_js_file(f"explorers/{name}.js", loading_method="defer")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_directive("explorer", Place)
    app.connect("builder-inited", write)
    app.connect("html-page-context", load)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
