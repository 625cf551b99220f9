"""The Lab in Chromium: files of every format and type, what is wrong with them, recall against Python's, advice, cancel."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

import mlpq
from mlpq import widgets
from mlpq.bench import sample
from mlpq.widgets import base
from mlpq.widgets.lab import ROWS, SAMPLES
from tests.browser import Watched, serious_violations, traced
from tests.conftest import NARROW, ROOT, patient_page
from tests.kernel import page_of
from tests.lab import MINUTES, MOMENTS, built, cancelled, chosen, ended, report_of, sparse, vectors


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lab") / "lab.html"
    path.write_text(page_of(widgets.Lab()))
    return path


@pytest.fixture(scope="module")
def page(browser: Browser) -> Iterator[Page]:
    with patient_page(browser) as opened:
        yield opened


@pytest.fixture
def lab(page: Page, page_file: Path) -> Locator:
    """The Lab, from disk, where nothing has run."""
    page.goto(page_file.as_uri())
    there = page.locator(".lab")
    expect(there.locator(".status")).to_have_text("Nothing has run yet.")
    return there


def written(folder: Path, suffix: str, x: np.ndarray) -> Path:
    """Write a file in one of the formats that the Lab reads."""
    path = folder / f"vectors.{suffix}"
    if suffix == "npy":
        np.save(path, x)
    elif suffix.endswith("vecs"):
        heads = np.full((len(x), 1), x.shape[1], "<i4").view("u1")
        path.write_bytes(np.hstack([heads, x.view("u1").reshape(len(x), -1)]).tobytes())
    else:
        path.write_bytes(struct.pack("<II", *x.shape) + x.tobytes())
    return path


@pytest.mark.parametrize("online", [True, False])
def test_the_book_s_page_reads_samples_and_files(
    browser: Browser,
    page: Page,
    html: Path,
    address: str,
    tmp_path: Path,
    online: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Over http and from disk; and what is advised for a file holds, built where the file lies by the lines shown."""
    home = address if online else html.as_uri()
    watched = Watched(page, home)
    page.goto(f"{home.rstrip('/')}/book/lab.html")
    lab = page.locator(".lab")
    with traced(browser, page) as tasks:
        for name, words in (("texts", "5,000 rows of 384"), ("images", "5,000 rows of 784")):
            page.locator(f"[data-sample={name}]").click()
            expect(lab).to_contain_text(words)
    assert max(tasks["page"]) < 100
    expect(lab.locator("pre").first).to_contain_text(f'xb = mlpq.load_dataset("{SAMPLES["images"]}").xb[:{ROWS}]')
    x = vectors(5000, 25)
    chosen(lab, written(tmp_path, "npy", x[:3000]))
    expect(lab).to_contain_text("3,000 rows of 25 numbers, float32")
    assert ended(lab).startswith("Done in")
    expect(lab.get_by_text("What to build")).to_be_visible()
    advice = report_of(page)["advice"]
    assert advice["reached"]
    assert watched.problems == []
    monkeypatch.chdir(tmp_path)
    found = built(advice["lines"]["mlpq"], x[3000:])
    gt = mlpq.ground_truth(x[:3000], x[3000:], 10)[1]
    assert mlpq.recall_at_k(found["I"], gt, 10) >= advice["best"]["low"]


FORMATS = [
    ("npy", "<f2", 25), ("npy", "<f4", 768), ("npy", "<f8", 100), ("fvecs", "<f4", 1536), ("bvecs", "u1", 100),
    ("fbin", "<f4", 25), ("u8bin", "u1", 128), ("i8bin", "i1", 100),
]  # fmt: skip
WORDS = {"<f2": "float16", "<f4": "float32", "<f8": "float64", "u1": "uint8", "i1": "int8"}


@pytest.mark.parametrize(("suffix", "dtype", "d"), FORMATS)
def test_every_format_is_read(lab: Locator, tmp_path: Path, suffix: str, dtype: str, d: int) -> None:
    x = vectors(1200, d, dtype)
    path = written(tmp_path, suffix, x)
    chosen(lab, path)
    said = lab.get_by_text("1,200 rows of")
    expect(said).to_contain_text(f"1,200 rows of {d:,} numbers, {WORDS[dtype]}")
    length = np.linalg.norm(x.astype(np.float32), axis=1).mean()
    expect(lab).to_contain_text(f"Lengths: {float(f'{length:.3g}'):g}".split(".")[0])
    lab.locator("button", has_text="Cancel").dispatch_event("click")  # hidden where all is done already
    expect(lab.locator(".status")).to_contain_text("Cancelled")


def refused(lab: Locator, path: Path) -> str:
    chosen(lab, path)
    expect(lab.locator(".status")).to_contain_text(path.name)
    words = ended(lab)
    assert "cannot be read as vectors" in words
    return words


def test_what_is_no_file_of_vectors_gets_one_clear_error(lab: Locator, tmp_path: Path) -> None:
    x = vectors(1200, 100)
    for suffix, expected in (
        ("npy", "it is cut off"),
        ("fvecs", "it is cut off, or of another format"),
        ("fbin", "it is cut off"),
    ):
        path = written(tmp_path, suffix, x)
        path.write_bytes(path.read_bytes()[:-100])
        assert expected in refused(lab, path)
    text = tmp_path / "text.npy"
    text.write_text("A text, and no vectors.\n" * 100)
    assert "np.save" in refused(lab, text)
    other = tmp_path / "vectors.csv"
    other.write_text("1,2,3\n" * 100)
    assert "must end in .npy" in refused(lab, other)
    for number, (array, expected) in enumerate((
        (x[0], "not a matrix"), (np.asfortranarray(x), "np.ascontiguousarray"), (x.astype(complex), "<c16"),
        (np.empty((0, 5), np.float32), "0 vectors"), (np.zeros((3, 5000), np.float32), "5,000 numbers"), (x.astype(">f4"), ">f4"),
    )):  # fmt: skip
        path = tmp_path / f"odd-{number}.npy"
        np.save(path, array)
        assert expected in refused(lab, path), expected


def test_too_few_rows(lab: Locator, tmp_path: Path) -> None:
    chosen(lab, written(tmp_path, "npy", vectors(500, 10)))
    expect(lab).to_contain_text("500 rows of 10 numbers")
    assert "Below 1,000 compare each query with all of them" in ended(lab)


def test_what_looks_wrong_is_said(lab: Locator, tmp_path: Path) -> None:
    x = vectors(1500, 25) + 20
    x[[5, 7], 3] = np.nan
    x[11] = np.inf
    x[20:30] = 0
    x[100:140] = x[200]
    x[:, 8] *= 50
    chosen(lab, written(tmp_path, "npy", x))
    expect(lab).to_contain_text("3 rows hold NaN or infinity")
    expect(lab).to_contain_text("10 rows are zero")
    expect(lab).to_contain_text("49 rows equal another one")  # 40 copies, and nine zeros
    expect(lab).to_contain_text("Place 8 holds")
    expect(lab).to_contain_text("not centred")
    lab.locator("[data-control=metric]").select_option("cosine")
    expect(lab).to_contain_text("10 rows are zero and have no direction: they are left out")


def test_vectors_of_one_length_are_measured_by_cosine(lab: Locator, tmp_path: Path) -> None:
    x = vectors(1200, 25)
    chosen(lab, written(tmp_path, "npy", x / np.linalg.norm(x, axis=1, keepdims=True)))
    expect(lab).to_contain_text("Measured by cosine, since all are of one length")
    expect(lab).to_contain_text("Nothing looks wrong")


def test_a_file_of_two_gigabytes_is_sampled(lab: Locator, tmp_path: Path) -> None:
    chosen(lab, sparse(tmp_path / "sparse.fbin"))
    expect(lab).to_contain_text("2.0 GB: 5,000,000 rows of 100 numbers, float32. 20,500 rows were drawn")
    lab.get_by_role("button", name="Cancel").click()
    expect(lab.locator(".status")).to_contain_text("Cancelled")


@pytest.fixture(scope="module")
def report(
    browser: Browser, page: Page, page_file: Path, words: mlpq.Dataset, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What the Lab finds out about 4,000 texts, in 96 dimensions, watched while it works."""
    path = tmp_path_factory.mktemp("texts") / "texts.npy"
    x = words.xb[:4000, :96] / np.linalg.norm(words.xb[:4000, :96], axis=1, keepdims=True)
    np.save(path, x)
    watched = Watched(page, page_file.parent.as_uri())
    page.goto(page_file.as_uri())
    with traced(browser, page) as tasks:
        chosen(page.locator(".lab"), path)
        assert ended(page.locator(".lab")).startswith("Done in")
        found = report_of(page)
        with page.expect_download() as download:
            page.get_by_role("button", name="Download report.html").click()
    found["html"] = Path(download.value.path()).read_text()
    return found | {"problems": watched.problems, "tasks": tasks, "xb": x}


def test_nothing_is_sent_and_the_page_stays_awake(report: dict[str, Any]) -> None:
    assert report["problems"] == []
    assert len(report["tasks"]["page"]) > 100
    assert max(report["tasks"]["page"]) < 100


def test_the_worker_listens_all_the_time(report: dict[str, Any]) -> None:
    """Reading, turning, truth, training, measuring: no task is so long that Cancel would not end the worker within a second."""
    assert len(report["tasks"]["worker"]) > 20
    assert max(report["tasks"]["worker"]) < 500


def test_the_report_is_a_page_of_its_own(report: dict[str, Any], page: Page, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(report["html"])
    page.goto(path.as_uri())
    assert page.locator("svg[role=img]").count() == 3
    assert page.locator("button, input, script").count() == 0
    expect(page.locator("body")).to_contain_text("mlpq.MultiLevelPQ(")
    assert page.locator(".lab").evaluate("lab => getComputedStyle(lab).borderRadius") == "8px"


def test_recall_is_that_of_python(report: dict[str, Any]) -> None:
    """The same rows as base and queries, the same number of cells: recall at every nprobe within 0.02."""
    coarse, x = report["coarse"], report["xb"]
    xb, xq = x[coarse["rows"]["base"]], x[coarse["rows"]["queries"]]
    assert len(np.unique(np.concatenate([coarse["rows"]["base"], coarse["rows"]["queries"]]))) == 4000
    ds = mlpq.dataset(xb, xq, metric=coarse["metric"])
    cells = coarse["cells"]
    for code in (code for code in report["codes"] if code["nbits"] == 8):
        settings = [{"m": code["m"], "nbits": 8, "pca_dim": code["dim"], "metric": ds.metric, "niter": 8}]
        rows = mlpq.measure_grid(ds, settings, coarse["nprobes"], n_inner=cells, n_outer=round(cells**0.5))
        for row, found in zip(rows, code["found"], strict=True):
            recall, half, *_ = found[0]
            assert abs(row["recall"] - recall) < 0.02 + half / 2, (code["m"], row["nprobe"])


def test_what_is_advised_holds(report: dict[str, Any]) -> None:
    """Built in Python with the lines shown: the bytes are those foretold, recall is not below the interval."""
    advice, coarse, x = report["advice"], report["coarse"], report["xb"]
    best = advice["best"]
    xb, xq = x[coarse["rows"]["base"]], x[coarse["rows"]["queries"]]
    lines = (
        advice["lines"]["mlpq"]
        .replace('index = mlpq.MultiLevelPQ.load("index.h5", mmap=True)', "")
        .replace('index.save("index.h5")', "")
    )
    lines = "\n".join(line for line in lines.splitlines() if "texts.npy" not in line)
    found = built(lines, xq, xb=xb, np=np)
    gt = mlpq.ground_truth(xb, xq, 10, metric=coarse["metric"])[1]
    assert mlpq.recall_at_k(found["I"], gt, 10) >= best["low"] - 0.02
    parts = {name: size for name, size in found["index"].memory().items() if name != "originals"}
    n, foretold = len(xb), best["parts"]
    assert parts["codes"] == foretold["codes"] * n // advice["asked"]["N"]
    for name in (
        "codebooks",
        "axes",
        "mean",
        "inner_centroids",
        "outer_centroids",
        "list_offsets",
        "codebook_of_cell",
        "inner_to_outer",
    ):
        assert parts[name] == foretold[name], name


def test_it_foretells_what_python_does(page: Page, page_file: Path) -> None:
    rng = np.random.default_rng(0)
    given = [
        [float(rng.random()), float(rng.random()), rng.normal(size=(5, 2)).tolist(), 10_000, int(N)]
        for N in 10 ** rng.uniform(3, 9, 200)
    ]
    given.append([1, 0.01, [[0, 0.01]] * 5, 10_000, 40_000])
    page.goto(page_file.as_uri())
    found = page.evaluate(
        """async ([source, given]) => {
            const { foretold } = await import(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
            return given.map((one) => foretold(one.slice(0, 3), ...one.slice(3)));
        }""",
        [base.source("lab-advice"), given],
    )
    np.testing.assert_allclose(found, [sample.foretold(one[:3], *one[3:]) for one in given], rtol=1e-9, atol=1e-12)


def test_advice_follows_the_numbers(lab: Locator, tmp_path: Path) -> None:
    chosen(lab, written(tmp_path, "npy", vectors(2000, 25)))
    expect(lab.get_by_text("What to build")).to_be_visible(timeout=60_000 * MINUTES)
    ended(lab)
    n, ram, recall = lab.locator("input[type=number]").all()
    n.fill("100000000")
    ram.fill("10")
    expect(lab).to_contain_text("No code measured fits")
    ram.fill("10000")
    expect(lab).to_contain_text("carried to 100,000,000")
    expect(lab).to_contain_text("import faiss")
    recall.fill("7")
    expect(lab).to_contain_text("recall from 0 to 1")


def test_by_keyboard_alone(page: Page, lab: Locator, tmp_path: Path) -> None:
    """From the file to the lines and the report; cancelled once on the way."""

    def tab_to(there: Locator) -> None:
        for _ in range(30):
            page.keyboard.press("Tab")
            if there.evaluate("one => one === document.activeElement"):
                return
        raise AssertionError(f"no key leads to {there}")

    def choose(suffix: str) -> None:  # the dialogue itself is the browser's
        tab_to(lab.locator("input[type=file]"))
        chosen(lab, written(tmp_path, suffix, vectors(3000, 25)))

    choose("npy")
    tab_to(lab.get_by_role("button", name="Cancel"))
    page.keyboard.press("Enter")
    expect(lab.locator(".status")).to_have_text("Cancelled. What was measured so far stays.")
    choose("fbin")
    ended(lab)
    tab_to(lab.locator("input[type=number]").first)
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("1000000")
    expect(lab).to_contain_text("carried to 1,000,000")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    tab_to(lab.get_by_role("button", name="Copy").first)
    page.keyboard.press("Enter")
    expect(lab.get_by_role("button", name="Copied")).to_have_count(1)
    tab_to(lab.get_by_role("button", name="Download report.json"))
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    assert json.loads(Path(download.value.path()).read_text())["advice"]["asked"]["N"] == 1_000_000


@pytest.mark.parametrize("granted", [True, False])
def test_lines_are_copied(page: Page, lab: Locator, tmp_path: Path, granted: bool) -> None:
    if not granted:  # as on a page of the network that came without TLS
        page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined, configurable: true })")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    chosen(lab, written(tmp_path, "npy", vectors(1000, 10)))
    button = lab.get_by_role("button", name="Copy").first
    button.wait_for(timeout=60_000 * MINUTES)
    ended(lab)
    lines = lab.locator("pre").first.inner_text()
    button.click()
    if granted:
        expect(lab.get_by_role("button", name="Copied")).to_have_count(1)
        assert page.evaluate("navigator.clipboard.readText()") == lines
    else:
        expect(button).to_have_text("Selected: copy by hand")
        assert page.evaluate("getSelection().toString()") == lines


@pytest.mark.parametrize(("moment", "figures"), [*zip(MOMENTS, (0, 0, 0, 0, 0, 1, 4), strict=True)])
def test_cancel_ends_the_worker_and_keeps_what_was_found(
    lab: Locator, tmp_path: Path, moment: str, figures: int
) -> None:
    said, _ = cancelled(lab, written(tmp_path, "npy", vectors(3000, 40)), moment)
    assert said == "Cancelled. What was measured so far stays."
    expect(lab.locator("figure")).to_have_count(figures)
    expect(lab.locator(".status")).to_have_text(said)


def test_it_was_quick_enough_when_measured() -> None:
    """What `make lab` found: 20,000 rows of 128 numbers in a minute, the first curve in 10 s, in less than a gigabyte."""
    record = json.loads((ROOT / "book" / "recorded" / "lab.json").read_text())
    found = record["files"]["20000 x 128"]
    assert found["seconds"]["done"] <= 60
    assert found["seconds"]["first curve"] <= 10
    assert found["megabytes"] < 1000
    assert found["longest task, ms"] < 100
    assert record["files"]["2 GB"]["seconds"]["cancelled"] < 1


def test_nothing_serious_for_those_who_cannot_see_it(page: Page, lab: Locator, tmp_path: Path) -> None:
    chosen(lab, written(tmp_path, "npy", vectors(1200, 25)))
    ended(lab)
    for scheme in ("light", "dark"):
        page.evaluate("scheme => { document.documentElement.dataset.theme = scheme; }", scheme)
        assert serious_violations(page) == []
    page.set_viewport_size(NARROW)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
