"""Note the versions with which outputs were stored: `make lock`.

    python book/lock.py FILE

What `requirements.txt` asks for and all that this brings along, as installed
here. To read old outputs on the same ground: `pip install -r FILE`.
"""

import platform
import re
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
HEAD = """\
# Exact versions with which the stored outputs were made, on Python {python},
# {system}. Written by `make lock`; what may be installed: requirements.txt.
"""


def asked() -> list[Requirement]:
    """Return what requirements.txt asks for, but for the package itself."""
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    named = [line.split("#")[0].strip() for line in lines]
    return [Requirement(line) for line in named if re.match(r"\w", line)]


def installed() -> dict[str, str]:
    """Return name and version of all that is asked for, and what it needs."""
    found: dict[str, str] = {}
    waiting = asked()
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        if name in found:
            continue
        found[name] = metadata.version(name)
        for line in metadata.requires(name) or []:
            need = Requirement(line)
            extras = wanted.extras or {""}
            if need.marker is None or any(
                need.marker.evaluate({"extra": extra}) for extra in extras
            ):
                waiting.append(need)
    return dict(sorted(found.items()))


if __name__ == "__main__":
    head = HEAD.format(
        python=platform.python_version(), system=platform.system()
    )
    lines = [f"{name}=={version}\n" for name, version in installed().items()]
    Path(sys.argv[1]).write_text(head + "".join(lines))
