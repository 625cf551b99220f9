"""What training learns: how vectors are turned, into which cell each falls, and how its residual is written down."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from mlpq import _check
from mlpq._check import METRICS, Array, Codes, FloatMatrix, IdMatrix, Metric, Rows
from mlpq.clustering import TwoLevelKMeans, sample
from mlpq.codecs import Codec
from mlpq.codecs.adapter import ScalarQuantizer
from mlpq.codecs.codebooks import DTYPES, OWNERS, CodebookDtype, Codebooks, Owner
from mlpq.codecs.directions import EDEN, RaBitQ, TurboQuant
from mlpq.codecs.pq import ProductQuantizer
from mlpq.codecs.rotation import KINDS, Kind, Rotation
from mlpq.codecs.shared import Shared
from mlpq.codecs.signs import LSH
from mlpq.codecs.sums import AdditiveQuantizer, ResidualQuantizer
from mlpq.exchange.in_place import InPlace, quicker
from mlpq.search.bounds import reach
from mlpq.search.distance import distances_to_all, distances_to_pairs
from mlpq.search.lists import Ids
from mlpq.search.scan import Scanner

RESIDUALS = 1 << 16  # of a sample, on which a codec is trained
OF_PQ = ("m", "nbits", "codebooks", "codebook_dtype")
CODECS = {
    codec.__name__: codec
    for codec in (
        AdditiveQuantizer, EDEN, LSH, ProductQuantizer, RaBitQ, ResidualQuantizer, ScalarQuantizer, TurboQuant,
    )
}  # fmt: skip


def codec_of(settings: dict[str, Any]) -> Codec:
    """Return the untrained codec that has these settings, as a file has them."""
    kind, arguments = settings["kind"], {name: value for name, value in settings.items() if name != "kind"}
    codec: Codec = CODECS[_check.one_of(kind, "codec", list(CODECS))](**arguments)
    return codec


def cells_of_one(
    clusters: TwoLevelKMeans, z: FloatMatrix, nprobe: int, n_outer_probe: int | None
) -> tuple[FloatMatrix, IdMatrix] | None:
    """Return distances to the nprobe nearest cells of one query z (1, d), and which; None where rounding hides them.

    The quick form of `TwoLevelKMeans.probe`, for queries that come one by one: which cells they are is certain, their order
    is not. Outer clusters pay from thousands of cells on: the others' centroids are not read.
    """
    centroids = clusters.inner_centroids
    if n_outer_probe is None:
        cells, D = np.arange(len(centroids)), distances_to_all(z, centroids)[0]
    else:
        chosen = certain(distances_to_all(z, clusters.outer_centroids)[0], n_outer_probe, clusters.d)
        if chosen is None:
            return None
        near = np.zeros(clusters.n_outer, bool)
        near[chosen] = True
        cells = near[clusters.inner_to_outer].nonzero()[0]
        D = distances_to_pairs(z, centroids, np.zeros(len(cells), np.int64), cells)
    chosen = certain(D, nprobe, clusters.d) if nprobe <= len(cells) else None
    return None if chosen is None else (D[None, chosen], cells[None, chosen])


def certain(D: FloatMatrix, k: int, d: int) -> Ids | None:
    """Return places of the k smallest of D (n,), distances summed in float32 over d components; None where others may be."""
    if k >= len(D):
        return D.argsort()
    order = np.argpartition(D, [k - 1, k])[: k + 1]
    return None if D[order[k]] <= reach(D[order[k - 1]], d) else order[D[order[:k]].argsort()]


class Model:
    """Everything of an index but the vectors: see `MultiLevelPQ`, which says what the arguments are."""

    def __init__(
        self,
        d: int,
        n_inner: int,
        n_outer: int,
        *,
        m: int | None,
        nbits: int | None,
        codebooks: Owner | None,
        codebook_dtype: CodebookDtype | None,
        niter: int,
        seed: int,
        pca_dim: int | None,
        metric: Metric,
        rotation: Kind | None,
        codec: Codec | None,
    ) -> None:
        self.d = _check.integer(d, "d", 1)
        self.pca_dim = None if pca_dim is None else _check.integer(pca_dim, "pca_dim", 1, self.d)
        self.metric = _check.one_of(metric, "metric", METRICS)
        self.rotation: Kind | None = "pca" if pca_dim else None
        if rotation is not None:
            self.rotation = _check.one_of(rotation, "rotation", KINDS)
        self.clusters = TwoLevelKMeans(self.pca_dim or d, n_inner, n_outer, niter=niter, seed=seed)
        self.niter, self.seed = self.clusters.inner.niter, self.clusters.inner.seed
        if codec is None:
            pq = ProductQuantizer(self.clusters.d, 8 if m is None else m, 8 if nbits is None else nbits, seed=seed)
            self.m, self.nbits, self.ksub, self.code_size = pq.m, pq.nbits, pq.ksub, pq.code_size
            owner, dtype = "global" if codebooks is None else codebooks, codebook_dtype
            self.codebooks: Owner = _check.one_of(owner, "codebooks", OWNERS)
            self.codebook_dtype = _check.one_of("float32" if dtype is None else dtype, "codebook_dtype", DTYPES)
        else:
            given = {"m": m, "nbits": nbits, "codebooks": codebooks, "codebook_dtype": codebook_dtype}
            self._use(codec, [name for name, value in given.items() if value is not None])
        self.codec = codec
        self.reduction: Rotation | None = None
        self._coder: Codebooks | Shared | None = None
        self._in_place: InPlace | None = None

    def _use(self, codec: Codec, given: list[str]) -> None:
        if given:
            raise ValueError(f"{', '.join(given)} may not be given with a codec, which says what is written down")
        if not isinstance(codec, Codec):
            raise TypeError(f"codec must be a codec, such as mlpq.ScalarQuantizer(d); got {type(codec).__name__}")
        if codec.d != self.clusters.d:
            raise ValueError(f"codec must have d={self.clusters.d}, that of the vectors it encodes; got d={codec.d}")
        if codec.is_trained:
            raise ValueError("codec must be untrained: the index trains it on residuals")
        self.code_size = codec.code_size

    @property
    def is_trained(self) -> bool:
        return self._coder is not None

    @property
    def quantizers(self) -> Codebooks:
        """The `Codebooks`, a sequence with one trained `ProductQuantizer` per owner; empty before `train`."""
        if isinstance(self._coder, Codebooks):
            return self._coder
        if self.codec is not None:
            raise AttributeError("an index with a codec of its own has no codebooks: see its attribute codec")
        return Codebooks.none(self.clusters.d, self.m, self.nbits)

    @property
    def codebook_of_cell(self) -> Ids:
        """(n_inner,) int64, which of the `quantizers` encodes each inner cell; empty before `train`."""
        return self.quantizers.of_cell

    def _learn(self, x: Rows, progress: bool) -> None:
        """Learn axes, cells and codes from x (n, d); after an error or Ctrl-C nothing has changed."""
        if self.codec is None:
            _check.enough(len(x), self.nbits)
        if (reduction := self._rotation()) is not None:
            x = Rows(reduction.train(x)(x))
        old = self.clusters
        clusters = TwoLevelKMeans(old.d, old.n_inner, old.n_outer, niter=self.niter, seed=self.seed)
        with tqdm(total=2 * self.niter, desc="cells", disable=not progress) as bar:
            clusters._fit(x, bar.update)
            cells = clusters.assign(x)
            bar.set_description("codes")
            coder = self._coder_of(x, cells, clusters, bar)
        self.clusters, self.reduction, self._coder = clusters, reduction, coder
        self.codec = coder.codec if isinstance(coder, Shared) else None

    def _rotation(self) -> Rotation | None:
        """Return the rotation that is asked for, untrained."""
        if self.rotation is None:
            return None
        parts = {"m": self.m, "nbits": self.nbits} if self.codec is None else {"m": 1}
        centred = self.metric != "ip"  # inner products are taken from the origin
        return Rotation(self.d, self.pca_dim, kind=self.rotation, **parts, seed=self.seed, centred=centred)

    def _coder_of(self, x: Rows, cells: Ids, clusters: TwoLevelKMeans, bar: tqdm[Any]) -> Codebooks | Shared:
        """Return what encodes residuals, trained on those of x (n, d) in some cells (n,)."""
        if self.codec is not None:
            some = sample(len(x), RESIDUALS, self.seed)
            return Shared(deepcopy(self.codec).train(x[some] - clusters.inner_centroids[cells[some]]))

        def step(owners: int) -> None:
            bar.total = 2 * self.niter + owners
            bar.update()

        pq = ProductQuantizer(clusters.d, self.m, self.nbits, seed=self.seed)
        return Codebooks.train(pq, x, cells, clusters, self.codebooks, self.codebook_dtype, step)

    @property
    def _coded(self) -> Codebooks | Shared:
        _check.trained(self._coder is not None, type(self).__name__, "add or search")
        return self._coder  # type: ignore[return-value]

    def _turned(self, x: FloatMatrix) -> FloatMatrix:
        """Return x (n, d) in the coordinates of cells and codes, (n, pca_dim)."""
        return self.reduction(x) if self.reduction else x

    def _encode(self, x: FloatMatrix) -> tuple[Ids, Codes]:
        """Return the cells (n,) and the codes (n, code_size) of x (n, d)."""
        z = self._turned(x)
        cells = self.clusters.assign(Rows(z))
        return cells, self._coded.encode(cells, z, self.clusters.inner_centroids)

    def _decode(self, cells: Ids, codes: Codes) -> FloatMatrix:
        """Return what codes (n, code_size) in some cells (n,) stand for, (n, d)."""
        z = self._coded.decode(cells, codes) + self.clusters.inner_centroids[cells]
        return self.reduction.inverse(z) if self.reduction else z

    def _probe(self, z: FloatMatrix, nprobe: int, n_outer_probe: int | None) -> tuple[FloatMatrix, IdMatrix]:
        """Return the cells (nq, nprobe) that queries z (nq, pca_dim) look into, the best first, -1 for none.

        Distances to their centroids come before them.
        """
        ip = self.metric == "ip"
        if len(z) == 1 and not ip and (found := cells_of_one(self.clusters, z, nprobe, n_outer_probe)):
            return found
        return self.clusters._probe(Rows(z), nprobe, n_outer_probe, ip=ip)

    def _scanned(
        self, scanner: Scanner, near: FloatMatrix, probes: IdMatrix, k: int, shortlist: int
    ) -> tuple[FloatMatrix, IdMatrix]:
        """Return what the scanner finds, by distance tables where these are quicker; see `InPlace`."""
        books = [] if self.codec is not None else self.quantizers
        if len(books) != 1 or not quicker(books[0], probes, scanner.lists, shortlist):
            return scanner.search(probes, k, shortlist)
        if (tables := self._in_place) is None or tables.lists is not scanner.lists:
            tables = self._in_place = InPlace(scanner.lists, scanner.centroids, books[0], scanner.ip)
        return tables.search(scanner, near, probes, k, shortlist)

    def _settings(self) -> dict[str, Any]:
        """Return the arguments that make an index like this, as plain words and numbers."""
        names = ("d", "niter", "seed", "pca_dim", "metric", "rotation")
        settings = {"n_inner": self.clusters.n_inner, "n_outer": self.clusters.n_outer}
        settings |= {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        if self.codec is None:
            return settings | {name: getattr(self, name) for name in OF_PQ}
        return settings | {"codec": {"kind": type(self.codec).__name__, **self.codec.settings()}}

    def _unusual(self) -> dict[str, Any]:
        """Return the settings that say something: those that may well be otherwise, and those that are."""
        usual = {"niter": 20, "seed": 0, "metric": "l2", "codebook_dtype": "float32", "keep_originals": False}
        usual |= {"rotation": "pca"} if self.pca_dim else {}
        settings = {"d": self.d} | self._settings() | ({"codec": self.codec} if self.codec else {})
        return {name: value for name, value in settings.items() if usual.get(name) != value}

    def _learned(self) -> dict[str, Array]:
        """Return what was learned, by component."""
        arrays = self._coder.arrays() if self._coder else {}
        arrays |= {
            "inner_centroids": self.clusters.inner_centroids,
            "outer_centroids": self.clusters.outer_centroids,
            "inner_to_outer": self.clusters.inner_to_outer,
        }
        return arrays | ({"mean": self.reduction.mean, "axes": self.reduction.axes} if self.reduction else {})

    def _restore(self, arrays: dict[str, Array]) -> None:
        """Take over what `_learned` returned."""
        clusters = self.clusters
        clusters.inner.centroids, clusters.outer.centroids = arrays["inner_centroids"], arrays["outer_centroids"]
        clusters.inner_to_outer = arrays["inner_to_outer"]
        if self.codec is None:
            self._coder = Codebooks(arrays["codebooks"], arrays["codebook_ranges"], arrays["codebook_of_cell"])
        else:
            self._coder = Shared.restored(self.codec, arrays)
        if self.rotation is not None:
            self.reduction = Rotation.from_arrays(arrays["mean"], arrays["axes"])
