"""Index files: HDF5, versioned, nothing executable. What an index counts in `memory()` is what its file holds.

Damage is noticed: HDF5 keeps checksums of everything but the numbers, and each array has its SHA-256 beside it.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mlpq import _check
from mlpq._check import Array
from mlpq._hdf5 import numbers, text
from mlpq.codecs.codebooks import DTYPES

FORMAT, VERSION = "mlpq-index", 3
CHECKSUMMED = ("v110", "v110")  # the layout of HDF5 1.10, the first that has them everywhere
SETTINGS = {
    "d", "n_inner", "n_outer", "m", "nbits", "codebooks", "niter", "seed", "keep_originals", "pca_dim", "codebook_dtype",
}  # fmt: skip


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it there at the end, or remove it after an error.

    A symbolic link stays one: what it points to is replaced. The new file has the mode of the old one, if there is one.
    """
    target = resolved(path)
    mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else None
    part = target.parent / f".{target.name}.{secrets.token_hex(4)}.part"
    part.touch(exist_ok=False)
    try:
        if mode is not None:
            part.chmod(mode | 0o600)  # nobody reads it meanwhile who could not read the old one
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        if mode is not None:
            part.chmod(mode)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def resolved(path: str | os.PathLike[str]) -> Path:
    """Return where symbolic links lead, be there a file or not; links that go round in a circle raise OSError."""
    try:
        return Path(os.path.realpath(path, strict=True))
    except FileNotFoundError:
        return Path(os.path.realpath(path))


def write(path: str | os.PathLike[str], settings: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
    """Write settings and arrays to an index file, whole or not at all."""
    with replacing(path) as part, h5py.File(part, "w", libver=CHECKSUMMED) as file:
        file.attrs[FORMAT] = np.bytes_(json.dumps({"version": VERSION, **settings}))
        for name, array in arrays.items():
            file.create_dataset(name, data=array).attrs["sha256"] = np.bytes_(_sha256(array))


@contextmanager
def explained(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn whatever goes wrong with an index file into one ValueError that names it."""
    try:
        yield
    except Exception as error:  # h5py raises what it likes
        raise ValueError(
            f"{os.fspath(path)!r} is not a usable mlpq index file: {error}; write it with MultiLevelPQ.save"
        ) from error


def read(path: str | os.PathLike[str], mmap: bool = False) -> tuple[dict[str, Any], dict[str, Array]]:
    """Read what `write` wrote. Sizes are checked against the file's own before anything is allocated.

    With `mmap` the originals stay in the file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a file, another version, or damaged.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no index file {os.fspath(path)!r}")
    with explained(path), h5py.File(path, "r") as file:
        if FORMAT not in file.attrs:
            raise ValueError("it has another format")
        settings: dict[str, Any] = json.loads(text(file, FORMAT))
        if (version := settings.pop("version")) != VERSION:
            raise ValueError(f"it has version {version}, and this mlpq reads version {VERSION}")
        if settings.keys() != SETTINGS:
            raise ValueError(f"its settings are {', '.join(sorted(settings))}, not {', '.join(sorted(SETTINGS))}")
        arrays = {name: _read_array(file, name, mmap and name == "originals") for name in file}
        _check_index(settings, arrays)
        return settings, arrays


def _read_array(file: h5py.File, name: str, mmap: bool) -> Array:
    dataset = numbers(file, name)
    if dataset.chunks:
        raise ValueError(f"{name} is stored in chunks")
    if mmap and dataset.size:
        return np.memmap(file.filename, dataset.dtype, "r", dataset.id.get_offset(), dataset.shape)
    array = np.asarray(dataset[...])
    if _sha256(array) != text(dataset, "sha256"):
        raise ValueError(f"{name} is damaged: its SHA-256 is another")
    return array


def _sha256(array: Array) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def _originals_dtype(arrays: Mapping[str, Array]) -> type:
    return np.uint8 if "originals" in arrays and arrays["originals"].dtype == np.uint8 else np.float32


def _check_index(settings: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
    """Refuse arrays that do not fit the settings, or each other."""
    d, cells, outer = (_check.integer(settings[name], name, 1) for name in ("d", "n_inner", "n_outer"))
    dim = _check.integer(settings["pca_dim"], "pca_dim", 0, d) or d  # of the codes
    m, nbits = _check.subvectors(dim, settings["m"], settings["nbits"])
    dtype = _check.one_of(settings["codebook_dtype"], "codebook_dtype", DTYPES)
    n, books = (len(arrays[name]) if name in arrays else 0 for name in ("ids", "codebooks"))
    expected: dict[str, tuple[tuple[int, ...], type]] = {
        "codes": ((n, (m * nbits + 7) // 8), np.uint8),
        "ids": ((n,), np.int64),
        "list_offsets": ((cells + 1,), np.int64),
        "codebooks": ((books, m, 2**nbits, dim // m), getattr(np, dtype)),
        "codebook_ranges": ((books if dtype == "uint8" else 0, m, 2), np.float32),
        "codebook_of_cell": ((cells,), np.int64),
        "inner_centroids": ((cells, dim), np.float32),
        "outer_centroids": ((outer, dim), np.float32),
        "inner_to_outer": ((cells,), np.int64),
        "originals": ((n if settings["keep_originals"] else 0, d), _originals_dtype(arrays)),
    }
    if settings["pca_dim"]:
        expected |= {"mean": ((d,), np.float32), "axes": ((d, dim), np.float32)}
    if missing := [name for name in expected if name not in arrays]:
        raise ValueError(f"it lacks {', '.join(missing)}")
    for name, (shape, kind) in expected.items():
        array = arrays[name]
        if array.shape != shape or array.dtype != kind:
            raise ValueError(f"{name} has shape {array.shape} and dtype {array.dtype}, not {shape} and {kind.__name__}")
        if kind is not np.int64 and not isinstance(array, np.memmap) and not np.isfinite(array).all():
            raise ValueError(f"{name} holds NaN or inf")
    for name, bound in {"ids": n, "codebook_of_cell": books, "inner_to_outer": outer}.items():
        if ((arrays[name] < 0) | (arrays[name] >= bound)).any():
            raise ValueError(f"{name} is not within 0..{bound - 1}")
    if len(np.unique(arrays["ids"])) != n:
        raise ValueError("ids occur twice")
    offsets = arrays["list_offsets"]
    if offsets[0] != 0 or offsets[-1] != n or (np.diff(offsets) < 0).any():
        raise ValueError(f"list_offsets do not rise from 0 to {n}")
