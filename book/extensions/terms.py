"""Sphinx extension: a term of the glossary in italics links to its entry."""

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.nodes import make_refnode


class LinkTerms(SphinxPostTransform):
    """Link the first mention of each term on a page, in italics there."""

    default_priority = 200

    def run(self, **kwargs: Any) -> None:
        """Compare all italics with the terms, in singular and plural."""
        page, builder = self.env.docname, self.app.builder
        terms = {
            name.lower(): place
            for (kind, name), place in self.env.domaindata["std"][
                "objects"
            ].items()
            if kind == "term"
        }
        for node in list(self.document.findall(nodes.emphasis)):
            text = " ".join(node.astext().lower().split())
            place = terms.pop(text, None) or terms.pop(single(text), None)
            if place and place[0] != page and not inside_link(node):
                children = node.children
                node.clear()
                node += make_refnode(builder, page, *place, children)


def single(text: str) -> str:
    """Return what one of several is called: code, query."""
    return f"{text[:-3]}y" if text.endswith("ies") else text.removesuffix("s")


def inside_link(node: nodes.Node) -> bool:
    """Return whether a link holds the node."""
    parent = node.parent
    return parent is not None and (
        isinstance(parent, nodes.reference) or inside_link(parent)
    )


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_post_transform(LinkTerms)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
