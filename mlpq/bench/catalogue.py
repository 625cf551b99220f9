"""What is compared: which engines, built how, searched with which settings. Data only; argue with it here.

The grid is made for Fashion-MNIST: n = 60,000, d = 784, 100 cells; that of embeddings is in `texts`, and what both have in
`rivals`. On other sets the numbers of cells follow `levels`; an engine that does not fit the vectors is left out, and
the record says so.
"""

from __future__ import annotations

from mlpq.bench import texts
from mlpq.bench.entries import Entry, each, of_faiss, of_ours, paired
from mlpq.bench.rivals import IMAGES, TEXTS, rivals

LOOP_QUERIES, FULL_SCAN_QUERIES = 200, 1000  # the slow ones answer the first so many; speeds are per query


def catalogue(n_inner: int, images: bool = True) -> list[Entry]:
    """Return all engines for n_inner cells, ours spread evenly among the peers, so that both meet the same conditions."""
    if images:
        own = [*_same_parameters(n_inner), *_codes_only(n_inner), *_with_originals(n_inner)]
        peers = [*_loop(n_inner), *_faiss_codes(n_inner), *_faiss_originals(n_inner), *_graphs(), *_scann(n_inner)]
    else:
        own, peers = texts.own(n_inner), texts.peers(n_inner)
    peers += rivals(n_inner, IMAGES if images else TEXTS)
    placed = [((i + 0.5) / len(group), entry) for group in (own, peers) for i, entry in enumerate(group)]
    return [entry for _, entry in sorted(placed, key=lambda pair: pair[0])]


# ---- ours ------------------------------------------------------------------------------------------------------


def _same_parameters(n_inner: int) -> list[Entry]:
    """The parameters that Faiss's IVF-PQ is built with too."""
    settings = each("nprobe", (1, 3, 8))
    return [of_ours("mlpq, codes only", settings, n_inner, m=m, nbits=8, codebooks="global") for m in (8, 16, 56)]


# (pca_dim, m, owner) of 4-bit codes that fit 43, 81 and 125 bytes a vector in all, at n = 60,000. Per-cell codebooks
# cost 16 vectors a cell (at pca_dim 128 and 100 cells 14 bytes a vector), so that they come with shorter codes.
CODES = (
    (96, 48, "global"), (80, 40, "inner"),
    (192, 96, "global"), (160, 80, "inner"),
    (256, 128, "global"), (320, 160, "global"), (256, 128, "inner"),
)  # fmt: skip
EIGHT = ((96, 24), (96, 32), (192, 48), (192, 64), (384, 96))  # (pca_dim, m) of 8-bit codes, codebooks in bytes


def _codes_only(n_inner: int) -> list[Entry]:
    settings = each("nprobe", (1, 2, 3, 5, 8))
    four = [
        of_ours("mlpq, codes only", settings, n_inner, m=m, nbits=4, codebooks=owner, pca_dim=pca)
        for pca, m, owner in CODES
    ]
    eight = [
        of_ours(
            "mlpq, codes only", settings, n_inner,
            m=m, nbits=8, codebooks="global", codebook_dtype="uint8", pca_dim=pca,
        )
        for pca, m in EIGHT
    ]  # fmt: skip
    return four + eight


# (nprobe, rerank), densest where recall@10 is about 0.90, 0.95 and 0.99.
MIDDLE = ((2, 3), (3, 2), (3, 3), (3, 4), (4, 3), (5, 3), (6, 4), (8, 5), (12, 8))
FINE = ((4, 3), (5, 3), (6, 3), (8, 3), (8, 4), (12, 4), (16, 6))  # of cells twice as many


def _with_originals(n_inner: int) -> list[Entry]:
    shapes = ((128, 64, "inner"), (192, 96, "inner"), (256, 128, "inner"), (128, 64, "global"), (None, 196, "inner"))
    grid = [(n_inner, MIDDLE, shape) for shape in shapes] + [(2 * n_inner, FINE, shape) for shape in shapes[:2]]
    return [
        of_ours(
            "mlpq, with originals", paired("nprobe", "rerank", pairs), cells,
            m=m, nbits=4, codebooks=owner, pca_dim=pca, keep_originals=True,
        )
        for cells, pairs, (pca, m, owner) in grid
    ]  # fmt: skip


# ---- Faiss -----------------------------------------------------------------------------------------------------


def _faiss_codes(n_inner: int) -> list[Entry]:
    """Without originals. "np": no polysemous training, which would only lengthen the build."""
    ivf = f"IVF{n_inner}"
    probes = {
        8: (1, 2, 3, 5, 8, 16),
        16: (1, 2, 3, 5, 8, 16),
        49: (2, 3, 5, 8, 16),
        56: (1, 3, 8, 16),
        98: (2, 3, 5, 8, 16),
    }
    pq = {f"{ivf},PQ{m}np": probes[m] for m in probes}
    turned = ["OPQ24_96,{},PQ24np", "OPQ48_192,{},PQ48np", "OPQ80_320,{},PQ80np"]  # the longest that fit the bytes
    turned += ["PCA96,{},PQ24np", "PCAR256,{},PQ64np"]
    fast = (
        f"{ivf},PQ98x4fs",
        f"{ivf},PQ196x4fs",
        f"PCAR128,{ivf},PQ64x4fs",
        f"PCAR256,{ivf},PQ128x4fs",
    )
    scalar = {f"{ivf},SQ8": (1, 3, 8), f"{ivf},RaBitQ": (3, 8), f"{ivf},RaBitQfs": (2, 3, 8)}
    return [
        *(of_faiss("Faiss IVF-PQ", factory, each("nprobe", n), originals=False) for factory, n in pq.items()),
        *(of_faiss("Faiss OPQ, PCA", f.format(ivf), each("nprobe", (3, 8, 16)), originals=False) for f in turned),
        *(of_faiss("Faiss fast-scan", factory, each("nprobe", (2, 3, 8)), originals=False) for factory in fast),
        *(of_faiss("Faiss scalar, RaBitQ", factory, each("nprobe", n), originals=False) for factory, n in scalar.items()),
    ]  # fmt: skip


# (nprobe, k_factor_rf), densest where recall@10 is about 0.90, 0.95 and 0.99.
REFINE = ((2, 2), (2, 4), (3, 2), (3, 4), (4, 2), (4, 4), (6, 4), (8, 4), (12, 8))
REFINE_FINE = ((3, 2), (4, 2), (6, 2), (8, 4), (12, 4), (16, 4), (16, 8))  # of cells 2.5 times as many
# Refined by 8 bits a number. SQ8 rounds every number, and finds 0.98 at most here with any setting; SQ8_direct keeps
# bytes as they are, as ours does, and goes on to 1.
BYTES = (*REFINE, (3, 3), (4, 3), (6, 3), (6, 6), (6, 16), (8, 6), (8, 8), (8, 16))
BYTES_FINE = (*REFINE_FINE, (6, 3), (8, 3), (8, 6), (12, 3), (12, 6), (16, 6))


def _faiss_originals(n_inner: int) -> list[Entry]:
    ivf, few, many = f"IVF{n_inner}", f"IVF{max(1, n_inner // 2)}", f"IVF{round(2.56 * n_inner)}"
    refined = {
        f"{ivf},PQ196x4fs,RFlat": REFINE, f"{few},PQ196x4fs,RFlat": REFINE, f"{many},PQ392x4fs,RFlat": REFINE_FINE,
        f"{many},PQ196x4fs,RFlat": REFINE_FINE, f"PCAR128,{ivf},PQ64x4fs,RFlat": REFINE,
        f"PCAR256,{ivf},PQ128x4fs,RFlat": REFINE, f"{ivf},PQ196x4fs,Refine(SQ8)": REFINE,
        f"PCAR256,{ivf},PQ128x4fs,Refine(SQ8)": REFINE, f"{ivf},PQ196x4fs,Refine(SQ8_direct)": BYTES,
        f"{many},PQ196x4fs,Refine(SQ8_direct)": BYTES_FINE, f"PCAR128,{ivf},PQ64x4fs,Refine(SQ8_direct)": BYTES,
        f"PCAR256,{ivf},PQ128x4fs,Refine(SQ8_direct)": BYTES, f"{ivf},RaBitQfs,RFlat": ((3, 4), (4, 8), (8, 8)),
    }  # fmt: skip
    return [
        of_faiss("Faiss exact", "Flat", ({},), originals=True, queries=FULL_SCAN_QUERIES),
        of_faiss("Faiss IVF-Flat", f"{ivf},Flat", each("nprobe", (1, 2, 4, 8)), originals=True),
        *(
            of_faiss("Faiss fast-scan, refined", factory, paired("nprobe", "k_factor_rf", pairs), originals=True)
            for factory, pairs in refined.items()
        ),
    ]


# ---- other libraries ---------------------------------------------------------------------------------------------


def _loop(n_inner: int) -> list[Entry]:
    made = of_ours("plain loop", each("nprobe", (3,)), n_inner, m=8, nbits=8, codebooks="inner")
    return [
        Entry("plain loop m=8, 8-bit, inner", made.family, "loop", made.arguments, made.settings, False, LOOP_QUERIES)
    ]


def _graphs() -> list[Entry]:
    efs = {16: (16, 32, 64, 128), 32: (16, 24, 32, 48, 64, 128)}  # by links per node
    hnswlib = {"M": 0, "ef_construction": 200}
    usearch = (("f16", 32), ("i8", 32))
    return [
        of_faiss("Faiss HNSW", "HNSW32,Flat", each("efSearch", efs[32]), originals=True),
        *(
            Entry(f"hnswlib M={m}", "hnswlib", "hnswlib", hnswlib | {"M": m}, each("ef", efs[m]), True)
            for m in efs
        ),
        *(
            Entry(
                f"usearch {dtype}, connectivity {m}", "usearch", "usearch", {"dtype": dtype, "connectivity": m},
                each("expansion", efs[m]), True,
            )
            for dtype, m in usearch
        ),
    ]  # fmt: skip


def _scann(n_inner: int) -> list[Entry]:
    some = ((2, 20), (2, 40), (3, 20), (3, 40), (4, 20), (4, 40), (6, 40), (8, 40), (12, 80))
    more = ((4, 20), (6, 20), (8, 20), (10, 40), (16, 40), (24, 40), (32, 80))
    return [
        Entry(f"ScaNN {leaves} leaves", "ScaNN", "scann", {"leaves": leaves}, paired("leaves", "reorder", pairs), True)
        for leaves, pairs in ((n_inner, some), (round(2.5 * n_inner), more))
    ]
