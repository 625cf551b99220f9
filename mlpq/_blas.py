"""Import Faiss so that its OpenBLAS knows the processor, and its threads sleep while they wait.

The OpenBLAS inside faiss-cpu dates from 2021. On later processors it falls back to kernels of 2004, which makes training
several times slower. NumPy carries a newer one, so it is asked first.

Training goes through thousands of short parallel steps. At the end of each, OpenMP's threads wait for the last one, and by
default they spin meanwhile: beside one other busy process they keep each other from the processors that they wait for, and
training takes up to ten times as long. Asleep they cost nothing.

Both work only before Faiss is imported for the first time; after that nothing is changed, and nothing but speed is lost.
"""

import os

import numpy as np  # noqa: F401  # loads its OpenBLAS, which the next line's library asks
from threadpoolctl import threadpool_info

VARIABLE, WAITING = "OPENBLAS_CORETYPE", "OMP_WAIT_POLICY"
KERNELS = {"Haswell": "Haswell", "Zen": "Zen"} | dict.fromkeys(["SkylakeX", "Cooperlake", "Sapphirerapids"], "SkylakeX")


def import_faiss() -> None:
    """Import Faiss with the kernels that NumPy's OpenBLAS has chosen, if it knows them; the environment stays as it was."""
    found = [KERNELS.get(str(library.get("architecture"))) for library in threadpool_info()]
    kernels = next(filter(None, found), None)
    wanted = {WAITING: "PASSIVE"} | ({VARIABLE: kernels} if kernels else {})
    ours = {name: value for name, value in wanted.items() if name not in os.environ}
    os.environ |= ours
    try:
        import faiss  # noqa: F401
    finally:
        for name in ours:
            del os.environ[name]


import_faiss()
