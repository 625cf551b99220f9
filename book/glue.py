"""Numbers for the text, as `myst_nb.glue` puts them there, at no cost.

`glue("name", value, display=False)` in a cell, and {glue:text}`name` in prose:
the build looks for such outputs. To import `myst_nb.glue` takes a kernel more
than a second, for what reads and checks notebooks.
"""

from typing import Any

from IPython import get_ipython
from IPython.display import display as show

HIDDEN = "application/papermill.record/"


def glue(name: str, variable: Any, display: bool = True) -> None:
    """Keep what a cell would show of a variable under a name."""
    shown, metadata = get_ipython().display_formatter.format(variable)
    prefix = "" if display else HIDDEN
    metadata["scrapbook"] = {"name": name, "mime_prefix": prefix}
    data = {prefix + kind: form for kind, form in shown.items()}
    show(data, raw=True, metadata=metadata)
