"""Downloads: to a file beside the target, resumed after a break, checked, then renamed; two processes download once."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO, NoReturn

import requests
from filelock import FileLock
from tqdm.auto import tqdm
from urllib3.exceptions import HTTPError

log = logging.getLogger(__name__)

ATTEMPTS = 4
TIMEOUT = (10, 60)  # seconds to connect, seconds without a byte
PATIENCE, SLOWEST = 60, 1000  # after so many seconds an attempt must have brought so many bytes for each of them
LONGEST_WAIT = 60  # seconds between attempts, whatever the server asks for
CHUNK = 1 << 16
HOPELESS = (requests.TooManyRedirects, requests.exceptions.InvalidSchema, requests.exceptions.InvalidURL)
WORTH_ANOTHER = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}  # of the server's refusals, 4xx


class DownloadError(OSError):
    """A download that did not succeed: names the address, the reason and what to do instead."""


class Broken(HTTPError):
    """The server sent less than it promised, or too slowly; what came is kept."""


def download(url: str, target: Path, check: Callable[[Path], object], largest: int, *, progress: bool = False) -> Path:
    """Fetch `url` to `target` unless it is there.

    Args:
        check: raises ValueError when the complete file is not what it should be.
        largest: bytes; a larger file is not what it should be.
        progress: show a bar on stderr.

    Raises:
        DownloadError: after several attempts; `target` is as it was. What has arrived is kept beside it, and the next
            call goes on from there.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(target.name + ".lock")):
            if not target.exists():  # else another process was faster
                part = target.with_name(target.name + ".part")
                _attempt(url, part, check, largest, progress)
                part.replace(target)
        return target
    except (requests.RequestException, HTTPError, OSError, ValueError) as error:
        raise DownloadError(
            f"{url} could not be downloaded to {target}: {error}. Try again later, put the file into a folder and name "
            f"that folder in MLPQ_DATA_DIR, or use the embedded data set: load_dataset('fashion-mnist-20k')"
        ) from error


def _attempt(url: str, part: Path, check: Callable[[Path], object], largest: int, progress: bool) -> None:
    """Fetch `url` to `part` in several attempts, until the check is content."""
    wrong = 0
    for attempt in range(1, ATTEMPTS + 1):
        try:
            _fetch(url, part, largest, progress)
            check(part)
            return
        except (requests.RequestException, HTTPError) as error:
            reason: Exception = error
            last = attempt == ATTEMPTS or _is_final(error)
        except ValueError as error:  # complete but wrong: start afresh, once
            part.unlink(missing_ok=True)
            reason, wrong = error, wrong + 1
            last = attempt == ATTEMPTS or wrong == 2
        except OSError:  # a full disk, for instance
            part.unlink(missing_ok=True)
            raise
        log.info("attempt %d of %d for %s: %s", attempt, ATTEMPTS, url, reason)
        if last:
            raise reason
        time.sleep(_wait(reason, attempt))


def _fetch(url: str, part: Path, largest: int, progress: bool) -> None:
    """Append to `part` what it lacks of `url`."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(url, stream=True, timeout=TIMEOUT, headers=headers) as response:
        if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # `part` is whole already, or wrong: the check tells
        response.raise_for_status()
        resumed = response.status_code == HTTPStatus.PARTIAL_CONTENT
        if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            raise ValueError("the server answers with another part than it was asked for")
        have = have if resumed else 0
        length = response.headers.get("Content-Length", "")
        total = have + int(length) if length.isdecimal() else None
        with (
            part.open("ab" if resumed else "wb") as file,
            tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=part.stem, disable=not progress) as bar,
        ):
            _receive(response, file, bar, have, total, largest)
    if total is not None and part.stat().st_size < total:
        raise Broken(f"the connection ended after {part.stat().st_size} of {total} bytes")


def _receive(
    response: requests.Response, file: BinaryIO, bar: tqdm[NoReturn], have: int, total: int | None, largest: int
) -> None:
    """Write what comes, as it comes: waiting for full chunks would not notice a server that trickles."""
    started, received = time.monotonic(), 0
    response.raw.enforce_content_length = False  # what is missing, `_fetch` says in one sentence
    while chunk := response.raw.read1(CHUNK, decode_content=False):
        received += file.write(chunk)
        bar.update(len(chunk))
        seconds = time.monotonic() - started
        if max(have + received, total or 0) > largest:
            size = total or have + received
            raise ValueError(f"it has {size} bytes, more than the {largest} that it should have at most")
        if seconds > PATIENCE and received < SLOWEST * seconds:
            raise Broken(f"the server sends less than {SLOWEST} bytes a second")


def _is_final(reason: Exception) -> bool:
    """Return whether a further attempt is pointless: the server's own no, or an address that leads nowhere."""
    status = getattr(getattr(reason, "response", None), "status_code", 0)
    return isinstance(reason, HOPELESS) or (400 <= status < 500 and status not in WORTH_ANOTHER)


def _wait(reason: Exception, attempt: int) -> float:
    """Return the seconds before the next attempt: 1, 2, 4, or what the server asks for."""
    headers = getattr(getattr(reason, "response", None), "headers", {})
    asked = headers.get("Retry-After", "")
    return min(int(asked) if asked.isdecimal() else 2 ** (attempt - 1), LONGEST_WAIT)
