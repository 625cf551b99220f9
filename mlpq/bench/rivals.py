"""Peers that are tuned alike for both sets: rotated RaBitQ, graphs over codes, Panorama, the multi-index, OPQ, Vamana.

Data only, as in `catalogue`. What refines keeps bytes where the vectors are bytes, and 8-bit copies elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mlpq.bench.entries import Entry, Setting, each, of_faiss, paired


class Ground(NamedTuple):
    """What the settings follow: the dimension, and how many of the cells neighbours lie in.

    Attributes:
        d: dimension.
        kept: how Faiss's factory writes down what refines.
        probes: cells searched; of a multi-index eight times as many.
        refined: (cells searched, times k that are refined).
        dtypes: in which Vamana keeps vectors.
    """

    d: int
    kept: str
    probes: tuple[int, ...]
    refined: tuple[tuple[int, int], ...]
    dtypes: tuple[str, ...]


IMAGES = Ground(
    784, "Refine(SQ8_direct)", (2, 3, 5, 8, 16),
    ((2, 4), (3, 4), (4, 4), (6, 4), (8, 4), (8, 8), (12, 8), (16, 16)), ("uint8", "float16"),
)  # fmt: skip
TEXTS = Ground(
    384, "Refine(SQ8)", (8, 16, 32, 64),
    ((8, 4), (16, 2), (16, 4), (32, 4), (48, 4), (64, 4), (64, 8), (96, 8)), ("float16", "float32"),
)  # fmt: skip
FINER = 8  # cells of a multi-index in the place of one
BEAMS = ((16, 2), (24, 2), (32, 4), (48, 4), (64, 4), (128, 8))  # (width of a graph's search, times k that are refined)


def rivals(n_inner: int, ground: Ground) -> list[Entry]:
    """Return them for n_inner cells."""
    coded = [*_rabitq(n_inner, ground), *_over_codes(ground), *_multi_index(ground), *_opq(n_inner, ground)]
    return [*coded, *_panorama(n_inner, ground), *_vamana(ground)]


def _refined(ground: Ground, times: int = 1) -> tuple[Setting, ...]:
    return paired("nprobe", "k_factor_rf", [(nprobe * times, factor) for nprobe, factor in ground.refined])


def _all(family: str, factories: Sequence[str], settings: Sequence[Setting], originals: bool) -> list[Entry]:
    return [of_faiss(family, factory, settings, originals=originals) for factory in factories]


def _rabitq(n_inner: int, ground: Ground) -> list[Entry]:
    """Rotated, as it is meant to be; "fs": scanned by registers; a number: bits for each component."""
    turned = f"RR{ground.d},IVF{n_inner}"
    kinds = ("RaBitQ", "RaBitQfs", "RaBitQfs2")
    codes = [f"{turned},{kind}" for kind in (*kinds[:2], "RaBitQ2", "RaBitQ4")]
    refined = [f"{turned},{kind},{ground.kept}" for kind in kinds]
    return [
        *_all("Faiss RaBitQ, rotated", codes, each("nprobe", ground.probes), False),
        *_all("Faiss RaBitQ, refined", refined, _refined(ground), True),
    ]


def _over_codes(ground: Ground) -> list[Entry]:
    factories = [f"RR{ground.d},HNSW32,RaBitQ{bits},{ground.kept}" for bits in ("", "4")]
    return _all("Faiss HNSW over RaBitQ", factories, paired("efSearch", "k_factor_rf", BEAMS), True)


def _multi_index(ground: Ground) -> list[Entry]:
    """Cells that are pairs of halves' cells: 256 and 1,024 of them."""
    short, fast = ground.d // 8, f"PQ{ground.d // 4}x4fs"
    codes, few = each("nprobe", [FINER * nprobe for nprobe in ground.probes]), f"IMI2x4,{fast},{ground.kept}"
    return [
        *_all("Faiss multi-index", [f"IMI2x5,PQ{short}np"], codes, False),
        *_all("Faiss multi-index, refined", [few], _refined(ground, FINER // 4), True),
        *_all("Faiss multi-index, refined", [f"IMI2x5,{fast},{ground.kept}"], _refined(ground, FINER), True),
    ]


def _opq(n_inner: int, ground: Ground) -> list[Entry]:
    factories = [f"OPQ{m}_{2 * m},IVF{n_inner},PQ{m}x4fs,{ground.kept}" for m in (64, 96)]
    return _all("Faiss OPQ, fast-scan, refined", factories, _refined(ground), True)


def _panorama(n_inner: int, ground: Ground) -> list[Entry]:
    """Exact distances, summed by principal components until a vector is out of the question."""
    return [
        *_all("Faiss Panorama", [f"PCA{ground.d},IVF{n_inner},FlatPanorama8"], each("nprobe", ground.probes), True),
        *_all("Faiss Panorama", [f"PCA{ground.d},HNSW32,FlatPanorama8"], each("efSearch", (16, 32, 64, 128)), True),
    ]


def _vamana(ground: Ground) -> list[Entry]:
    return [
        Entry(
            f"SVS Vamana {dtype}, degree {degree}", "SVS Vamana", "svs", {"dtype": dtype, "degree": degree},
            each("window", (12, 16, 24, 32, 48, 64, 96, 128)), True,
        )
        for dtype in ground.dtypes
        for degree in (32, 64)
    ]  # fmt: skip
