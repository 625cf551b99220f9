"""The page's own engine: in Chromium, against mlpq and NumPy for the same codebooks, against Faiss for those it trains."""

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Error, Page

import mlpq
from mlpq.codecs.pq import unpack
from mlpq.widgets import base
from tests.conftest import patient_page

N, NQ, K = 3000, 60, 10  # of the data sets, here
TYPES = {"f4": "Float32Array", "f8": "Float64Array", "u1": "Uint8Array", "u2": "Uint16Array", "i4": "Int32Array"}
LIBRARY = """
const TYPES = %s;
const received = (value) => value?.base64 === undefined ? value
    : new globalThis[TYPES[value.type]](Uint8Array.from(atob(value.base64), (letter) => letter.charCodeAt(0)).buffer);
const sent = (value) => {
    if (value?.constructor === Object) return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, sent(one)]));
    const type = Object.keys(TYPES).find((name) => TYPES[name] === value?.constructor.name);
    if (!type) return value;
    const bytes = new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
    let letters = "";
    for (let i = 0; i < bytes.length; i += 8192) letters += String.fromCharCode(...bytes.subarray(i, i + 8192));
    return { type, base64: btoa(letters) };
};
export const answer = async (given) => {
    const a = Object.fromEntries(Object.entries(given).map(([name, value]) => [name, received(value)]));
    const run = async () => { %s };
    return sent(await run());
};
"""
IN_PAGE = """async ([source, given]) => {
    const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
    return (await import(url)).answer(given);
}"""
IN_WORKER = """([source, given]) => new Promise((resolve, reject) => {
    const all = source.replace(/^export /gm, "") + "; onmessage = async ({ data }) => postMessage(await answer(data));";
    const worker = new Worker(URL.createObjectURL(new Blob([all], { type: "text/javascript" })));
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = ({ message }) => reject(new Error(message));
    worker.postMessage(given);
})"""


def engine() -> str:
    """Both modules as one."""
    train = (base.FOLDER / "engine-train.js").read_text()
    return (base.FOLDER / "engine.js").read_text() + re.sub(r"^import .*\n", "", train, flags=re.MULTILINE)


def sent(value: Any) -> Any:
    if not isinstance(value, np.ndarray):
        return value
    name = next(name for name in TYPES if np.dtype(name) == value.dtype)
    return {"type": name, "base64": base64.b64encode(np.ascontiguousarray(value).tobytes()).decode()}


def received(value: Any) -> Any:
    if isinstance(value, dict) and "base64" in value:
        return np.frombuffer(base64.b64decode(value["base64"]), value["type"])
    return {name: received(one) for name, one in value.items()} if isinstance(value, dict) else value


def run(page: Page, body: str, where: str = IN_PAGE, /, **given: Any) -> Any:
    """Return what the body of a function returns that knows the engine, and `a`, what is given: arrays as typed arrays."""
    source = engine() + LIBRARY % (json.dumps(TYPES), body)
    return received(page.evaluate(where, [source, {name: sent(value) for name, value in given.items()}]))


@pytest.fixture(scope="module")
def page(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A page from disk, where browsers allow least."""
    file = tmp_path_factory.mktemp("engine") / "empty.html"
    file.write_text("<!doctype html><title>empty</title>")
    with patient_page(browser) as page:
        page.goto(file.as_uri())
        yield page


class Case:
    """A data set, an index over it by mlpq, and what the engine needs of that."""

    def __init__(self, ds: mlpq.Dataset, m: int, nbits: int) -> None:
        self.m, self.nbits, self.d = m, nbits, ds.d
        self.xb, self.xq = ds.xb[:N], ds.xq[:NQ]
        self.index = mlpq.MultiLevelPQ(ds.d, 24, 4, m=m, nbits=nbits, metric=ds.metric).train(self.xb).add(self.xb)
        if ds.metric == "cosine":
            self.xb, self.xq = unit(self.xb), unit(self.xq)
        self.pq = self.index.quantizers[0]
        self.arrays: dict[str, Any] = {
            "x": self.xb, "q": self.xq, "books": self.pq.codebooks, "centroids": self.index.clusters.inner_centroids,
            "d": self.d, "m": m, "nbits": nbits, "k": K,
        }  # fmt: skip
        self.distances = squares(self.xq, self.xb)


def unit(x: np.ndarray) -> np.ndarray:
    wide = x.astype(np.float64)
    scaled: np.ndarray = (wide / np.sqrt(np.square(wide).sum(axis=1, keepdims=True))).astype(np.float32)
    return scaled


@pytest.fixture(scope="module", params=[("ds", 28, 8), ("words", 48, 4)], ids=["images", "texts"])
def case(request: pytest.FixtureRequest) -> Case:
    name, m, nbits = request.param
    return Case(request.getfixturevalue(name), m, nbits)


def squares(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the squared distances (n, k) of rows, by sums in float64."""
    other = y.astype(np.float64)
    return np.array([np.square(row - other).sum(axis=1) for row in x.astype(np.float64)])


def nearly_the_same(mine: np.ndarray, theirs: np.ndarray, x: np.ndarray, books: np.ndarray) -> None:
    """Codes (n, m) of x: hardly one differs, and if so, the codeword is as near as Faiss's, which sums in float32."""
    rows, places = np.nonzero(mine != theirs)
    assert len(rows) < 0.002 * mine.size
    parts = x.reshape(*mine.shape, -1)
    for i, j in zip(rows, places, strict=True):
        one, other = squares(parts[i, j][None], books[j][[mine[i, j], theirs[i, j]]])[0]
        assert one <= other <= one + 1e-6 * np.square(parts[i, j]).sum()


def test_codes_and_what_they_stand_for(page: Page, case: Case) -> None:
    found = run(
        page,
        "const pq = quantizer(a.d, a.m, a.nbits, a.books); const codes = encode(pq, a.x);"
        "return { codes, decoded: decode(pq, codes) };",
        **case.arrays,
    )
    theirs = unpack(case.pq.encode(case.xb), case.m, case.nbits)
    mine = found["codes"].reshape(N, case.m)
    np.testing.assert_array_equal(found["decoded"].reshape(N, -1)[(mine == theirs).all(axis=1)][:500],
                                  case.pq.decode(case.pq.encode(case.xb))[(mine == theirs).all(axis=1)][:500])  # fmt: skip
    nearly_the_same(mine, theirs, case.xb, case.pq.codebooks)


def test_cells_and_tables(page: Page, case: Case) -> None:
    found = run(
        page,
        "const pq = quantizer(a.d, a.m, a.nbits, a.books);"
        "return { ...assign(a.x, a.d, a.centroids), table: table(pq, a.q.subarray(0, a.d)) };",
        **case.arrays,
    )
    distances = squares(case.xb, case.arrays["centroids"])
    np.testing.assert_array_equal(found["labels"], distances.argmin(axis=1))
    np.testing.assert_allclose(found["distances"], distances.min(axis=1), rtol=1e-9)
    theirs = case.pq.distance_table(case.xq[:1])[0]
    largest = squares(case.xq[:1], np.zeros((1, case.d))).max()
    np.testing.assert_allclose(found["table"].reshape(theirs.shape), theirs, rtol=1e-5, atol=1e-6 * largest)


SEARCH = """
    const pq = quantizer(a.d, a.m, a.nbits, a.books);
    const index = build(a.x, pq, { centroids: a.centroids });
    const [ids, D, counts] = [new Int32Array(60 * a.k).fill(-1), new Float64Array(60 * a.k), new Int32Array(60)];
    for (let i = 0; i < 60; i++) {
        const found = search(index, a.q.subarray(i * a.d, (i + 1) * a.d), a.k, { nprobe: a.nprobe });
        ids.set(found.ids, i * a.k); D.set(found.distances, i * a.k); counts[i] = found.scanned;
        if (found.reads !== found.scanned * a.m || found.cells.length !== a.nprobe) throw new Error("miscounted");
    }
    return { ids, D, counts, codes: index.codes, starts: index.starts, rows: index.ids };
"""


@pytest.mark.parametrize("nprobe", [1, 5, 24])
def test_search_finds_what_mlpq_finds(page: Page, case: Case, nprobe: int) -> None:
    found = run(page, SEARCH, nprobe=nprobe, **case.arrays)
    lists = case.index.lists
    np.testing.assert_array_equal(found["starts"], lists.offsets)
    np.testing.assert_array_equal(found["rows"], lists.ids)
    theirs = unpack(lists.rows, case.m, case.nbits)
    rest = case.xb[lists.ids] - case.arrays["centroids"][lists.cells_of(np.arange(N))]
    nearly_the_same(found["codes"].reshape(theirs.shape), theirs, rest, case.pq.codebooks)
    D, I = case.index.search(case.xq, K, nprobe=nprobe)
    ids, mine = found["ids"].reshape(NQ, K), found["D"].reshape(NQ, K)
    assert (ids != I).mean() < 0.01
    np.testing.assert_allclose(mine, D, rtol=1e-4)  # where ids differ, too
    cells = case.index.clusters.probe(case.xq, nprobe)
    np.testing.assert_array_equal(found["counts"], lists.sizes[cells].sum(axis=1))
    truth = case.distances.argsort(axis=1, kind="stable")[:, :K]
    recalled = run(page, "return recall(a.found, a.truth, a.k)", found=ids.astype("i4"), truth=truth.astype("i4"), k=K)
    assert recalled == mlpq.recall_at_k(ids, truth, K)
    assert recalled == pytest.approx(mlpq.recall_at_k(I, truth, K), abs=0.002)


def test_exact_neighbours_and_rerank(page: Page, case: Case) -> None:
    found = run(
        page,
        """const truth = exact(a.x, a.q, a.d, a.k);
        const pq = quantizer(a.d, a.m, a.nbits, a.books);
        const index = build(a.x, pq, { centroids: a.centroids });
        const ids = new Int32Array(60 * a.k);
        for (let i = 0; i < 60; i++) {
            const q = a.q.subarray(i * a.d, (i + 1) * a.d);
            const candidates = search(index, q, 10 * a.k, { nprobe: 24 }).ids;
            ids.set(rerank(a.x, a.d, q, [-1, ...candidates], a.k).ids, i * a.k);
        }
        return { truth, ids, recall: recall(ids, truth, a.k) };""",
        **case.arrays,
    )
    truth = case.distances.argsort(axis=1, kind="stable")[:, :K]
    np.testing.assert_array_equal(found["truth"].reshape(NQ, K), truth)
    exact = mlpq.ExactIndex(case.d).add(case.xb).search(case.xq, K)[1]
    np.testing.assert_array_equal(found["truth"].reshape(NQ, K), exact)
    candidates = case.index.search(case.xq, 10 * K, nprobe=24)[1]
    best = [row[np.lexsort((row, case.distances[i][row]))][:K] for i, row in enumerate(candidates)]
    assert (found["ids"].reshape(NQ, K) != best).mean() < 0.005
    assert found["recall"] == pytest.approx(mlpq.recall_at_k(best, truth, K), abs=0.002)


def test_other_axes_and_unit_length(page: Page, ds: mlpq.Dataset) -> None:
    x = ds.xb[:300]
    rotation = mlpq.Rotation(ds.d, 32, kind="pca", m=8).train(ds.xb)
    turned = rotation(x)
    given = {"x": x, "y": turned, "mean": rotation.mean, "axes": rotation.axes}
    found = run(page, "return { y: turn(a.x, a), x: turnBack(a.y, a), unit: unit(a.x, 784) }", **given)
    np.testing.assert_allclose(found["y"].reshape(turned.shape), turned, atol=2e-3)
    np.testing.assert_allclose(found["x"].reshape(x.shape), rotation.inverse(turned), atol=2e-3)
    np.testing.assert_allclose(found["unit"].reshape(x.shape), unit(x), rtol=1e-6)


def test_training_is_as_good_as_faiss(page: Page, case: Case) -> None:
    """Within 2 % of the squared error on the rows trained on; and the same again from the same seed."""
    found = run(
        page,
        """const pq = await train(a.x, a.d, a.m, a.nbits, { seed: 3 });
        const cells = await kmeans(a.x, a.d, 24, { seed: 3 });
        const again = (await kmeans(a.x, a.d, 24, { seed: 3 })).centroids;
        return { books: pq.codebooks, centroids: cells.centroids, inertia: cells.inertia,
                 same: again.every((value, i) => value === cells.centroids[i]) };""",
        **case.arrays,
    )
    assert found["same"]
    mine = mlpq.ProductQuantizer.from_codebooks(found["books"].reshape(case.m, 2**case.nbits, -1))
    theirs = mlpq.ProductQuantizer(case.d, case.m, case.nbits).train(case.xb)
    mine_lost, lost = (float(np.square(case.xb - pq.decode(pq.encode(case.xb))).sum()) for pq in (mine, theirs))
    assert mine_lost <= 1.02 * lost
    km = mlpq.KMeans(case.d, 24).train(case.xb)
    within = [squares(case.xb, c.reshape(24, -1)).min(axis=1).sum() for c in (found["centroids"], km.centroids)]
    assert within[0] <= 1.02 * within[1]
    assert (np.diff(found["inertia"]) <= 0).all()


def test_in_a_worker_from_disk(page: Page, ds: mlpq.Dataset) -> None:
    body = "return { ids: exact(a.x, a.q, 784, 10), books: (await train(a.x, 784, 4, 4)).codebooks }"
    given = {"x": ds.xb[:500], "q": ds.xq[:3]}
    alone, beside = (run(page, body, where, **given) for where in (IN_WORKER, IN_PAGE))
    np.testing.assert_array_equal(alone["books"], beside["books"])
    np.testing.assert_array_equal(
        alone["ids"].reshape(3, 10), mlpq.ExactIndex(784).add(ds.xb[:500]).search(ds.xq[:3], 10)[1]
    )


def test_by_hand(page: Page) -> None:
    """Four points at the corners of a rectangle, codewords at -1 and 1 in each of two dimensions."""
    found = run(
        page,
        """const x = Float32Array.of(-1, -2, 1, -2, -1, 2, 1, 2);
        const pq = quantizer(2, 2, 1, Float32Array.of(-1, 1, -1, 1));
        const index = build(x, pq);
        const two = build(x, pq, { centroids: Float32Array.of(0, 2, 0, -2) });
        const q = Float32Array.of(3, 2);
        return {
            codes: encode(pq, x), decoded: decode(pq, encode(pq, x)), table: table(pq, q),
            all: search(index, q, 4), first: search(index, q, 4, { m: 1 }),
            near: search(two, q, 3), both: search(two, q, 3, { nprobe: 9 }),
            kept: rerank(x, 2, q, [0, 3, 3, -1], 5), exact: exact(x, q, 2, 4),
            three: (await kmeans(x, 2, 4)).centroids, mean: (await kmeans(x, 2, 1)).centroids,
            half: recall([3, 3, 7, -1], [3, 1, 7, 0], 2), taken: take(x, 2, [3, 0], 1),
            same: (await kmeans(new Float32Array(8).fill(5), 1, 3)).centroids,
        };""",
    )
    assert found["codes"].tolist() == [0, 0, 1, 0, 0, 1, 1, 1]
    assert found["decoded"].tolist() == [-1, -1, 1, -1, -1, 1, 1, 1]
    assert found["table"].tolist() == [16, 4, 9, 1]
    assert (found["all"]["ids"], found["all"]["distances"]) == ([3, 1, 2, 0], [5, 13, 17, 25])
    # The rest of every vector counts as zero; of what is equally near the smaller number comes first.
    assert (found["first"]["ids"], found["first"]["distances"]) == ([1, 3, 0, 2], [8, 8, 20, 20])
    assert (found["near"]["ids"], found["near"]["distances"]) == ([3, 2], [5, 17])
    assert found["near"]["scanned"] == 2
    assert found["near"]["reads"] == 4
    assert found["both"]["ids"] == [3, 2, 1]
    assert (found["kept"]["ids"], found["kept"]["distances"]) == ([3, 0], [4, 32])
    assert found["exact"].tolist() == [3, 2, 1, 0]
    assert sorted(found["three"].reshape(4, 2).tolist()) == [[-1, -2], [-1, 2], [1, -2], [1, 2]]
    assert found["mean"].tolist() == [0, 0]
    assert found["half"] == 0.5
    assert found["taken"].tolist() == [2, -2]
    assert np.ptp(found["same"]) < 0.1  # empty clusters split what there is


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("encode(pq, Float32Array.of(1, 2, 3, NaN))", "x must be finite; row 1 holds NaN"),
        ("exact(Float32Array.of(1, Infinity), x, 2, 1)", "xb must be finite; row 0 holds Infinity"),
        ("exact(x, x, 2, 3)", "k must be a whole number from 1 to 2; got 3"),
        ("exact(x, x, 3, 1)", "xb must hold rows of 3 numbers; got 4 numbers"),
        ("exact(x, x, 0, 1)", "d must be a whole number from 1; got 0"),
        ("kmeans(x, 2, 3)", "x must hold at least as many rows as clusters (3); got 2"),
        ("kmeans(x, 2, 1.5)", "k must be a whole number from 1; got 1.5"),
        ("train(x, 2, 1, 8)", "x must hold at least 2^nbits = 256 rows; got 2"),
        ("train(x, 4, 3, 8)", "m must divide d; got m = 3, d = 4"),
        ("train(x, 2, 1, 17)", "nbits must be a whole number from 1 to 16; got 17"),
        ("quantizer(2, 1, 1, x.subarray(1))", "codebooks must hold 4 numbers; got 3"),
        ("search(build(x, pq), x, 1)", "q must be one vector of 2 numbers; got 4"),
        ("search(build(x, pq), Float32Array.of(1, NaN), 1)", "q must be finite; row 0 holds NaN"),
        ("search(build(x, pq), x.subarray(2), 0)", "k must be a whole number from 1; got 0"),
        ("search(build(x, pq), x.subarray(2), 1, { m: 3 })", "m must be a whole number from 1 to 2; got 3"),
        ("search(build(x, pq), x.subarray(2), 1, { nprobe: 0 })", "nprobe must be a whole number from 1; got 0"),
        ("recall([1], [1, 2], 1)", "found and truth must hold as many ids; got 1 and 2"),
        ("unit(new Float32Array(2), 2)", "row 0 is zero, and has no direction"),
    ],
)
def test_bad_input_gives_one_clear_error(page: Page, body: str, said: str) -> None:
    start = "const x = Float32Array.of(1, 2, 3, 4); const pq = quantizer(2, 2, 1, Float32Array.of(-1, 1, -1, 1));"
    with pytest.raises(Error, match=re.escape(f"RangeError: {said}")):
        run(page, f"{start} return {body};")


def test_each_module_stands_alone(page: Page) -> None:
    """What an explorer or a worker is given holds its imports, each once; every file is short."""
    for name in ("engine", "engine-train"):
        text = base.source(name)
        assert not re.search(r"^import ", text, re.MULTILINE)
        page.evaluate(IN_PAGE.replace(".answer(given)", ""), [text, {}])
    for path in sorted(Path(base.FOLDER).glob("engine*.js")):
        assert path.read_text().count("\n") <= 300
