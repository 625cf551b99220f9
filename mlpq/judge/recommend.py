"""A memory budget and a recall in, measured settings out, best first, with the Python lines that build them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from tqdm.auto import tqdm

from mlpq import _check
from mlpq.codecs.codebooks import CodebookDtype, Owner
from mlpq.data.datasets import Dataset
from mlpq.index import MultiLevelPQ
from mlpq.judge.candidates import LEAST, QUERIES, Budget, Kind, Setting, by_order, guide, is_scalar, kinds
from mlpq.judge.evaluate import recall_at_k
from mlpq.judge.timing import measure
from mlpq.judge.tuning import Row

TRIES = 2  # indexes built of one kind
TRAINED = 100_000  # vectors, or 64 for each cell, that train an index
RERANKS = (2, 4, 8, 16, 32)
GAIN = 0.005  # recall that a doubled nprobe must add to be doubled again


def recommend(
    ds: Dataset,
    bytes_per_vector: float,
    recall: float,
    *,
    n_inner: int | None = None,
    n_outer: int | None = None,
    k: int = 10,
    nbits: Sequence[int] | None = None,
    owners: Sequence[Owner] = ("global",),
    nprobes: Sequence[int] | None = None,
    pca_dims: Sequence[int | None] | None = None,
    codebook_dtype: CodebookDtype = "uint8",
    progress: bool = False,
) -> list[Row]:
    """Choose and measure the indexes that fit a budget, and say how to build the best.

    What is not given is chosen. The number of cells is the one with which a search of a sample has the least to scan.
    Of each owner, without and, where the budget holds them, with originals, the settings with the longest codes that fit
    are compared by how well their codes keep the order of some queries' neighbours. The two best, with originals the best,
    are built of the whole base, and searched with more and more cells until the recall is reached or hardly rises.
    Sub-vectors of a single dimension are built only if nothing else reaches the recall and they keep the order best.

    Args:
        ds: its base is trained on (of more than 100,000 vectors, every second or third and so on) and added; its
            queries and ground truth judge.
        bytes_per_vector: budget for everything: codes, ids, codebooks, centroids, axes, originals.
        recall: wanted, from 0 to 1, at k (`recall_at_k`).
        n_inner, n_outer: cells and outer clusters to try, these only.
        k: recall is counted for k neighbours.
        nbits: each is tried by itself, but those whose codebooks need more than the base, 2**nbits vectors. None: 8; for
            fewer than 10,000 vectors, or where 8 do not fit, the best of 4, 6 and 8.
        owners: of codebooks; each is tried.
        nprobes: each is tried, and no other.
        pca_dims: dimensions to reduce the vectors to, None for no reduction; each is tried.
        codebook_dtype: of the codewords.
        progress: show a bar on stderr.

    Returns:
        Rows, one for each index and search: n_inner, n_outer, pca_dim, m, nbits, codebooks, codebook_dtype,
        keep_originals, metric; nprobe, rerank; recall; qps, in one run; bytes, all components; "meets", for whether the
        recall is reached; "mlpq" and "faiss", Python lines that build this index of `ds` and search it, and an index
        of Faiss of the same kind: always with one codebook, and with components of PCA rotated at random, not dealt out
        (for "ip", with OPQ in the place of PCA).
        First rows that meet the recall, fastest first; then the others, best recall first. But for qps, and so
        the order of the first, the same call gives the same rows.

    Example:
        >>> import mlpq
        >>> rows = recommend(mlpq.synthetic(1000, 8, nq=20), bytes_per_vector=48, recall=0.5, n_inner=8)
        >>> rows[0]["meets"], rows[0]["bytes"] <= 48 * 1000
        (True, True)

    Raises:
        ValueError: recall outside 0..1; no nbits can be trained; nothing fits: the
            message says what the smallest index takes.
        TypeError, ValueError: as in `MultiLevelPQ` and `recall_at_k`.
    """
    if not 0 <= recall <= 1:
        raise ValueError(f"recall must be from 0 to 1; got {recall}")
    recall_at_k(ds.gt, ds.gt, k)  # a k without ground truth is refused before anything is built
    n_inner = None if n_inner is None else _check.integer(n_inner, "n_inner", 1, len(ds.xb))
    n_outer = None if n_outer is None else _check.integer(n_outer, "n_outer", 1)
    nprobes = None if nprobes is None else [_check.integer(nprobe, "nprobe", 1) for nprobe in nprobes]
    wanted = kinds(ds, owners, _default_nbits(len(ds.xb)) if nbits is None else nbits)
    known = guide(ds, recall, k, n_inner)
    budget = Budget(
        ds, bytes_per_vector, known.n_inner, n_outer, fixed=n_inner is not None, codebook_dtype=codebook_dtype
    )
    found = budget.fitting(wanted, pca_dims)
    groups = list(found.values()) if nbits is not None else _pooled(found, len(ds.xb))
    ranked = [by_order(settings, known, k) for settings in groups]
    rows: list[Row] = []
    for chosen in (_of_several_dimensions, _of_one_dimension):
        tried = [setting for settings in ranked for setting in chosen(settings, ds.d)]
        for setting in tqdm(tried, desc="indexes", disable=not progress or not tried):
            rows += _measured(ds, setting, recall, k, nprobes, known.nprobe)
        if any(row["meets"] for row in rows):
            break
    return sorted(rows, key=lambda row: (not row["meets"], -row["qps"] if row["meets"] else -row["recall"]))


def _default_nbits(n: int) -> list[int]:
    return [bits for bits in (4, 6, 8) if 2**bits <= n] or [max(1, n.bit_length() - 1)]


def _pooled(found: dict[Kind, list[Setting]], n: int) -> list[list[Setting]]:
    """Let all nbits compete; 4 and 6 only where 8 do not fit or have too few vectors to train them well."""
    enough = {kind: settings for kind, settings in found.items() if kind.nbits == 8 and n >= LEAST * 2**8}
    pools: dict[tuple[Owner, bool], list[Setting]] = {}
    for kind, settings in (enough or found).items():
        pools.setdefault((kind.codebooks, kind.keep_originals), []).extend(settings)
    return list(pools.values())


def _of_several_dimensions(ranked: Sequence[Setting], d: int) -> list[Setting]:
    best = [setting for setting in ranked if not is_scalar(setting, d)]
    return best[: 1 if ranked[0]["keep_originals"] else TRIES]


def _of_one_dimension(ranked: Sequence[Setting], d: int) -> list[Setting]:
    """Return the best with sub-vectors of one dimension, if it is the best of all."""
    return [setting for setting in ranked[:1] if is_scalar(setting, d)]


def _measured(
    ds: Dataset, setting: Setting, recall: float, k: int, nprobes: Sequence[int] | None, start: int
) -> list[Row]:
    """Build an index and search it; with originals, with more and more of them until the recall is reached."""
    step = max(1, len(ds.xb) // max(TRAINED, 64 * setting["n_inner"]))
    index = MultiLevelPQ(ds.d, **setting).train(ds.xb[::step]).add(ds.xb)
    built = setting | {"bytes": index.memory().total}
    rows: list[Row] = []

    def found(rerank: int, nprobe: int) -> float:
        _, I = index.search(ds.xq[:QUERIES], k, nprobe=nprobe, rerank=rerank)
        return recall_at_k(I, ds.gt[:QUERIES], k)

    for rerank in RERANKS if index.keep_originals else (0,):
        ladder = _ladder(partial(found, rerank), recall, start, setting["n_inner"]) if nprobes is None else nprobes
        for nprobe in ladder:
            search = partial(index.search, ds.xq, k, nprobe=nprobe, rerank=rerank)
            (_, I), timing = measure(search, len(ds.xq), warmup=0, runs=1)
            row = built | {"nprobe": nprobe, "rerank": rerank, "recall": recall_at_k(I, ds.gt, k), "qps": timing.qps}
            row |= {"meets": row["recall"] >= recall, "mlpq": _mlpq_lines(row, ds.d, k, step)}
            rows.append(row | {"faiss": _faiss_lines(row, index, k, step)})
        if any(row["meets"] for row in rows):
            break
    return rows


def _ladder(found: Callable[[int], float], recall: float, start: int, n_inner: int) -> list[int]:
    """Return the first nprobe to meet the recall with some queries, or to add little to it, between its neighbours."""
    ladder = sorted({min(n_inner, round(2 ** (i / 2))) for i in range(2 * n_inner.bit_length() + 1)})
    i = next((i for i, nprobe in enumerate(ladder) if nprobe >= start), len(ladder) - 1)
    recalls = [found(ladder[i])]
    if recalls[0] >= recall:
        while i and found(ladder[i - 1]) >= recall:
            i -= 1
    while recalls[-1] < recall and i + 1 < len(ladder):
        i += 1
        recalls.append(found(ladder[i]))
        if len(recalls) > 2 and recalls[-1] - recalls[-3] < GAIN:
            return ladder[i - 1 : i + 1]
    return ladder[max(0, i - 1) : i + 2]


def _mlpq_lines(row: Row, d: int, k: int, step: int) -> str:
    names = ("metric", "pca_dim", "m", "nbits", "codebooks", "codebook_dtype", "keep_originals")
    named = ", ".join(f"{name}={row[name]!r}" for name in names)
    return "\n".join(
        [
            "import mlpq",
            "",
            f"index = mlpq.MultiLevelPQ({d}, n_inner={row['n_inner']}, n_outer={row['n_outer']}, {named})",
            f"index.train({_rows(step)}).add(ds.xb)",
            f"D, I = index.search(ds.xq, k={k}, nprobe={row['nprobe']}, rerank={row['rerank']})",
        ]
    )


def _faiss_lines(row: Row, index: MultiLevelPQ, k: int, step: int) -> str:
    refine = ",RFlat" if index.lists.originals.dtype.itemsize == 4 else ",Refine(SQ8_direct)"
    metric = ", faiss.METRIC_INNER_PRODUCT" if row["metric"] == "ip" else ""
    factory = f"PCAR{row['pca_dim']}," if row["pca_dim"] else ""
    if metric and factory:  # Faiss's PCA moves the origin, from which inner products are taken
        factory = f"OPQ{row['m']}_{row['pca_dim']},"
    factory += f"IVF{row['n_inner']},PQ{row['m']}x{row['nbits']}{refine if row['rerank'] else ''}"
    lines = ["import faiss", "", f'index = faiss.index_factory({index.d}, "{factory}"{metric})']
    lines += [f"index.train({_rows(step)})", "index.add(ds.xb)"]
    lines += [f"faiss.try_extract_index_ivf(index).nprobe = {row['nprobe']}"]
    lines += [f"index.k_factor = {row['rerank']}"] if row["rerank"] else []
    return "\n".join([*lines, f"D, I = index.search(ds.xq, {k})"])


def _rows(step: int) -> str:
    return "ds.xb" if step == 1 else f"ds.xb[::{step}]"
