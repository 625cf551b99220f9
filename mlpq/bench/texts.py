"""The same comparison for embeddings, whose neighbours lie in many cells: made for texts, n = 107,659, d = 384, 180 cells.

Data only, as in `catalogue`. Bytes a vector: 40, 64 and 128 for codes alone; with originals, those of float32.
"""

from __future__ import annotations

from mlpq.bench.entries import Entry, each, of_faiss, of_ours, paired

PROBES = (8, 16, 32, 64)
SAME_M, SAME_NPROBE = (8, 16, 48), (8, 32, 64)
CODES = ((96, 24), (96, 32), (192, 48), (208, 52), (288, 96), (336, 112))  # (pca_dim, m) of 8-bit codes
KEPT = ((128, 64), (192, 96), (256, 128))  # (pca_dim, m) of 4-bit codes beside originals
# (nprobe, rerank or k_factor_rf), densest where recall@10 is about 0.90, 0.95 and 0.98.
REFINE = ((8, 4), (16, 3), (16, 4), (24, 4), (32, 4), (48, 4), (64, 4), (64, 8), (96, 8))
SEARCHED = (8, 16, 24, 32, 48, 64, 96)  # leaves of ScaNN
WIDTHS = (16, 24, 32, 48, 64, 96, 128, 192)


def own(n_inner: int) -> list[Entry]:
    """Return the entries of ours."""
    same = [
        of_ours("mlpq, codes only", each("nprobe", SAME_NPROBE), n_inner, m=m, nbits=8, codebooks="global")
        for m in SAME_M
    ]
    codes = [
        of_ours(
            "mlpq, codes only", each("nprobe", PROBES), n_inner,
            m=m, nbits=8, codebooks="global", codebook_dtype="uint8", pca_dim=dim,
        )
        for dim, m in CODES
    ]  # fmt: skip
    kept = [
        of_ours(
            "mlpq, with originals", paired("nprobe", "rerank", [(times * nprobe, rerank) for nprobe, rerank in REFINE]),
            times * n_inner, m=m, nbits=4, codebooks="global", pca_dim=dim, keep_originals=True,
        )
        for times in (1, 2)
        for dim, m in KEPT
    ]  # fmt: skip
    return [*same, *codes, *kept]


def peers(n_inner: int) -> list[Entry]:
    """Return the entries of Faiss's older indexes, and of graphs and trees of other libraries."""
    ivf, probes, refined = f"IVF{n_inner}", each("nprobe", PROBES), paired("nprobe", "k_factor_rf", REFINE)
    coded = {
        "Faiss IVF-PQ": [f"{ivf},PQ{m}np" for m in (*SAME_M, 96)],
        "Faiss OPQ, PCA": [f"OPQ{m}_{4 * m},{ivf},PQ{m}np" for m in (24, 48, 96)] + [f"PCA192,{ivf},PQ48np"],
        "Faiss fast-scan": [f"{ivf},PQ96x4fs", f"{ivf},PQ192x4fs", f"PCAR192,{ivf},PQ96x4fs"],
        "Faiss scalar, RaBitQ": [f"{ivf},SQ8", f"{ivf},SQ4", f"{ivf},RaBitQ"],
    }
    scans = (f"{ivf},PQ192x4fs", f"PCAR128,{ivf},PQ64x4fs", f"PCAR192,{ivf},PQ96x4fs")
    fast = [f"{scan},{kept}" for kept in ("RFlat", "Refine(SQ8)") for scan in scans]
    return [
        *(of_faiss(name, one, each("nprobe", SAME_NPROBE if name == "Faiss IVF-PQ" else PROBES), originals=False)
          for name, some in coded.items() for one in some),
        of_faiss("Faiss exact", "Flat", ({},), originals=True, queries=1000),
        of_faiss("Faiss IVF-Flat", f"{ivf},Flat", probes, originals=True),
        *(of_faiss("Faiss fast-scan, refined", one, refined, originals=True) for one in fast),
        of_faiss("Faiss HNSW", "HNSW32,Flat", each("efSearch", WIDTHS), originals=True),
        *(
            Entry(f"hnswlib M={m}", "hnswlib", "hnswlib", {"M": m, "ef_construction": 200}, each("ef", WIDTHS), True)
            for m in (16, 32)
        ),
        *(
            Entry(
                f"usearch {dtype}, connectivity 32", "usearch", "usearch", {"dtype": dtype, "connectivity": 32},
                each("expansion", WIDTHS), True,
            )
            for dtype in ("f16", "i8")
        ),
        *(
            Entry(
                f"ScaNN {leaves} leaves", "ScaNN", "scann", {"leaves": leaves},
                paired("leaves", "reorder", [(n, r) for n in SEARCHED for r in (40, 80)]), True,
            )
            for leaves in (n_inner, round(2.5 * n_inner))
        ),
    ]  # fmt: skip
