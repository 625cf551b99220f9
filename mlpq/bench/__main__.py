"""The command line: `python -m mlpq.bench ratios|compare|sweep|scale|codecs|arena|disk|plan|machines|sample|training|cells`."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from typing import TypeAlias

from mlpq.bench import arena, cells, codecs, disk, figure, machines, plan, report, sample, scale, sweep, training
from mlpq.bench.cases import ARENA, KINDS
from mlpq.bench.compare import compare
from mlpq.bench.ratios import ratios
from mlpq.data.datasets import load_dataset

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark that the command line names; what was wrong with it is one line on stderr."""
    logging.basicConfig(format="%(message)s")
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(prog="python -m mlpq.bench", description="Benchmarks of mlpq and its peers.")
    commands = parser.add_subparsers(
        required=True, metavar="ratios|compare|sweep|scale|codecs|arena|disk|plan|machines|sample|training|cells"
    )
    for add in (
        _add_ratios, _add_compare, _add_sweep, _add_scale, _add_codecs, _add_arena, _add_disk, _add_plan, _add_machines,
        _add_sample, _add_training, _add_cells,
    ):  # fmt: skip
        add(commands)
    args = parser.parse_args(arguments)
    args.command_line = arguments
    try:
        args.run(args)
    except (ValueError, OSError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    except RuntimeError as error:
        parser.exit(1, f"{parser.prog}: {error}\n")
    except KeyboardInterrupt:
        parser.exit(130, "\ninterrupted: the same command goes on where this one stopped\n")


def _command(commands: Commands, name: str, description: str, output: str | None) -> argparse.ArgumentParser:
    """Add a command with the options that all have."""
    command: argparse.ArgumentParser = commands.add_parser(name, help=description, description=description)
    command.add_argument(
        "--threads", type=_positive, default=2, help="threads for batches and builds (default: %(default)s)"
    )
    command.add_argument("--runs", type=_positive, default=5, help="counted runs (default: %(default)s)")
    if output:
        command.add_argument(
            "--output", default=output, help="JSON file to write or to go on with (default: %(default)s)"
        )
        command.add_argument("--report", action="store_true", help="measure nothing: only read the file")
        command.add_argument("--quiet", action="store_true", help="no progress bar")
    return command


def _recorded(measure: Callable[[argparse.Namespace], None], show: Callable[[str], str]) -> Callable[..., None]:
    """Return a command that measures, unless only the report is wanted, and prints the report."""

    def run(args: argparse.Namespace) -> None:
        if not args.report:
            measure(args)
        print(show(args.output))
        if getattr(args, "figure", None):
            figure.save(args.output, args.figure)

    return run


def _add_ratios(commands: Commands) -> None:
    command = _command(commands, "ratios", "Print the ratios of speed that the design rests on.", None)
    _add_dataset(command)
    command.set_defaults(run=lambda args: ratios(load_dataset(args.dataset), args))


def _add_compare(commands: Commands) -> None:
    description = "Measure ours and its peers side by side: recall, speed, latency, build time, bytes, memory."
    command = _command(commands, "compare", description, "book/recorded/compare.json")
    _add_dataset(command)
    command.add_argument("--only", default="", metavar="REGEX", help="only engines whose name, or family, matches")
    command.add_argument("--queries", type=_positive, help="only the first so many queries")
    command.add_argument("--figure", metavar="PATH", help="draw recall against speed to a .png or .svg file")
    command.set_defaults(run=_recorded(compare, report.report))


def _add_sweep(commands: Commands) -> None:
    description = "Measure ours with every m, nbits, owner of codebooks, nprobe and rerank."
    command = _command(commands, "sweep", description, "book/recorded/sweep.json")
    _add_dataset(command)
    for name, default in sweep.GRID.items():
        kind = str if isinstance(default[0], str) else int
        shown = " ".join(map(str, default))
        command.add_argument(f"--{name}", nargs="+", type=kind, default=list(default), help=f"(default: {shown})")
    command.set_defaults(run=_recorded(sweep.sweep, sweep.report))


def _add_scale(commands: Commands) -> None:
    description = (
        "Measure ours from 10^4 to 10^7 vectors: seconds of each part of a build, bytes, memory, speed, recall."
    )
    command = _command(commands, "scale", description, "book/recorded/scale.json")
    command.add_argument("--dataset", default="wordnet", help="whose vectors are grown (default: %(default)s)")
    command.add_argument("--sizes", nargs="+", type=_positive, default=list(scale.SIZES), help="numbers of vectors")
    command.add_argument("--folder", help="keep vectors and indexes here, 4 GB (default: a temporary folder)")
    command.add_argument("--note", help="what else should be known of this run, such as that the machine was not quiet")
    command.set_defaults(run=_recorded(scale.scale, scale.report), runs=3)


def _add_codecs(commands: Commands) -> None:
    description = "Measure every codec in the same index, at the same bytes, beside Faiss's: distortion, recall, speed."
    command = _command(commands, "codecs", description, "book/recorded/codecs.json")
    _add_sets_and_codecs(command, list(KINDS), 2000)
    command.set_defaults(run=_recorded(codecs.codecs, codecs.report), runs=3)


def _add_arena(commands: Commands) -> None:
    description = "Measure every codec in the same index at seven budgets: recall as found and after reranking, time."
    command = _command(commands, "arena", description, "book/recorded/contest.json")
    _add_sets_and_codecs(command, list(ARENA), 1000)
    command.set_defaults(run=_recorded(arena.arena, arena.report))


def _add_disk(commands: Commands) -> None:
    description = "Measure reads, bytes and latency of originals on a disk, in less memory than they take."
    command = _command(commands, "disk", description, "book/recorded/disk.json")
    _add_sets(command, list(disk.DATASETS))
    for name, default, what in (
        ("size", 3_800_000_000, "bytes of originals, at least"), ("memory", 1_000_000_000, "bytes that a process may take"),
        ("queries", 1000, "the first so many"),
    ):  # fmt: skip
        command.add_argument(f"--{name}", type=_positive, default=default, help=f"{what} (default: %(default)s)")
    command.add_argument("--target", type=float, default=0.9, help="recall to be found (default: %(default)s)")
    command.add_argument(
        "--folder", help="on the disk to measure: three times SIZE must be free (default: that of temporary files)"
    )
    command.set_defaults(run=_recorded(disk.disk, disk.report), runs=3, threads=1)


def _add_plan(commands: Commands) -> None:
    description = "Work a plan through: 10 million vectors in 1 GB at recall 0.95; a tenth is built, and watched."
    command = _command(commands, "plan", description, "book/recorded/plan.json")
    command.add_argument("--dataset", default="wordnet", help="whose vectors are grown (default: %(default)s)")
    sizes = list(plan.SIZES)
    command.add_argument("--sizes", nargs="+", type=_positive, default=sizes, help="three (default: those of the book)")
    command.add_argument("--queries", type=_positive, default=1000, help="(default: %(default)s)")
    command.add_argument("--folder", help="keep the vectors here, 3 GB (default: a temporary folder)")
    command.set_defaults(run=_recorded(plan.plan, plan.report))


def _add_machines(commands: Commands) -> None:
    description = (
        "Build one index in shards on 1, 2, 4, ... workers of this machine: time, bytes sent, memory, queries."
    )
    command = _command(commands, "machines", description, "book/recorded/machines.json")
    command.add_argument("--vectors", type=_positive, default=machines.N, help="to build of (default: %(default)s)")
    command.set_defaults(run=_recorded(machines.machines, machines.report), runs=3, threads=1)


def _add_sample(commands: Commands) -> None:
    description = "Measure how much better a sample of the base looks than the whole, with the same settings."
    command = _command(commands, "sample", description, "book/recorded/sample.json")
    _add_sets(command, list(sample.DATASETS))
    command.add_argument("--queries", type=_positive, default=1000, help="the first so many (default: %(default)s)")
    command.set_defaults(run=_recorded(sample.sample, sample.report))


def _add_training(commands: Commands) -> None:
    description = "Measure what fewer training vectors for each centroid cost: error over the whole base, seconds."
    command = _command(commands, "training", description, "book/recorded/training.json")
    _add_sets(command, list(training.DATASETS))
    command.set_defaults(run=_recorded(training.training, training.report), runs=2)


def _add_cells(commands: Commands) -> None:
    description = "Measure how the nearest of thousands of cells are found: all centroids, two levels, a graph."
    command = _command(commands, "cells", description, "book/recorded/cells.json")
    _add_sets(command, list(cells.DATASETS))
    command.add_argument("--cells", nargs="+", type=_positive, default=list(cells.CELLS), help="numbers of cells")
    command.set_defaults(run=_recorded(cells.cells, cells.report), runs=3)


def _add_sets(command: argparse.ArgumentParser, sets: list[str]) -> None:
    command.add_argument("--datasets", nargs="+", default=sets, help=f"as in load_dataset (default: {' '.join(sets)})")


def _add_sets_and_codecs(command: argparse.ArgumentParser, kinds: list[str], queries: int) -> None:
    _add_sets(command, list(codecs.DATASETS))
    command.add_argument("--codecs", nargs="+", default=kinds, help=f"(default: {' '.join(kinds)})")
    command.add_argument("--queries", type=_positive, default=queries, help="the first so many (default: %(default)s)")
    command.add_argument("--limit", type=_positive, help="only the first so many vectors")


def _add_dataset(command: argparse.ArgumentParser) -> None:
    command.add_argument("--dataset", default="fashion-mnist", help="as in load_dataset (default: %(default)s)")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1; got {text!r}")
    return int(text)


if __name__ == "__main__":
    main()
