"""Makes relative paths absolute: pytest starts the notebooks' kernels in here."""

import os
from pathlib import Path

if "MLPQ_DATA_DIR" in os.environ:
    os.environ["MLPQ_DATA_DIR"] = str(
        Path(os.environ["MLPQ_DATA_DIR"]).absolute()
    )
if Path(os.environ.get("MLPQ_DATASET", "")).is_file():
    os.environ["MLPQ_DATASET"] = str(
        Path(os.environ["MLPQ_DATASET"]).absolute()
    )
