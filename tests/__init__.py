"""Before anything loads NumPy: workers whose threads take all processors would wait for each other."""

import os

SHARE = (os.cpu_count() or 1) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
os.environ.setdefault("OMP_NUM_THREADS", str(max(1, SHARE)))
