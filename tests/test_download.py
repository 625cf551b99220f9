"""Downloads from a server on this machine that misbehaves."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import mlpq
from mlpq import _download, datasets

CONTENT = bytes(range(256)) * 2000
Answer = Callable[[BaseHTTPRequestHandler], None]


class Server(ThreadingHTTPServer):
    """Answers the n-th request with the n-th answer, and every further one with the last."""

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


def whole(request: BaseHTTPRequestHandler, content: bytes = CONTENT) -> None:
    start = int((request.headers["Range"] or "bytes=0-")[6:-1])
    request.send_response(206 if start else 200)
    request.send_header("Content-Length", str(len(content) - start))
    request.end_headers()
    request.wfile.write(content[start:])


def cut(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.send_header("Content-Length", str(len(CONTENT)))
    request.end_headers()
    request.wfile.write(CONTENT[:100_000])


def ignores_range(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.send_header("Content-Length", str(len(CONTENT)))
    request.end_headers()
    request.wfile.write(CONTENT)


def page(request: BaseHTTPRequestHandler) -> None:
    whole(request, b"<html>please log in</html>")


def status(code: int) -> Answer:
    return lambda request: request.send_error(code)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(_download.time, "sleep", lambda _: None)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def check(path: Path) -> None:
    if path.read_bytes() != CONTENT:
        raise ValueError("its content is wrong")


def test_download_shows_a_bar_and_happens_once(
    server: Server, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    server.answers = [whole]
    target = tmp_path / "new" / "file.bin"
    for _ in range(2):
        assert _download.download(server.url, target, check) == target
    assert target.read_bytes() == CONTENT
    assert len(server.requests) == 1
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "file.bin: 100%" in captured.err


@pytest.mark.parametrize(
    ("answers", "ranges"),
    [
        ([cut, whole], [None, "bytes=65536-"]),
        ([cut, ignores_range], [None, "bytes=65536-"]),
        ([status(503), status(429), whole], [None, None, None]),
        ([page, whole], [None, None]),
    ],
    ids=["resumed after a break", "begun anew where ranges are ignored", "retried", "wrong content once"],
)
def test_download_recovers(server: Server, tmp_path: Path, answers: list[Answer], ranges: list[str | None]) -> None:
    server.answers = answers
    assert _download.download(server.url, tmp_path / "file.bin", check).read_bytes() == CONTENT
    assert server.requests == ranges
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize(
    ("answer", "attempts", "reason"),
    [(status(404), 1, "404"), (status(500), 4, "500"), (page, 4, "its content is wrong"), (cut, 4, "IncompleteRead|ended after")],
    ids=["not found", "server error", "a page instead of the file", "always cut"],
)  # fmt: skip
def test_download_gives_up_with_a_clear_error(
    server: Server, tmp_path: Path, answer: Answer, attempts: int, reason: str
) -> None:
    server.answers = [answer]
    with pytest.raises(mlpq.DownloadError, match=reason) as caught:
        _download.download(server.url, tmp_path / "file.bin", check)
    assert str(caught.value).startswith(server.url)
    assert "MLPQ_DATA_DIR" in str(caught.value)
    assert len(server.requests) == attempts
    assert not (tmp_path / "file.bin").exists()


def test_two_that_start_together_download_once(server: Server, tmp_path: Path) -> None:
    server.answers = [whole]
    with ThreadPoolExecutor(4) as pool:
        paths = pool.map(lambda _: _download.download(server.url, tmp_path / "file.bin", check), range(4))
    assert all(path.read_bytes() == CONTENT for path in paths)
    assert len(server.requests) == 1


def test_every_source_is_named_when_none_answers(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answers = [status(404)]
    monkeypatch.delenv("MLPQ_DATA_DIR", raising=False)
    monkeypatch.setattr(datasets, "DEBIAN", tmp_path)
    monkeypatch.setattr(datasets, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(datasets, "IDX_URL", server.url + "/idx/")
    monkeypatch.setattr(datasets, "HDF5_URL", server.url + "/hdf5/")
    with pytest.raises(mlpq.DownloadError, match=r"/idx/train-images.*And .*/hdf5/fashion-mnist-784-euclidean.hdf5"):
        mlpq.load_dataset("fashion-mnist")
    with pytest.raises(mlpq.DownloadError, match=r"/hdf5/sift-128-euclidean.hdf5 could not be downloaded: 404"):
        mlpq.load_dataset("sift")


def test_a_foreign_file_is_not_kept(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.answers = [page]
    monkeypatch.setattr(datasets, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(datasets, "HDF5_URL", server.url + "/")
    with pytest.raises(mlpq.DownloadError, match="is not a data set in the ann-benchmarks layout"):
        mlpq.load_dataset("gist")
    assert not list(tmp_path.glob("*.hdf5*part")) + list(tmp_path.glob("*.hdf5"))
