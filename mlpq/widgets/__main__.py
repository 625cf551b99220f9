"""Record the points of an explorer: what the book shows where no kernel runs.

    python -m mlpq.widgets NAME FILE [--texts | --dataset NAME] [--every N] [--threads N]

Each explorer is recorded on the data set that its class names, or its face for texts, unless told otherwise.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys

from threadpoolctl import threadpool_limits

from mlpq import widgets
from mlpq.bench import circumstances
from mlpq.data.datasets import load_dataset
from mlpq.storage import replacing


def main(arguments: list[str] | None = None) -> None:
    """Record the explorer that the command line names."""
    arguments = sys.argv[1:] if arguments is None else arguments
    explorers = {cls.explorer: cls for cls in widgets.EXPLORERS}
    parser = argparse.ArgumentParser(prog="python -m mlpq.widgets", description="Record the points of an explorer.")
    parser.add_argument("name", choices=sorted(explorers), help="explorer")
    parser.add_argument("file", help="JSON file to write")
    parser.add_argument("--dataset", help="as in load_dataset (default: the explorer's own)")
    parser.add_argument("--texts", action="store_true", help="its texts in the place of its images")
    parser.add_argument("--every", type=int, default=1, help="only each so-manieth point (default: all)")
    parser.add_argument("--threads", type=int, default=2, help="threads for each search (default: %(default)s)")
    args = parser.parse_args(arguments)
    cls = explorers[args.name]
    own = cls.face("wordnet") if args.texts else cls
    ds = load_dataset(args.dataset or own.dataset)
    cls = cls.face(ds.name)
    record = circumstances(ds, args.threads) | {"command": "python -m mlpq.widgets " + shlex.join(arguments)}
    with threadpool_limits(args.threads):
        record |= cls.record(ds, args.every)
    with replacing(args.file) as part:
        part.write_text(json.dumps(record, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
