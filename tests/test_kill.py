"""kill -9 while an index is saved over another: the file is the old one or the new one, whenever the blow falls."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")

# Each child saves, and is killed: before the n-th line of `mlpq.storage` that it runs, or after some milliseconds.
# It is forked, since a thousand fresh interpreters would take half an hour; without threads, which do not survive that.
DRIVER = """
import os, random, signal, sys, time
import numpy as np
import mlpq

def index(n):
    x = np.random.default_rng(n).random((n, 8), np.float32)
    return mlpq.MultiLevelPQ(8, 4, 2, m=4, nbits=4, keep_originals=True).train(x).add(x)

def die_at_line(n):
    left = [n]
    def trace(frame, event, arg):
        if frame.f_code.co_filename.endswith("storage.py"):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace
    sys.settrace(trace)

def child(prepare):
    pid = os.fork()
    if pid == 0:
        prepare()
        new.save("x.index")
        os._exit(0)
    return pid

old, new = index(1000), index(3000)
found = []
def look(pid):
    killed = os.waitpid(pid, 0)[1] == signal.SIGKILL
    found.append(mlpq.MultiLevelPQ.load("x.index").ntotal)
    if found[-1] == 3000:
        old.save("x.index")
    return killed

old.save("x.index")
line = 1
while look(child(lambda: die_at_line(line))):
    line += 1
rng, begun = random.Random(0), time.monotonic()
os.waitpid(child(lambda: None), 0)
long = 2 * (time.monotonic() - begun)
old.save("x.index")
for _ in range(200):
    pid = child(lambda: None)
    time.sleep(rng.random() * long)
    os.kill(pid, signal.SIGKILL)
    look(pid)
    long *= 1.1 if found[-1] == 1000 else 1 / 1.1  # about as many before the end as after it, however busy the machine
print(line, found.count(1000), found.count(3000), len(found))
"""


def test_save_survives_kill(tmp_path: Path) -> None:
    env = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    run = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", DRIVER]
    done = subprocess.run(run, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr
    lines, old, new, total = map(int, done.stdout.split())
    assert lines > 20  # the writing was met on every line
    assert old + new == total
    assert min(old, new) > 10
    left = [path for path in tmp_path.iterdir() if path.name != "x.index"]
    assert all(path.name.startswith(".x.index.") and path.suffix == ".part" for path in left)
