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

FORMAT, VERSION, OLDER = "mlpq-index", 4, 3
CHECKSUMMED = ("v110", "v110")  # the layout of HDF5 1.10, the first that has them everywhere
SETTINGS = {"d", "n_inner", "n_outer", "niter", "seed", "keep_originals", "metric"}
OF_PQ, OPTIONAL = {"m", "nbits", "codebooks", "codebook_dtype"}, {"pca_dim", "rotation"}


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
        if (version := settings.pop("version")) not in (VERSION, OLDER):
            raise ValueError(f"it has version {version}, and this mlpq reads versions {OLDER} and {VERSION}")
        if mmap and version == OLDER and settings.get("keep_originals"):
            raise ValueError(
                "its originals are in the order of an older version: load it without mmap, and save it anew"
            )
        arrays = {name: _read_array(file, name, mmap and name == "originals") for name in file}
        if version == OLDER:
            _bring_up_to_date(settings, arrays)
        wanted = SETTINGS | ({"codec"} if "codec" in settings else OF_PQ)
        if settings.keys() - OPTIONAL != wanted:
            raise ValueError(f"its settings are {', '.join(sorted(settings))}, not {', '.join(sorted(wanted))}")
        _check_index(settings, arrays)
        return settings, arrays


def _bring_up_to_date(settings: dict[str, Any], arrays: dict[str, Array]) -> None:
    """Turn what a file of version 3 holds into what one of version 4 does: there originals stood in the order of ids."""
    settings["metric"] = "l2"
    if not settings["pca_dim"]:
        del settings["pca_dim"]
    ids, originals = arrays["ids"], arrays["originals"]
    if len(ids) and (ids.min() < 0 or ids.max() >= len(ids)):
        raise ValueError(f"ids is not within 0..{len(ids) - 1}")
    arrays["ids"] = ids.astype(np.uint32)
    arrays["originals"] = originals[ids] if settings["keep_originals"] else np.empty((len(ids), 0), np.uint8)


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


def _check_index(settings: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
    """Refuse arrays that do not fit the settings, or each other."""
    expected = _expected(settings, arrays)
    if missing := [name for name in expected if name not in arrays]:
        raise ValueError(f"it lacks {', '.join(missing)}")
    for name, (shape, kinds) in expected.items():
        array = arrays[name]
        if array.shape != shape or array.dtype not in kinds:
            wanted = " or ".join(np.dtype(kind).name for kind in kinds)
            raise ValueError(f"{name} has shape {array.shape} and dtype {array.dtype}, not {shape} and {wanted}")
        if array.dtype.kind == "f" and not isinstance(array, np.memmap) and not np.isfinite(array).all():
            raise ValueError(f"{name} holds NaN or inf")
    n, ids, offsets = len(arrays["ids"]), arrays["ids"], arrays["list_offsets"]
    bounds = {"inner_to_outer": settings["n_outer"]}
    if "codebooks" in arrays:
        bounds["codebook_of_cell"] = len(arrays["codebooks"])
    for name, bound in bounds.items():
        if ((arrays[name] < 0) | (arrays[name] >= bound)).any():
            raise ValueError(f"{name} is not within 0..{bound - 1}")
    ordered = np.sort(ids)  # a set of them would take far more room
    if n and (ordered[0] < 0 or (ordered[1:] == ordered[:-1]).any()):
        raise ValueError("ids are negative, or occur twice")
    if offsets[0] != 0 or offsets[-1] != n or (np.diff(offsets) < 0).any():
        raise ValueError(f"list_offsets do not rise from 0 to {n}")


def _expected(settings: Mapping[str, Any], arrays: Mapping[str, Array]) -> dict[str, tuple[tuple[int, ...], list[Any]]]:
    """Return the shape that each array must have, and the dtypes that it may have; what a codec holds, it checks itself."""
    d, cells, outer = (_check.integer(settings[name], name, 1) for name in ("d", "n_inner", "n_outer"))
    dim = _check.integer(settings.get("pca_dim", d), "pca_dim", 1, d)  # of the codes
    n = len(arrays["ids"]) if "ids" in arrays else 0
    width = arrays["codes"].shape[-1] if "codes" in arrays else 0
    expected: dict[str, tuple[tuple[int, ...], list[Any]]] = {
        "ids": ((n,), [np.uint32, np.int64]),
        "list_offsets": ((cells + 1,), [np.int64]),
        "inner_centroids": ((cells, dim), [np.float32]),
        "outer_centroids": ((outer, dim), [np.float32]),
        "inner_to_outer": ((cells,), [np.int64]),
        "originals": ((n, d if settings["keep_originals"] else 0), [np.uint8, np.float32]),
    }
    if "rotation" in settings or "pca_dim" in settings:
        expected |= {"mean": ((d,), [np.float32]), "axes": ((d, dim), [np.float32])}
    if "codec" not in settings:
        m, nbits = _check.subvectors(dim, settings["m"], settings["nbits"])
        dtype = _check.one_of(settings["codebook_dtype"], "codebook_dtype", DTYPES)
        books, width = len(arrays.get("codebooks", ())), (m * nbits + 7) // 8
        expected["codebooks"] = ((books, m, 2**nbits, dim // m), [getattr(np, dtype)])
        expected["codebook_ranges"] = ((books if dtype == "uint8" else 0, m, 2), [np.float32])
        expected["codebook_of_cell"] = ((cells,), [np.int64])
    return expected | {"codes": ((n, width), [np.uint8])}
