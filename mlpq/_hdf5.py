"""HDF5 files that may be damaged or hostile: nothing is allocated that the file does not hold."""

from __future__ import annotations

import mmap
from math import prod
from pathlib import Path

import h5py

RATIO = 1032  # bytes that deflate can make of one, at most
TEXTS = 10_000  # that are read at a time: all have the longest one's length


def numbers(file: h5py.File, name: str) -> h5py.Dataset:
    """Return a data set of numbers, all of whose bytes are in this file. Nothing is read yet.

    Raises:
        ValueError: missing, a link into another file, not an array of numbers, or larger than what is stored.
    """
    return _whole(file, name, "fiu", "numbers")


def texts(file: h5py.File, name: str, n: int) -> list[str]:
    """Return the first n texts of a data set of texts of fixed length (see `text`).

    Raises:
        ValueError: missing, another kind of array, fewer than n, not UTF-8, or larger than what is stored.
    """
    dataset = _whole(file, name, "S", "texts of fixed length, as numpy.array([text.encode() ...]) makes it")
    if dataset.ndim != 1 or len(dataset) < n:
        raise ValueError(f"{name} must hold a text for each vector; it has shape {dataset.shape}")
    return [one.decode() for row in range(0, n, TEXTS) for one in dataset[row : min(n, row + TEXTS)]]


def _whole(file: h5py.File, name: str, kinds: str, of: str) -> h5py.Dataset:
    link = file.get(name, getlink=True)
    dataset = file[name] if isinstance(link, h5py.HardLink) else None
    if not isinstance(dataset, h5py.Dataset) or dataset.shape is None or dataset.dtype.kind not in kinds:
        raise ValueError(f"{name} is not an array of {of}")
    if dataset.external or dataset.is_virtual:
        raise ValueError(f"{name} lies in another file")
    claimed, stored = dataset.nbytes, dataset.id.get_storage_size()
    if dataset.chunks:
        chunks = prod(-(-size // part) for size, part in zip(dataset.shape, dataset.chunks, strict=True))
        claimed = chunks * prod(dataset.chunks) * dataset.dtype.itemsize
        whole = dataset.id.get_num_chunks() == chunks and claimed <= RATIO * stored
    else:
        whole = claimed == stored
    if not whole:
        raise ValueError(f"{name} says {claimed} bytes and holds {stored}")
    return dataset


def text(holder: h5py.File | h5py.Dataset, name: str) -> str:
    """Return an attribute that is a text of fixed length.

    Texts of variable length are never read: they lie in a heap without checksums, and one flipped bit there can make
    HDF5 search it for ever.

    Raises:
        ValueError, KeyError: another kind of attribute, or none.
    """
    attribute = holder.attrs.get_id(name)
    if attribute.dtype.kind != "S" or attribute.shape:
        raise ValueError(f"the attribute {name} is not a text of fixed length")
    return bytes(holder.attrs[name]).decode()


def says(file: h5py.File, name: str, word: str) -> bool:
    """Return whether an attribute is this text. Of variable length, as in ann-benchmarks, it need only stand in the heap.

    The heap is not read as such (see `text`): its entries are a length in 8 bytes, then the text.
    """
    if name not in file.attrs:
        return False
    try:
        return text(file, name) == word
    except ValueError:
        with Path(file.filename).open("rb") as raw, mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return content.find(len(word).to_bytes(8, "little") + word.encode()) >= 0
