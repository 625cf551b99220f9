"""Indexes of Faiss's that find what ours find: what settings and arrays become there, and the way back.

From the outside, such an index has up to six layers. Each but the last is there only where it is needed:

1. `IndexIDMap2`: the ids, where originals are kept; elsewhere they stand in the lists;
2. `IndexPreTransform` with a `NormalizationTransform`: "cosine";
3. `IndexRefineFlat`: the originals, which find a vector by its place;
4. `IndexPreTransform` with a `CenteringTransform` and a `LinearTransform`: the rotation. The mean is taken off first, as
   ours does it: a bias would lose digits where data lie far from the origin;
5. `IndexIVFPQ`: codebook, codes and lists;
6. `IndexFlat`: the centroids of the cells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import faiss
import numpy as np
from faiss.contrib.inspect_tools import get_invlist

from mlpq import _check
from mlpq._check import Array, FloatMatrix, IdMatrix, Rows
from mlpq.clustering import KMeans
from mlpq.codecs.codebooks import Codebooks
from mlpq.codecs.pq import ProductQuantizer
from mlpq.search.lists import Ids, id_dtype, in_bytes

METRICS = {faiss.METRIC_L2: "l2", faiss.METRIC_INNER_PRODUCT: "ip"}
ROTATIONS = {"pca": faiss.PCAMatrix, "random": faiss.RandomRotationMatrix, "opq": faiss.LinearTransform}
KINDS = {"PCAMatrix": "pca", "RandomRotationMatrix": "random", "OPQMatrix": "opq", "LinearTransform": "opq"}
ORTHONORMAL = 1e-4  # what products of two axes may differ by from those of orthonormal ones, in float32
LACKING = {
    "IndexIVFFlat": "cells of vectors that are not encoded; KMeansIndex has them, and is filled anew",
    "IndexIVFPQFastScan": "codes laid out in blocks for fast scan",
    "IndexIVFPQR": "a second product quantizer, for what the first one leaves",
    "IndexPQ": "codes without cells",
    "IndexFlat": "vectors without cells; ExactIndex has them, and is filled anew",
    "IndexFlatL2": "vectors without cells; ExactIndex has them, and is filled anew",
}


# ---- to Faiss --------------------------------------------------------------------------------------------------


def to_faiss(settings: Mapping[str, Any], arrays: Mapping[str, Array]) -> faiss.Index:
    """Return the Faiss index that has these settings and holds these arrays, those of a trained `MultiLevelPQ`.

    Raises:
        ValueError: more than one codebook, or a codec.
    """
    cosine, n = settings["metric"] == "cosine", len(arrays["ids"])
    lists = _empty_lists(settings, arrays)
    door = [faiss.NormalizationTransform(settings["d"])] if cosine else []
    turns = _transforms(settings, arrays)
    if not settings["keep_originals"]:
        layers = [lists, _behind(lists, door + turns)]
        _fill(lists, arrays, arrays["ids"].astype(np.int64))
    else:
        layers = [lists, _behind(lists, turns)]
        refined = faiss.IndexRefineFlat(layers[-1])
        numbered = faiss.IndexIDMap2(_behind(refined, door))
        layers += [refined, numbered.index, numbered]
        _fill(lists, arrays, np.arange(n))
        for part in Rows(arrays["originals"]).parts():
            refined.refine_index.add(Rows(arrays["originals"])[part])
        faiss.copy_array_to_vector(arrays["ids"].astype(np.int64), numbered.id_map)
        numbered.construct_rev_map()
    for layer in layers:
        layer.ntotal = n
    return layers[-1]


def _empty_lists(settings: Mapping[str, Any], arrays: Mapping[str, Array]) -> faiss.IndexIVFPQ:
    """Return cells and codebook as a trained index without vectors."""
    if "codec" in settings:
        kind = settings["codec"]["kind"]
        raise ValueError(f"to_faiss converts product codes alone; this index has codes of the codec {kind}")
    books = Codebooks(arrays["codebooks"], arrays["codebook_ranges"], arrays["codebook_of_cell"])
    if len(books) > 1:
        raise ValueError(
            f"Faiss has one codebook for all cells, and this index {len(books)}, by codebooks={settings['codebooks']!r}; "
            "train one with codebooks='global'"
        )
    lists = trained(arrays["inner_centroids"], books[0], settings["metric"] == "ip")
    lists.precompute_table()
    return lists


def trained(centroids: FloatMatrix, pq: ProductQuantizer, ip: bool) -> faiss.IndexIVFPQ:
    """Return a trained index without vectors that has these centroids (n_cells, d) and this codebook."""
    metric = faiss.METRIC_INNER_PRODUCT if ip else faiss.METRIC_L2
    quantizer = faiss.IndexFlat(pq.d, metric)
    quantizer.add(np.ascontiguousarray(centroids))
    index = faiss.IndexIVFPQ(quantizer, pq.d, len(centroids), pq.m, pq.nbits, metric)
    faiss.copy_array_to_vector(pq.codebooks.ravel(), index.pq.centroids)
    index.is_trained = True
    return index


def _transforms(settings: Mapping[str, Any], arrays: Mapping[str, Array]) -> list[faiss.VectorTransform]:
    """Return what makes of a vector what is put into cells."""
    if "axes" not in arrays:
        return []
    (d, dim), mean = arrays["axes"].shape, arrays["mean"]
    linear = ROTATIONS[settings["rotation"]](d, dim)
    faiss.copy_array_to_vector(arrays["axes"].T.ravel(), linear.A)
    faiss.copy_array_to_vector(np.zeros(dim if linear.have_bias else 0, np.float32), linear.b)
    linear.is_trained = linear.is_orthonormal = True
    if not mean.any():
        return [linear]
    centring = faiss.CenteringTransform(d)
    faiss.copy_array_to_vector(mean, centring.mean)
    centring.is_trained = True
    return [centring, linear]


def _behind(index: faiss.Index, transforms: Sequence[faiss.VectorTransform]) -> faiss.Index:
    """Return an index that transforms vectors first; without transforms, the index."""
    if not transforms:
        return index
    whole = faiss.IndexPreTransform(index)
    for transform in reversed(transforms):
        whole.prepend_transform(transform)
    return whole


def _fill(lists: faiss.IndexIVFPQ, arrays: Mapping[str, Array], ids: Ids) -> None:
    """Put the codes into their lists, under these ids (n,)."""
    codes, offsets = np.ascontiguousarray(arrays["codes"]), arrays["list_offsets"].tolist()
    for c in range(len(offsets) - 1):
        cell = slice(offsets[c], offsets[c + 1])
        if n := cell.stop - cell.start:
            lists.invlists.add_entries(c, n, faiss.swig_ptr(ids[cell]), faiss.swig_ptr(codes[cell]))


# ---- from Faiss ------------------------------------------------------------------------------------------------


def from_faiss(index: faiss.Index) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return settings and arrays of the `MultiLevelPQ` that finds what a Faiss index finds.

    What Faiss has not is chosen: outer clusters, the rounded root of n_inner. The class of the matrix says how axes were
    turned; a `LinearTransform` is taken for OPQ, since Faiss writes that so.

    Raises:
        TypeError: not an index of Faiss's.
        ValueError: something that has no counterpart.
        RuntimeError: not trained.
    """
    if not isinstance(index, faiss.Index):
        raise TypeError(f"index must be a Faiss index; got {type(index).__name__}")
    _check.trained(index.is_trained, "index", "from_faiss")
    turns: list[faiss.VectorTransform] = []
    layer, numbers, originals = faiss.downcast_index(index), None, None
    if isinstance(layer, faiss.IndexIDMap):
        numbers, layer = faiss.vector_to_array(layer.id_map), faiss.downcast_index(layer.index)
    layer, door = _peeled(layer)
    if isinstance(layer, faiss.IndexRefine):
        originals, layer = _originals(layer), faiss.downcast_index(layer.base_index)
        layer, turns = _peeled(layer)
    metric = _metric(layer, door, turns, originals is not None)
    settings = {"d": index.d, "n_inner": layer.nlist, "n_outer": max(1, round(layer.nlist**0.5)), "metric": metric}
    settings |= {"m": layer.pq.M, "nbits": layer.pq.nbits, "codebooks": "global", "codebook_dtype": "float32"}
    rotation, arrays = _rotation(door + turns, metric)
    settings |= rotation | {"keep_originals": originals is not None}
    return settings, arrays | _cells(layer, settings) | _rows(layer, numbers, originals)


def _refuse(lacking: str) -> NoReturn:
    raise ValueError(f"index cannot become a MultiLevelPQ, which lacks {lacking}")


def _peeled(layer: faiss.Index) -> tuple[faiss.Index, list[faiss.VectorTransform]]:
    """Return what is behind the transforms of a layer, and these; none where it is of another kind."""
    if not isinstance(layer, faiss.IndexPreTransform):
        return layer, []
    chain = [faiss.downcast_VectorTransform(layer.chain.at(i)) for i in range(layer.chain.size())]
    return faiss.downcast_index(layer.index), chain


def _originals(layer: faiss.IndexRefine) -> FloatMatrix:
    refining = faiss.downcast_index(layer.refine_index)
    if not isinstance(refining, faiss.IndexFlat) or refining.metric_type != layer.metric_type:
        _refuse(f"a refining {type(refining).__name__}: originals are those of an IndexFlat of the same metric")
    return _vectors(refining, refining.ntotal)


def _vectors(flat: faiss.IndexFlat, n: int) -> FloatMatrix:
    """Return the first n vectors of a flat index, (n, d)."""
    found: FloatMatrix = flat.reconstruct_n(0, n) if n else np.empty((0, flat.d), np.float32)
    return found


def _metric(
    lists: faiss.Index, door: list[faiss.VectorTransform], turns: list[faiss.VectorTransform], refined: bool
) -> str:
    """Return the metric of lists behind some transforms; refuse what is in the way of it."""
    kind = type(lists).__name__
    if kind != "IndexIVFPQ":
        _refuse(LACKING.get(kind, f"what {kind} holds: codes must be those of an IndexIVFPQ"))
    quantizer, metric = faiss.downcast_index(lists.quantizer), METRICS.get(lists.metric_type)
    finder, flat = type(quantizer).__name__, (faiss.IndexFlat, faiss.IndexFlatL2, faiss.IndexFlatIP)
    norms = [isinstance(one, faiss.NormalizationTransform) for one in door + turns]
    first = [*door, *turns, None][0]
    for lacking, what in (
        (metric is None, f"Faiss's metric number {lists.metric_type}: it has L2 and inner products"),
        (type(quantizer) not in flat, f"cells that {finder} finds: it looks through all centroids, as IndexFlat does"),
        (quantizer.metric_type != lists.metric_type, "cells that are found by another metric than codes are"),
        (not lists.by_residual, "codes of whole vectors: its codes are those of residuals (by_residual=True)"),
        (lists.polysemous_ht, "a filter by polysemous codes: set polysemous_ht=0"),
        (lists.max_codes, "a bound on the codes that a query meets: set max_codes=0"),
        (refined and not all(norms[: len(door)]), "originals on turned axes: IndexRefineFlat must be before the turn"),
        (refined and any(norms[len(door) :]), "originals that are not normalized, where codes are"),
        (any(norms[1:]), "a normalization after another transform"),
        (getattr(first, "norm", 2) != 2, "a normalization other than to unit length"),
        (any(norms) and metric == "ip", "inner products of normalized vectors: its cosine compares them by L2"),
    ):
        if lacking:
            _refuse(what)
    return "cosine" if any(norms) else str(metric)


def _rotation(transforms: list[faiss.VectorTransform], metric: str) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return the rotation that transforms amount to: y = (x - mean) axes, one after the other."""
    mean, axes, rotation = np.zeros(0, np.float32), None, {}
    for transform in transforms:
        kind = type(transform).__name__
        if kind == "NormalizationTransform":
            continue
        shift, matrix = _affine(transform, kind)
        mean = shift if not len(mean) else mean + (shift if axes is None else axes @ shift)
        if matrix is not None:
            rotation, axes = {"rotation": KINDS[kind]}, matrix if axes is None else axes @ matrix
    if not len(mean):
        return {}, {}
    if axes is None:
        _refuse("a mean that is taken off without a rotation after it")
    if metric == "ip" and mean.any():
        _refuse("inner products from elsewhere than the origin: its rotations have no mean, or bias, then")
    if axes.shape[1] < len(axes):
        rotation["pca_dim"] = axes.shape[1]
    return rotation, {"mean": mean, "axes": np.ascontiguousarray(axes)}


def _affine(transform: faiss.VectorTransform, kind: str) -> tuple[Array, FloatMatrix | None]:
    """Return what a transform takes off vectors (d,), and what it multiplies them by then, (d, dim) or None."""
    if kind == "CenteringTransform":
        return faiss.vector_to_array(transform.mean), None
    if kind not in KINDS:
        _refuse(f"{kind}: vectors are turned by orthonormal axes, as OPQMatrix does, and PCAMatrix without whitening")
    axes = faiss.vector_to_array(transform.A).reshape(transform.d_out, transform.d_in).T
    if np.abs(axes.T @ axes - np.eye(transform.d_out)).max() > ORTHONORMAL:  # more axes than dimensions are not, either
        _refuse(f"a {kind} whose axes are not orthonormal, as those of whitening are not")
    if kind == "PCAMatrix" and transform.mean.size():
        return faiss.vector_to_array(transform.mean), axes  # all of it; the bias knows what of it lies along the axes
    bias = faiss.vector_to_array(transform.b) if transform.have_bias else np.zeros(transform.d_out, np.float32)
    return -(axes @ bias), axes


def _cells(lists: faiss.IndexIVFPQ, settings: Mapping[str, Any]) -> dict[str, Array]:
    """Return cells, with outer clusters, and the codebook."""
    pq, centroids = lists.pq, _vectors(faiss.downcast_index(lists.quantizer), lists.nlist)
    outer = KMeans(lists.d, settings["n_outer"])
    outer.train(_check.matrix(centroids, "the centroids of the index", lists.d))
    return {
        "inner_centroids": centroids,
        "outer_centroids": outer.centroids,
        "inner_to_outer": outer.assign(Rows(centroids)),
        "codebooks": faiss.vector_to_array(pq.centroids).reshape(1, pq.M, pq.ksub, pq.dsub),
        "codebook_ranges": np.empty((0, pq.M, 2), np.float32),
        "codebook_of_cell": np.zeros(lists.nlist, np.int64),
    }


def _rows(lists: faiss.IndexIVFPQ, numbers: IdMatrix | None, originals: FloatMatrix | None) -> dict[str, Array]:
    """Return what stands in the lists; `numbers` are the ids of places, if given, and `originals` have those places."""
    sizes = [lists.invlists.list_size(c) for c in range(lists.nlist)]
    offsets = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
    ids, codes = np.empty(offsets[-1], np.int64), np.empty((offsets[-1], lists.code_size), np.uint8)
    for c in range(lists.nlist):
        ids[offsets[c] : offsets[c + 1]], codes[offsets[c] : offsets[c + 1]] = get_invlist(lists.invlists, c)
    kept = np.empty((len(ids), 0), np.uint8) if originals is None else originals
    for places, name in ((numbers, "ids"), (originals, "originals")):
        if places is not None and not np.array_equal(np.sort(ids), np.arange(len(places))):
            raise ValueError(
                f"index must have one of its {len(places)} {name} for each of its {len(ids)} codes, by place"
            )
    if originals is not None:
        kept = originals[ids]
        kept = kept.astype(np.uint8) if in_bytes(Rows(kept)) else kept
    ids = ids if numbers is None else numbers[ids]
    values, counts = np.unique(ids, return_counts=True)
    if len(ids) and (values[0] < 0 or counts.max() > 1):
        _refuse(
            f"ids that are negative or occur twice, such as {values[0] if values[0] < 0 else values[counts > 1][0]}"
        )
    return {"ids": ids.astype(id_dtype(ids)), "codes": codes, "list_offsets": offsets, "originals": kept}
