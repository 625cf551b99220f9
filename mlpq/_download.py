"""Downloads: to a file beside the target, resumed after a break, checked, then renamed; two processes download once."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

import requests
from filelock import FileLock
from tqdm.auto import tqdm

log = logging.getLogger(__name__)

ATTEMPTS = 4
TIMEOUT = (10, 60)  # seconds to connect, seconds without a byte
CHUNK = 1 << 16


class DownloadError(OSError):
    """A download that did not succeed: names the address, the reason and what to do instead."""


def download(url: str, target: Path, check: Callable[[Path], object]) -> Path:
    """Fetch `url` to `target` unless it is there, with a progress bar on stderr.

    Args:
        check: raises ValueError when the complete file is not what it should be.

    Raises:
        DownloadError: after several attempts; `target` is as it was.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    with FileLock(target.with_name(target.name + ".lock")):
        if target.exists():  # another process was faster
            return target
        for attempt in range(ATTEMPTS):
            try:
                _fetch(url, part)
                check(part)
                return part.replace(target)
            except (requests.RequestException, OSError, ValueError) as error:
                reason = error
            if isinstance(reason, ValueError):  # complete but wrong: start afresh
                part.unlink(missing_ok=True)
            log.info("attempt %d of %d for %s: %s", attempt + 1, ATTEMPTS, url, reason)
            if _is_final(reason):
                break
            time.sleep(2**attempt if attempt + 1 < ATTEMPTS else 0)
    raise DownloadError(
        f"{url} could not be downloaded: {reason}. Put the file into a folder and name that folder in MLPQ_DATA_DIR, "
        f"or use the embedded data set: load_dataset('fashion-mnist-20k')"
    ) from reason


def _fetch(url: str, part: Path) -> None:
    """Append to `part` what it lacks of `url`."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(url, stream=True, timeout=TIMEOUT, headers=headers) as response:
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            return  # `part` is whole already, or wrong: the check tells
        response.raise_for_status()
        resumed = response.status_code == requests.codes.partial_content
        have = have if resumed else 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        with (
            part.open("ab" if resumed else "wb") as file,
            tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=part.stem) as bar,
        ):
            for chunk in response.iter_content(CHUNK):
                bar.update(file.write(chunk))
    if total is not None and part.stat().st_size < total:
        raise OSError(f"the connection ended after {part.stat().st_size} of {total} bytes")


def _is_final(reason: Exception) -> bool:
    """Return whether a further attempt is pointless: the server's own no, other than 'too many requests'."""
    response = getattr(reason, "response", None)
    return response is not None and 400 <= response.status_code < 500 and response.status_code != 429
