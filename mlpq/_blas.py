"""Import Faiss so that its OpenBLAS knows the processor.

The OpenBLAS inside faiss-cpu dates from 2021. On later processors it falls back to kernels of 2004, which makes training
several times slower. NumPy carries a newer one, so it is asked first. This works only before Faiss is imported for the
first time; after that nothing is changed, and nothing but speed is lost.
"""

import os
import sys

import numpy as np  # noqa: F401  # loads its OpenBLAS, which the next line's library asks
from threadpoolctl import threadpool_info

VARIABLE = "OPENBLAS_CORETYPE"
KERNELS = {"Haswell": "Haswell", "Zen": "Zen"} | dict.fromkeys(["SkylakeX", "Cooperlake", "Sapphirerapids"], "SkylakeX")


def import_faiss() -> None:
    """Import Faiss with the kernels that NumPy's OpenBLAS has chosen, if it knows them; the environment stays as it was."""
    found = [KERNELS.get(str(library.get("architecture"))) for library in threadpool_info()]
    kernels = next(filter(None, found), None)
    if kernels is None or VARIABLE in os.environ or "faiss" in sys.modules:
        return
    os.environ[VARIABLE] = kernels
    try:
        import faiss  # noqa: F401
    finally:
        del os.environ[VARIABLE]


import_faiss()
