"""The book on paper: `python -m tests.paper FILE` makes one PDF of the pages in `_build/html`; `make pdf` builds them first.

Chromium prints each page as it comes, explorers in their first state, solutions shown. pypdf joins the prints: links between
pages then lead to a place in the same file, and the contents, in front and beside the text, name every page and section.
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from urllib.parse import unquote, urlsplit

from playwright.sync_api import Browser, Page, sync_playwright
from pypdf import PageObject, PdfReader, PdfWriter
from pypdf.constants import PageLabelStyle
from pypdf.generic import ArrayObject, DictionaryObject, Fit, FloatObject, NameObject, NullObject

import mlpq
from tests.browser import CONFIG, PAGES, TOC, arrive
from tests.conftest import FLAGS, ROOT, chromium

SCALE = 0.75  # of the screen's 16 pixels a letter: 9 points on paper
WIDTH = int((210 - 2 * 16) / 25.4 * 96 / SCALE)  # pixels of the page between the margins of A4
STYLE = """
@page { margin: 18mm 16mm; size: A4; @top-left { %(font)s; content: %(title)s } @bottom-center { %(font)s; content: %(number)s } }
html { counter-reset: page %(before)d; }
html:has(#cheat-sheet) { font-size: 14px; }
* { animation: none !important; transition: none !important; }
#jb-print-docs-body, .bd-footer-content, .mlpq-explorer .table, details.hide > summary, .bd-article .copybtn { display: none !important; }
.bd-main .bd-content { margin-left: 0 !important; }
.bd-main .bd-content .bd-article h1:first-of-type { display: block !important; }
.bd-main .bd-content .bd-article, .bd-main .bd-content .bd-article-container { max-width: none; padding: 0; width: 100%%; }
"""
FONT = "color: #59636e; font: 9px sans-serif"
ON_SCREEN = {"genindex"}  # a page of links, which stays out of the book on paper
OPEN = """async ids => {
    document.querySelectorAll("article details").forEach(one => { one.open ||= !one.closest(".mlpq-explorer"); });
    const links = document.body.appendChild(document.createElement("nav"));
    links.hidden = true;  // Chromium notes the places of what is linked to
    links.innerHTML = ids.map(id => `<a href="#${id}"></a>`).join("");
    await Promise.all([...document.images].map(one => { one.loading = "eager"; return one.decode(); }));
}"""
FIT = """() => {
    const edge = document.querySelector("article section").getBoundingClientRect().right + 1, wide = [];
    for (const one of document.querySelectorAll("section :is(table, pre, img, svg, mjx-container[display], .mlpq-explorer)")) {
        const right = () => one.getBoundingClientRect().right;
        for (let zoom = 1; right() > edge && zoom > 0.5;) one.style.zoom = zoom -= 0.02;
        if (right() > edge || one.matches("pre") && one.scrollWidth > one.clientWidth) wide.push(one.outerHTML.slice(0, 200));
    }
    return wide;
}"""
HEADINGS = """() => [...document.querySelectorAll("article section")].map(one => [
    one.id, one.querySelector(":scope > :is(h1, h2, h3)")]).filter(([, heading]) => heading).map(([id, heading]) => [
    Number(heading.tagName[1]), heading.innerText.replace(/#$/, "").trim(), id])"""


@dataclass
class Part:
    """A page of the book on paper: its sheets, its headings (level, text, id), and where ids are (sheet, left, top)."""

    name: str
    sheets: list[PageObject]
    headings: list[tuple[int, str, str]]
    places: dict[str, tuple[int, float, float]]
    first: int = 0  # of all sheets

    @property
    def title(self) -> str:
        return self.headings[0][1]


def wanted(html: Path, names: Sequence[str]) -> dict[str, list[str]]:
    """Return, for each page, the ids that links on any page lead to."""
    ids: dict[str, set[str]] = {name: set() for name in names}
    for name in names:
        text = (html / f"{name}.html").read_text()
        ids[name] |= set(re.findall(r'<section[^>]* id="([^"]+)"', text))
        for page, place in re.findall(r'href="([\w-]*)(?:\.html)?#([^"]+)"', text):
            target = f"book/{page}" if page else name
            if target in ids:
                ids[target].add(unquote(place))
    return {name: sorted(found) for name, found in ids.items()}


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def print_sheets(page: Page, title: str, before: int, number: str = "counter(page)") -> PdfReader:
    """Return what stands on the page on sheets of A4, numbered on from those before."""
    page.add_style_tag(content=STYLE % {"font": FONT, "title": quoted(title), "number": number, "before": before})
    wide = page.evaluate(FIT)
    assert not wide, f"{title}: wider than paper: {wide}"
    return PdfReader(io.BytesIO(page.pdf(scale=SCALE, prefer_css_page_size=True, print_background=True)))


def print_part(page: Page, html: Path, name: str, ids: list[str], before: int) -> Part:
    """Print a page of the book."""
    arrive(page, (html / f"{name}.html").as_uri())
    page.evaluate(OPEN, ids)
    headings = [(level, text, id) for level, text, id in page.evaluate(HEADINGS)]
    reader = print_sheets(page, headings[0][1], before)
    found = reader.named_destinations
    places = {
        id: (reader.get_destination_page_number(to) or 0, float(to.left or 0), float(to.top or 0))
        for id in ids
        if (to := found.get(f"/{id}"))
    }
    return Part(name, list(reader.pages), headings, places, before)


def contents(html: Path, parts: list[Part]) -> str:
    """Return the title, the version, and all pages with their numbers, as HTML."""
    captions = {TOC["parts"][0]["chapters"][0]["file"]: ""} | {
        part["chapters"][0]["file"]: part["caption"] for part in TOC["parts"]
    }
    lines = []
    for part in parts:
        if captions.get(part.name):
            lines.append(f"<h2>{escape(captions[part.name])}</h2>")
        link = (html / f"{part.name}.html").as_uri()
        lines.append(f'<p><a href="{link}">{escape(part.title)}</a><i></i><span>{part.first + 1}</span></p>')
    style = """body { color: #1f2328; font-family: sans-serif; } p { break-inside: avoid; display: flex; margin: 0.35rem 0; }
        h1 { font-size: 2.4rem; } h2 { break-after: avoid; font-size: 1.1rem; margin: 1.4rem 0 0.4rem; } a { color: inherit; text-decoration: none; }
        i { border-bottom: 1px dotted #59636e; flex: 1; margin: 0 0.5rem 0.3rem; }"""
    head = f"<h1>{escape(CONFIG['title'])}</h1><p>Version {mlpq.__version__}. {escape(CONFIG['author'])}.</p>"
    return (
        f"<html><style>{style}</style><body><article><section>{head}{''.join(lines)}</section></article></body></html>"
    )


def place(writer: PdfWriter, sheet: int, left: float, top: float) -> ArrayObject:
    """Return a destination within the file."""
    where = [NameObject("/XYZ"), FloatObject(left), FloatObject(top), NullObject()]
    return ArrayObject([writer.pages[sheet].indirect_reference, *where])


def relink(writer: PdfWriter, html: Path, parts: list[Part], front: int) -> list[str]:
    """Let links within the book lead to sheets. Drop those to files that are not among its pages, and return these."""
    dropped = []
    by_name = {part.name: part for part in parts}
    owners = [""] * front + [part.name for part in parts for _ in part.sheets]
    for owner, sheet in zip(owners, writer.pages, strict=True):
        kept = ArrayObject()
        for reference in sheet.get("/Annots", ArrayObject()):
            link: DictionaryObject = reference.get_object()
            url = urlsplit(str(link.get("/A", {}).get("/URI", "")))
            if "/Dest" in link:
                part, id = by_name[owner], str(link["/Dest"]).removeprefix("/")
            elif url.scheme == "file":
                name = unquote(url.path).removeprefix(f"{html.as_posix()}/").removesuffix(".html")
                if name not in by_name:
                    dropped += {name} - ON_SCREEN
                    continue
                part, id = by_name[name], unquote(url.fragment)
            else:
                kept.append(reference)
                continue
            at, left, top = part.places.get(id, (0, 0.0, 842.0))
            link.pop("/A", None)
            link[NameObject("/Dest")] = place(writer, front + part.first + at, left, top)
            kept.append(reference)
        sheet[NameObject("/Annots")] = kept
    return dropped


def outline(writer: PdfWriter, parts: list[Part], front: int) -> None:
    """Name pages and their sections beside the text."""
    for part in parts:
        top = writer.add_outline_item(title=part.title, page_number=front + part.first)
        for level, text, id in part.headings:
            if level == 2 and id in part.places:
                at, left, y = part.places[id]
                sheet = front + part.first + at
                writer.add_outline_item(title=text, page_number=sheet, parent=top, fit=Fit.xyz(left, y))


def make(browser: Browser, html: Path, file: Path, names: Sequence[str] = PAGES) -> tuple[list[Part], list[str]]:
    """Write pages of the built book to a PDF. Return what it is made of, and the pages that it links to and lacks."""
    ids, parts, sheets = wanted(html, names), [], 0
    with browser.new_page(viewport={"width": WIDTH, "height": 1200}, color_scheme="light") as page:
        page.emulate_media(media="print")
        for name in names:
            parts.append(print_part(page, html, name, ids[name], sheets))
            sheets += len(parts[-1].sheets)
        page.goto((html / f"{names[0]}.html").as_uri())
        page.set_content(contents(html, parts))
        front = list(print_sheets(page, CONFIG["title"], 0, "counter(page, lower-roman)").pages)
    writer = PdfWriter()
    for sheet in [*front, *(sheet for part in parts for sheet in part.sheets)]:
        writer.add_page(sheet)
    lacking = relink(writer, html, parts, len(front))
    outline(writer, parts, len(front))
    writer.set_page_label(0, len(front) - 1, PageLabelStyle.LOWERCASE_ROMAN)
    writer.set_page_label(len(front), len(front) + sheets - 1, PageLabelStyle.DECIMAL)
    writer.add_metadata(
        {"/Title": CONFIG["title"], "/Author": CONFIG["author"], "/Subject": f"Version {mlpq.__version__}"}
    )
    writer.page_mode = "/UseOutlines"
    writer.compress_identical_objects()
    file.parent.mkdir(parents=True, exist_ok=True)
    writer.write(file)
    return parts, lacking


def main(file: str) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS.split())
        parts, lacking = make(browser, ROOT / "_build" / "html", Path(file))
    assert not lacking, f"links to what is not in the book: {lacking}"
    print(f"{file}: {len(parts)} pages on {sum(len(part.sheets) for part in parts)} sheets")


if __name__ == "__main__":
    main(sys.argv[1])
