"""Downloads from a server on this machine that misbehaves in every way known."""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import mlpq
from mlpq.data import download, named

CONTENT = bytes(range(256)) * 2000
LARGEST = 2 * len(CONTENT)
SLEEP = time.sleep  # the real one, while the package's does not wait
Answer = Callable[[BaseHTTPRequestHandler], None]


class Server(ThreadingHTTPServer):
    """Answers the n-th request with the n-th answer, and every further one with the last."""

    daemon_threads = True

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.requests: list[str | None] = []  # the Range header of each

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server = self.server
                assert isinstance(server, Server)
                server.requests.append(self.headers["Range"])
                server.answers[min(len(server.requests), len(server.answers)) - 1](self)

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/file"

    def handle_error(self, *_: object) -> None:
        """The client hangs up on some of these answers."""


def answer(content: bytes = CONTENT, *, status: int = 200, sent: int | None = None, **headers: str) -> Answer:
    """Answer with `content`, or with its first `sent` bytes only; the length is the content's unless a header says."""

    def respond(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        for name, value in ({"Content_Length": str(len(content))} | headers).items():
            request.send_header(name.replace("_", "-"), value)
        request.end_headers()
        request.wfile.write(content[:sent])

    return respond


def whole(request: BaseHTTPRequestHandler) -> None:
    if (start := int((request.headers["Range"] or "bytes=0-")[6:-1])) == 0:
        return answer()(request)
    if start >= len(CONTENT):
        return answer(b"", status=416)(request)
    extent = f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"
    return answer(CONTENT[start:], status=206, Content_Range=extent)(request)


def stalls(request: BaseHTTPRequestHandler) -> None:
    answer(sent=1000)(request)
    request.wfile.flush()
    SLEEP(60)


def trickles(request: BaseHTTPRequestHandler) -> None:
    answer(sent=0)(request)
    for byte in CONTENT[:1000]:
        request.wfile.write(bytes([byte]))
        request.wfile.flush()
        SLEEP(0.03)


def endless(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.end_headers()
    while True:
        request.wfile.write(CONTENT)


def redirects(request: BaseHTTPRequestHandler) -> None:
    answer(b"", status=302, Location=request.path)(request)


def elsewhere(request: BaseHTTPRequestHandler) -> None:
    answer(b"", status=302, Location="file:///etc/passwd")(request)


def other_part(request: BaseHTTPRequestHandler) -> None:
    answer(CONTENT, status=206, Content_Range=f"bytes 0-{len(CONTENT) - 1}/{len(CONTENT)}")(request)


def not_http(request: BaseHTTPRequestHandler) -> None:
    request.wfile.write(b"\0\1\2 hello\r\n\r\n" * 100)


cut = answer(sent=100_000)
page = answer(b"<html>please log in</html>", Content_Type="text/html")
wrong_bytes = answer(CONTENT[::-1])


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(download.time, "sleep", lambda _: None)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def lose_patience(misbehaves: Answer, patch: pytest.MonkeyPatch) -> None:
    """Give up soon on what is slow on purpose, and on nothing else: the machine may be busy."""
    if misbehaves is stalls:
        patch.setattr(download, "TIMEOUT", (10, 2))
    if misbehaves is trickles:
        patch.setattr(download, "PATIENCE", 0.2)


def check(path: Path) -> None:
    if path.read_bytes() != CONTENT:
        raise ValueError("its content is wrong")


def fetched(server: Server, target: Path) -> bytes:
    return download.download(server.url, target, check, LARGEST).read_bytes()


@pytest.mark.parametrize("progress", [True, False])
def test_download_happens_once_with_a_bar_if_asked_for(
    server: Server, tmp_path: Path, capfd: pytest.CaptureFixture[str], progress: bool
) -> None:
    server.answers = [whole]
    target = tmp_path / "new" / "file.bin"
    for _ in range(2):
        download.download(server.url, target, check, LARGEST, progress=progress)
    assert target.read_bytes() == CONTENT
    assert len(server.requests) == 1
    captured = capfd.readouterr()
    assert captured.out == ""
    assert ("file.bin: 100%" in captured.err) == progress
    assert progress or captured.err == ""


RESUMED = "bytes=100000-"
RECOVERS: dict[str, tuple[list[Answer], list[str | None]]] = {
    "resumed after a break": ([cut, whole], [None, RESUMED]),
    "resumed after a stall": ([stalls, whole], [None, "bytes=1000-"]),
    "begun anew where ranges are ignored": ([cut, answer()], [None, RESUMED]),
    "begun anew after another part than asked for": ([cut, other_part, whole], [None, RESUMED, None]),
    "retried": ([answer(status=503), answer(status=429), whole], [None, None, None]),
    "wrong content once": ([page, whole], [None, None]),
    "wrong bytes once": ([wrong_bytes, whole], [None, None]),
    "longer than it says": ([answer(Content_Length="1000"), whole], [None, None]),
    "shorter than it says": ([answer(Content_Length="600000"), whole], [None, f"bytes={len(CONTENT)}-"]),
    "no number for a length": ([answer(Content_Length="many")], [None]),
    "no length": ([answer(Content_Length="")], [None]),
    "not HTTP once": ([not_http, whole], [None, None]),
    "a file that says it is encoded": ([answer(Content_Encoding="gzip")], [None]),
}


@pytest.mark.parametrize("case", RECOVERS)
def test_download_recovers(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    server.answers, ranges = RECOVERS[case]
    lose_patience(server.answers[0], monkeypatch)
    assert fetched(server, tmp_path / "file.bin") == CONTENT
    assert server.requests == ranges
    assert not list(tmp_path.glob("*.part"))


GIVES_UP: dict[str, tuple[Answer, int, str]] = {
    "not found": (answer(status=404), 1, "404"),
    "forbidden": (answer(status=403), 1, "403"),
    "server error": (answer(status=500), 4, "500"),
    "too many requests": (answer(status=429), 4, "429"),
    "a redirect loop": (redirects, 31, "Exceeded 30 redirects"),
    "a redirect to a local file": (elsewhere, 1, "No connection adapters were found for 'file:///etc/passwd'"),
    "a page instead of the file": (page, 2, "its content is wrong"),
    "right length, wrong bytes": (wrong_bytes, 2, "its content is wrong"),
    "nothing": (answer(b""), 2, "its content is wrong"),
    "always cut": (cut, 4, "the connection ended after 100000 of 512000 bytes"),
    "always stalls": (stalls, 4, "Read timed out"),
    "always trickles": (trickles, 4, "less than 1000 bytes a second"),
    "without an end": (endless, 2, "more than the 1024000 that it should have at most"),
    "says it is larger than it can be": (answer(Content_Length=str(10**15)), 2, "it has 10{15} bytes, more than"),
    "not HTTP": (not_http, 4, "Connection aborted|BadStatusLine"),
}


@pytest.mark.parametrize("case", GIVES_UP)
def test_download_gives_up_with_a_clear_error(server: Server, tmp_path: Path, case: str) -> None:
    misbehaves, attempts, reason = GIVES_UP[case]
    server.answers = [misbehaves]
    (tmp_path / "other.bin").write_bytes(b"downloaded before")
    with pytest.MonkeyPatch.context() as patch:
        lose_patience(misbehaves, patch)
        with pytest.raises(mlpq.DownloadError, match=reason) as caught:
            fetched(server, tmp_path / "file.bin")
    assert str(caught.value).startswith(server.url)
    assert "MLPQ_DATA_DIR" in str(caught.value)
    assert "load_dataset('fashion-mnist-20k')" in str(caught.value)
    assert len(server.requests) == attempts
    assert {path.name for path in tmp_path.iterdir()} <= {"other.bin", "file.bin.part", "file.bin.lock"}
    assert (tmp_path / "other.bin").read_bytes() == b"downloaded before"
    server.answers, server.requests = [whole], []
    assert fetched(server, tmp_path / "file.bin") == CONTENT


def test_nobody_answers(server: Server, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/file"
    with pytest.raises(mlpq.DownloadError, match=f"{url} could not be downloaded .*Connection refused"):
        download.download(url, tmp_path / "file.bin", check, LARGEST)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a full disk to write to")
def test_a_full_disk(server: Server, tmp_path: Path) -> None:
    server.answers = [whole]
    part = tmp_path / "file.bin.part"
    part.symlink_to("/dev/full")  # where every write finds the disk full
    with pytest.raises(mlpq.DownloadError, match="No space left on device"):
        fetched(server, tmp_path / "file.bin")
    assert len(server.requests) == 1
    assert not part.is_symlink()
    assert fetched(server, tmp_path / "file.bin") == CONTENT


def test_a_folder_that_cannot_be_made(server: Server, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(
        mlpq.DownloadError, match=r"could not be downloaded to .*cache.*: .*(File exists|Not a directory)"
    ):
        fetched(server, tmp_path / "cache" / "file.bin")


@pytest.mark.parametrize(("asked", "seconds"), [("7", 7), ("3600", 60), ("soon", 1)])
def test_the_server_says_how_long_to_wait(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str, seconds: int
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(download.time, "sleep", waited.append)
    server.answers = [answer(status=429, Retry_After=asked), whole]
    assert fetched(server, tmp_path / "file.bin") == CONTENT
    assert waited == [seconds]


def test_threads_that_start_together_download_once(server: Server, tmp_path: Path) -> None:
    server.answers = [whole]
    with ThreadPoolExecutor(4) as pool:
        contents = pool.map(lambda _: fetched(server, tmp_path / "file.bin"), range(4))
    assert all(content == CONTENT for content in contents)
    assert len(server.requests) == 1


def test_processes_that_start_together_download_once(server: Server, tmp_path: Path) -> None:
    slow = threading.Event()
    server.answers = [lambda request: slow.wait(2) or whole(request)]  # long enough for the other to come
    code = f"from mlpq.data import download; from pathlib import Path; print(download.download({server.url!r}, Path('file.bin'), str, {LARGEST}))"
    both = [subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE) for _ in range(2)]
    assert [process.communicate()[0] for process in both] == [b"file.bin\n"] * 2
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert len(server.requests) == 1


def test_every_source_is_named_when_none_answers(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answers = [answer(status=404)]
    monkeypatch.delenv("MLPQ_DATA_DIR", raising=False)
    monkeypatch.setattr(named, "DEBIAN", tmp_path)
    monkeypatch.setattr(named, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(named, "IDX_URL", server.url + "/idx/")
    monkeypatch.setattr(named, "HDF5_URL", server.url + "/hdf5/")
    with pytest.raises(mlpq.DownloadError, match=r"/idx/train-images.*And .*/hdf5/fashion-mnist-784-euclidean.hdf5"):
        mlpq.load_dataset("fashion-mnist")
    with pytest.raises(mlpq.DownloadError, match=r"/hdf5/sift-128-euclidean.hdf5 could not be downloaded to .*: 404"):
        mlpq.load_dataset("sift")


def test_a_foreign_file_is_not_kept(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.answers = [page]
    monkeypatch.setattr(named, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(named, "HDF5_URL", server.url + "/")
    with pytest.raises(mlpq.DownloadError, match="is not a data set in the ann-benchmarks layout"):
        mlpq.load_dataset("gist")
    assert not list(tmp_path.glob("*.hdf5*part")) + list(tmp_path.glob("*.hdf5"))
