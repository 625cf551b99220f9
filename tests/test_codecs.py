"""Codecs: code for code those of Faiss, restored from their arrays, refused when wrong, unbiased where they say so."""

import copy
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import faiss
import numpy as np
import pytest

import mlpq
from mlpq.codecs import Codec, EstimatingCodec, adapter, directions
from mlpq.codecs.rotation import orthonormal

D = 20
RNG = np.random.default_rng(11)
X = (RNG.standard_normal((1200, D)) * np.linspace(0.3, 2, D) + 0.5).astype(np.float32)
Q = (RNG.standard_normal((30, D)) + 0.5).astype(np.float32)

MAKERS: dict[str, Callable[[], Any]] = {
    "ProductQuantizer": lambda: mlpq.ProductQuantizer(D, 4, 4),
    "ResidualQuantizer": lambda: mlpq.ResidualQuantizer(D, 3, 5),
    "AdditiveQuantizer": lambda: mlpq.AdditiveQuantizer(D, 4, 4),
    "ScalarQuantizer": lambda: mlpq.ScalarQuantizer(D, 6),
    "TurboQuant": lambda: mlpq.TurboQuant(D, 3),
    "EDEN": lambda: mlpq.EDEN(D, 3),
    "RaBitQ": lambda: mlpq.RaBitQ(D),
    "RaBitQ of 3 bits": lambda: mlpq.RaBitQ(D, 3),
    "LSH": lambda: mlpq.LSH(D, 43),
    "ITQ": lambda: mlpq.LSH(D, 12, learned=True),
}
SIZES = dict(zip(MAKERS, (2, 2, 2, 15, 12, 16, 11, 16, 6, 2), strict=True))
TRAINED = {kind: make().train(X) for kind, make in MAKERS.items()}
SEEDED = ["ResidualQuantizer", "AdditiveQuantizer", "LSH", "ITQ"]
WAYS: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda codec: pickle.loads(pickle.dumps(codec)),
    "restored": lambda codec: type(codec)(**codec.settings()).restore(copy.deepcopy(codec.arrays())),
}
kinds = pytest.mark.parametrize("kind", MAKERS)


def error(codec: Any, x: Any = X) -> float:
    return float(np.square(x - codec.decode(codec.encode(x)), dtype=np.float64).sum(axis=1).mean())


def estimates(codec: Any, q: Any, codes: Any) -> Any:
    """Squared distances of every query to every code as the protocol has them, in float64."""
    decoded = codec.decode(codes).astype(np.float64)
    norms = codec.norms(codes) if isinstance(codec, EstimatingCodec) else np.square(decoded).sum(axis=1)
    return np.square(q, dtype=np.float64).sum(axis=1)[:, None] - 2 * q @ decoded.T + norms


@kinds
def test_every_codec_keeps_the_protocol(kind: str) -> None:
    fresh, codec = MAKERS[kind](), TRAINED[kind]
    assert isinstance(codec, Codec)
    assert isinstance(codec, EstimatingCodec) == (kind[:4] in ("EDEN", "RaBi"))
    assert (fresh.is_trained, codec.is_trained, fresh.arrays()) == (False, True, {})
    codes = codec.encode(X)
    assert (codes.shape, codes.dtype, codec.d) == ((len(X), SIZES[kind]), np.uint8, D)
    assert codec.code_size == SIZES[kind]
    decoded = codec.decode(codes)
    assert (decoded.shape, decoded.dtype) == (X.shape, np.float32)
    assert error(codec) < 0.95 * float(np.square(X - X.mean(axis=0)).sum(axis=1).mean())
    assert codec.encode(X[:0]).shape == (0, SIZES[kind])
    assert codec.decode(codes[:0]).shape == (0, D)
    assert all(type(value) in (int, bool) for value in codec.settings().values())
    assert all(isinstance(array, np.ndarray) for array in codec.arrays().values())


@pytest.mark.parametrize("way", WAYS)
@kinds
def test_copies_give_the_same_codes_and_are_independent(kind: str, way: str) -> None:
    codec = TRAINED[kind]
    codes, decoded = codec.encode(X), codec.decode(codec.encode(X))
    other = WAYS[way](codec)
    assert repr(other) == repr(codec)
    assert np.array_equal(other.encode(X), codes)
    assert np.array_equal(other.decode(codes), decoded)
    if hasattr(codec, "norms"):
        assert np.array_equal(other.norms(codes), codec.norms(codes))
    other.train(X[::-1] * 2 - 1)
    assert not np.array_equal(other.decode(codes), decoded)
    assert np.array_equal(codec.decode(codes), decoded)
    assert np.array_equal(codec.encode(X), codes)


@kinds
def test_damaged_arrays_are_refused_and_change_nothing(kind: str) -> None:
    codec = copy.deepcopy(TRAINED[kind])
    arrays, codes = codec.arrays(), codec.encode(X)
    name, array = next(reversed(arrays.items()))
    for bad, message in [
        ({}, "arrays must be .*; got none"),
        (arrays | {"more": array}, "arrays must be .*; got .*more"),
        (arrays | {name: array[..., 1:]}, f"{name} must have shape .* and dtype float32; got"),
        (arrays | {name: array.astype(np.float64)}, f"{name} must have shape .* and dtype float32; got .*float64"),
        (arrays | {name: array * np.nan}, f"{name} must be finite"),
    ]:
        with pytest.raises(ValueError, match=message):
            codec.restore(bad)
    assert np.array_equal(codec.encode(X), codes)


@kinds
def test_bad_calls_are_refused_and_change_nothing(kind: str) -> None:
    fresh, codec = MAKERS[kind](), copy.deepcopy(TRAINED[kind])
    name, codes = type(fresh).__name__, codec.encode(X)
    for action in ("encode", "decode", *(["norms"] if hasattr(fresh, "norms") else [])):
        with pytest.raises(RuntimeError, match=rf"{name} is not trained: call train\(xt\) before {action}"):
            getattr(fresh, action)(codes if action != "encode" else X)
    for x, error_type, message in [
        (X[0], ValueError, r"must have shape \(n, 20\); got 1-D"),
        (X[:, 1:], ValueError, r"must have shape \(n, 20\); got shape \(1200, 19\)"),
        (np.where(X > 1, np.nan, X), ValueError, "must be finite in float32"),
        (X > 0, TypeError, "must hold floats or integers"),
    ]:
        for action in ("train", "encode"):
            with pytest.raises(error_type, match=rf"^xt? {message}"):
                getattr(codec, action)(x)
    with pytest.raises(ValueError, match="xt must not be empty"):
        codec.train(X[:0])
    with pytest.raises(TypeError, match="codes must be packed codes of dtype uint8"):
        codec.decode(X)
    with pytest.raises(ValueError, match=rf"codes must have shape \(n, {SIZES[kind]}\)"):
        codec.decode(codes[:, 1:])
    assert np.array_equal(codec.encode(X), codes)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: mlpq.ResidualQuantizer(D, 0), "M must be a whole number of at least 1; got 0"),
        (lambda: mlpq.ResidualQuantizer(D, 2, 17), "nbits must be a whole number from 1 to 16; got 17"),
        (
            lambda: mlpq.ResidualQuantizer(D, 2, 8).train(X[:255]),
            "xt must hold at least 256 points for Residual.*; got",
        ),
        (lambda: mlpq.AdditiveQuantizer(D, 3, 4), "nbits must be a multiple of 8; got M=3 and nbits=4"),
        (lambda: mlpq.ScalarQuantizer(D, 5), "nbits must be one of 4, 6, 8; got 5"),
        (lambda: mlpq.TurboQuant(D, 5), "nbits must be one of 1, 2, 3, 4, 8; got 5"),
        (lambda: mlpq.EDEN(D, 9), "nbits must be one of 1, .*, 8; got 9"),
        (lambda: mlpq.RaBitQ(D, 5), "nbits must be one of 1, 2, 3, 4; got 5"),
        (lambda: mlpq.RaBitQ(0), "d must be a whole number of at least 1; got 0"),
        (lambda: mlpq.LSH(D, 21, learned=True), "nbits must be a whole number from 1 to 20; got 21"),
        (lambda: mlpq.LSH(D, 8, learned=True).train(X[:19]), "xt must hold at least 20 points for LSH.*; got 19"),
        (lambda: mlpq.LSH(D, seed=-1), "seed must be a whole number from 0"),
    ],
)
def test_bad_settings_are_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_codes_are_those_of_faiss_and_so_is_the_error() -> None:
    residual = faiss.ResidualQuantizer(D, 3, 5)
    residual.cp.seed, residual.cp.min_points_per_centroid = 0, 1
    search = faiss.LocalSearchQuantizer(D, 4, 4)
    search.random_seed = 0
    scalar = faiss.ScalarQuantizer(D, faiss.ScalarQuantizer.QT_6bit)
    for kind, theirs in [("ResidualQuantizer", residual), ("AdditiveQuantizer", search), ("ScalarQuantizer", scalar)]:
        with adapter.quick_training():
            theirs.train(X)
        codes = TRAINED[kind].encode(X)
        assert np.array_equal(codes, theirs.compute_codes(X))
        assert np.array_equal(TRAINED[kind].decode(codes), theirs.decode(codes))


@pytest.mark.parametrize("nbits", [1, 2, 3, 4, 8])
def test_directions_are_coded_as_by_faiss(nbits: int) -> None:
    lengths = np.linalg.norm(X - X.mean(axis=0), axis=1, keepdims=True)
    theirs = faiss.ScalarQuantizer(D, getattr(faiss.ScalarQuantizer, f"QT_{nbits}bit_tqmse"))
    theirs.train(X)
    codec = mlpq.TurboQuant(D, nbits).train(X)
    of_faiss = theirs.compute_codes(((X - codec.arrays()["centre"]) / lengths).astype(np.float32))
    codes = codec.encode(X)
    assert np.mean(codes[:, :-4] == of_faiss) > 0.999  # but for components on the border of two levels
    expected = theirs.decode(np.ascontiguousarray(codes[:, :-4])) * lengths + X.mean(axis=0)
    np.testing.assert_allclose(codec.decode(codes), expected, atol=1e-4)


@pytest.mark.parametrize("nbits", range(1, 9))
def test_estimates_of_eden_are_those_of_faiss(nbits: int) -> None:
    codec = mlpq.EDEN(D, nbits).train(X)
    theirs = faiss.IndexEDEN(D, faiss.METRIC_L2, nbits)
    theirs.train(X)
    theirs.add(X)
    codes, of_faiss = codec.encode(X), theirs.sa_encode(X)
    same = (codes[:, :-8] == of_faiss[:, :-8]).all(axis=1)
    assert same.mean() > 0.99
    np.testing.assert_allclose(codec.decode(codes)[same], theirs.sa_decode(of_faiss)[same], atol=1e-4)
    expected, I = theirs.search(Q, 100)
    found = np.take_along_axis(estimates(codec, Q, codes), I, axis=1)
    np.testing.assert_allclose(np.maximum(found, 0)[same[I]], expected[same[I]], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("nbits", range(1, 5))
def test_estimates_of_rabitq_are_those_of_faiss(nbits: int) -> None:
    codec = mlpq.RaBitQ(D, nbits).train(X)
    theirs = faiss.IndexRaBitQ(D, faiss.METRIC_L2, nbits)
    theirs.qb = 0  # queries are not rounded
    theirs.train(X)
    theirs.add(X)
    codes, of_faiss = codec.encode(X), theirs.sa_encode(X)
    signs, factors = (D + 7) // 8, 0 if nbits == 1 else 12
    of_faiss = np.delete(of_faiss, slice(signs, signs + factors), axis=1)
    same = (codes[:, :-8] == of_faiss[:, :-8]).all(axis=1)
    assert same.mean() > 0.99
    expected, I = theirs.search(Q, 100)
    found = np.take_along_axis(estimates(codec, Q, codes), I, axis=1)
    np.testing.assert_allclose(np.maximum(found, 0)[same[I]], expected[same[I]], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("kind", "nbits"), [("RaBitQ", 1), ("RaBitQ", 2), ("EDEN", 1), ("EDEN", 2)])
def test_estimates_are_unbiased_over_random_turns(kind: str, nbits: int) -> None:
    """Of one vector and one query, where the distance to the decoded vector is too large by far."""
    x = np.array([[3, 1, *[0.2] * (D - 2)]], np.float32)
    q = x + np.float32(0.3) * RNG.standard_normal((1, D), np.float32)
    codec = getattr(mlpq, kind)(D, nbits).train(np.zeros((1, D)))
    found, decoded = [], []
    for seed in range(1500):
        turn = orthonormal(D, seed)
        codes = codec.encode(x @ turn)
        found.append(estimates(codec, q @ turn, codes)[0, 0])
        decoded.append(np.square(q @ turn - codec.decode(codes)).sum())
    true, spread = float(np.square(q - x).sum()), np.std(found) / np.sqrt(len(found))
    assert abs(np.mean(found) - true) < 4 * spread
    assert np.mean(decoded) - true > 8 * spread


def test_signs_are_those_of_faiss_and_the_decoder_is_the_best_linear_one() -> None:
    for kind, nbits in (("LSH", 43), ("ITQ", 12)):
        codec = TRAINED[kind]
        centre, planes = codec.arrays()["centre"], codec.arrays()["planes"]
        codes = codec.encode(X)
        signs = np.where((X - centre).astype(np.float64) @ planes >= 0, 1.0, -1.0)
        assert np.mean(codes == np.packbits(signs > 0, axis=1, bitorder="little")) > 0.999
        best, *_ = np.linalg.lstsq(signs, X - centre, rcond=None)
        residual = np.square(X - centre - signs @ best).sum(axis=1).mean()
        assert error(codec) == pytest.approx(float(residual), rel=0.01)
        assert planes.shape == (D, nbits)
    transform = faiss.ITQTransform(D, 12, True)
    transform.itq.seed = 0
    centred = X - TRAINED["ITQ"].arrays()["centre"]
    transform.train(centred)
    theirs = np.packbits(transform.apply(centred) >= 0, axis=1, bitorder="little")
    assert np.mean(TRAINED["ITQ"].encode(X) == theirs) > 0.99
    random = TRAINED["LSH"].arrays()["planes"]
    np.testing.assert_allclose(random[:, :D].T @ random[:, :D], np.eye(D), atol=1e-5)


def test_decoded_vectors_are_sums_of_codewords() -> None:
    for kind in ("ResidualQuantizer", "AdditiveQuantizer"):
        codec, far = TRAINED[kind], MAKERS[kind]().train(np.rint(X) + 1e4)
        for each, x in ((codec, X), (far, np.rint(X) + 1e4)):
            codes = each.encode(x)
            bits = np.unpackbits(codes, axis=1, count=each.M * each.nbits, bitorder="little")
            numbers = bits.reshape(-1, each.M, each.nbits) @ (1 << np.arange(each.nbits))
            total = sum(each.codebooks[j, numbers[:, j]] for j in range(each.M))
            np.testing.assert_allclose(each.decode(codes), total, rtol=1e-6, atol=1e-4)
        assert MAKERS[kind]().codebooks.shape == (0, 2**codec.nbits, D)


@pytest.mark.parametrize(
    "errors",
    [
        lambda: [error(mlpq.ResidualQuantizer(D, M, 4).train(X)) for M in (1, 2, 4)],
        lambda: [error(mlpq.AdditiveQuantizer(D, M, 4).train(X)) for M in (2, 4)],
        lambda: [error(mlpq.ScalarQuantizer(D, nbits).train(X)) for nbits in (4, 6, 8)],
        lambda: [error(mlpq.TurboQuant(D, nbits).train(X)) for nbits in (1, 2, 3, 4, 8)],
        lambda: [error(mlpq.EDEN(D, nbits).train(X)) for nbits in range(1, 9)],
        lambda: [error(mlpq.RaBitQ(D, nbits).train(X)) for nbits in (1, 2, 3, 4)],
        lambda: [error(mlpq.LSH(D, nbits).train(X)) for nbits in (8, 20, 40, 160)],
        lambda: [error(mlpq.LSH(D, nbits, learned=True).train(X)) for nbits in (4, 10, 20)],
    ],
    ids=["RQ", "AQ", "SQ", "TurboQuant", "EDEN", "RaBitQ", "LSH", "ITQ"],
)
def test_more_bits_are_nearer(errors: Callable[[], list[float]]) -> None:
    found = errors()
    assert found == sorted(found, reverse=True)


@kinds
def test_scales_and_offsets_do_not_matter(kind: str) -> None:
    x = np.rint(8 * X) / 8  # exact in float32 beside 1e6
    near = error(MAKERS[kind]().train(x), x)
    for scale in (2.0**-40, 2.0**30):
        assert error(MAKERS[kind]().train(x * scale), x * scale) / scale**2 == pytest.approx(near, rel=0.02)
    far = MAKERS[kind]().train(x + 1e6)
    assert error(far, x + 1e6) == pytest.approx(near, rel=0.1, abs=0.03)


@kinds
def test_vectors_that_are_all_the_same_are_decoded(kind: str) -> None:
    x = np.tile(X[:1], (300, 1))
    codec = MAKERS[kind]().train(x)
    np.testing.assert_allclose(codec.decode(codec.encode(x)), x, atol=1e-4)


@pytest.mark.parametrize("kind", SEEDED)
def test_same_seed_same_codes(kind: str) -> None:
    settings = TRAINED[kind].settings()
    make = type(TRAINED[kind])
    one, two, other = (make(**(settings | {"seed": seed})).train(X) for seed in (5, 5, 6))
    assert np.array_equal(one.encode(X), two.encode(X))
    assert not np.array_equal(one.encode(X), other.encode(X))


@kinds
def test_several_threads_and_blocks_give_the_same(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    codec = copy.deepcopy(TRAINED[kind])
    codes, decoded = codec.encode(X), codec.decode(codec.encode(X))
    fresh = pickle.loads(pickle.dumps(codec))  # whose quantizer is made by whoever comes first
    with ThreadPoolExecutor(4) as pool:
        assert all(np.array_equal(found, codes) for found in pool.map(fresh.encode, [X] * 12))
        assert all(np.array_equal(found, decoded) for found in pool.map(fresh.decode, [codes] * 12))
    monkeypatch.setattr("mlpq._parallel.BLOCK", 20_000)
    if kind != "AdditiveQuantizer":  # whose codes depend on what is encoded with them
        assert np.array_equal(codec.encode(X), codes)


def test_a_faiss_that_lacks_a_quantizer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    old = type("faiss", (), {"ScalarQuantizer": object, "__version__": "1.10.0"})
    monkeypatch.setattr(directions, "faiss", old)
    for make, version in ((mlpq.TurboQuant, "1.15"), (mlpq.EDEN, "1.15"), (mlpq.RaBitQ, "1.13.2")):
        message = rf"{make.__name__} needs faiss-cpu {version} or later; installed is 1.10.0"
        with pytest.raises(RuntimeError, match=message):
            make(D)


def test_codecs_say_what_they_are() -> None:
    assert repr(MAKERS["ResidualQuantizer"]()) == "ResidualQuantizer(d=20, M=3, nbits=5, seed=0, trained=False)"
    assert repr(TRAINED["RaBitQ"]) == "RaBitQ(d=20, nbits=1, trained=True)"
    assert repr(TRAINED["ITQ"]) == "LSH(d=20, nbits=12, learned=True, seed=0, trained=True)"
