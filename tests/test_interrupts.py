"""Ctrl-C in a notebook: in the middle of training, searching or downloading; afterwards the same kernel goes on."""

import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager, start_new_kernel

from tests.conftest import PATIENCE

SETUP = """
import numpy as np
import mlpq
x = np.random.default_rng(0).random((100_000, 64), np.float32)
index = mlpq.MultiLevelPQ(64, 40, 6, keep_originals=True).train(x[:10_000]).add(x)
before = index.search(x[:50], 10, nprobe=3)
"""
CHECK = """
after = index.search(x[:50], 10, nprobe=3)
assert all(np.array_equal(a, b) for a, b in zip(before, after))
assert index.ntotal == 100_000 and len(index.lists.originals) == 100_000
print("as before")
"""


class Kernel:
    """A notebook's kernel, as the front end sees it."""

    def __init__(self, manager: KernelManager, client: BlockingKernelClient) -> None:
        self.manager, self.client = manager, client

    def start(self, code: str) -> str:
        return self.client.execute(code)

    def wait_for(self, text: str) -> None:
        """Read what the cell prints until `text` comes."""
        printed = ""
        while text not in printed:
            message = self.client.get_iopub_msg(timeout=PATIENCE)
            assert message["msg_type"] != "error", message["content"]
            printed += message["content"].get("text", "")

    def end_of(self, cell: str) -> tuple[dict[str, Any], str]:
        """Return how the cell ended, and what it printed."""
        printed = ""
        while True:
            reply = self.client.get_shell_msg(timeout=PATIENCE)
            if reply["parent_header"]["msg_id"] == cell:
                break
        while True:
            message = self.client.get_iopub_msg(timeout=PATIENCE)
            if message["parent_header"].get("msg_id") == cell:
                printed += message["content"].get("text", "")
                if message["content"].get("execution_state") == "idle":
                    return reply["content"], printed

    def run(self, code: str) -> str:
        reply, printed = self.end_of(self.start(code))
        assert reply["status"] == "ok", "\n".join(reply["traceback"])
        return printed

    def interrupt(self, code: str, when: Callable[[], object] = lambda: time.sleep(0.5)) -> None:
        """Run a cell that says when it has begun and never ends, and interrupt it a moment later, or at another one."""
        cell = self.start(f"print('begun')\n{code}")
        self.wait_for("begun")
        when()
        self.manager.interrupt_kernel()
        reply, _ = self.end_of(cell)
        assert reply.get("ename") == "KeyboardInterrupt", reply


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(100 * PATIENCE):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("what was waited for did not come")


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    manager, client = start_new_kernel(kernel_name="python3", startup_timeout=PATIENCE)
    kernel = Kernel(manager, client)
    kernel.run(SETUP)
    yield kernel
    client.stop_channels()
    manager.shutdown_kernel(now=True)


LONG = {
    "k-means": "mlpq.KMeans(64, 1000, niter=10**6).train(x)",
    "cells": "index.niter = 10**6\nindex.train(x)",
    "many codebooks": "mlpq.MultiLevelPQ(64, 900, 30, m=32, niter=1).train(x)",
    "one codebook": "mlpq.ProductQuantizer(64, 2, 12).train(x)",
    "searching": "index.search(x, 10, nprobe=40)",
    "exact search": "mlpq.ExactIndex(64).add(x).search(x, 10)",
    "exact neighbours": "mlpq.data.groundtruth.compute(x, x, 10)",
}


@pytest.mark.parametrize("what", LONG)
def test_interrupted_work_changes_nothing_and_can_be_done_again(kernel: Kernel, what: str) -> None:
    code = "\n".join(f"    {line}" for line in LONG[what].splitlines())
    kernel.interrupt(f"while True:\n{code}")
    kernel.run("index.niter = 20")
    assert kernel.run(CHECK) == "as before\n"
    assert kernel.run("print(mlpq.MultiLevelPQ(64, 8, 2).train(x[:5000]).add(x[:5000]).ntotal)") == "5000\n"


def test_interrupted_adding_adds_all_or_nothing(kernel: Kernel) -> None:
    kernel.run("part = x[:30_000]\nindex = mlpq.MultiLevelPQ(64, 40, 6, keep_originals=True).train(part)")
    kernel.interrupt("while True: index.add(part)")
    kernel.run("""
n = index.ntotal // len(part)
assert index.ntotal == n * len(part) == len(index.lists.originals)
other = mlpq.MultiLevelPQ(64, 40, 6, keep_originals=True).train(part)
for _ in range(n): other.add(part)
assert all(np.array_equal(a, other._arrays()[name]) for name, a in index._arrays().items())
""")


def test_interrupted_download_goes_on_where_it_was(kernel: Kernel, tmp_path: Path) -> None:
    content, ranges, patient = bytes(range(256)) * 1000, [], threading.Event()

    class Slow(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            ranges.append(self.headers["Range"])
            start = int((self.headers["Range"] or "bytes=0-")[6:-1])
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.end_headers()
            self.wfile.write(content[start:] if start else content[:100_000])
            self.wfile.flush()
            patient.wait(0 if start else PATIENCE)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/file"
        code = f"""
from pathlib import Path
from mlpq.data import download
target = Path({str(tmp_path / "file.bin")!r})
download.download({url!r}, target, str, 10**6)
print(target.stat().st_size)
"""
        part = tmp_path / "file.bin.part"
        kernel.interrupt(code, lambda: wait_until(lambda: part.exists() and part.stat().st_size > 0))
        patient.set()
        have = part.stat().st_size
        assert not (tmp_path / "file.bin").exists()
        assert kernel.run(code).endswith(f"{len(content)}\n")
        server.shutdown()
    assert (tmp_path / "file.bin").read_bytes() == content
    assert have <= 100_000
    assert ranges == [None, f"bytes={have}-"]
