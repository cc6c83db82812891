"""The command line behind the Makefile: ``python -m whycluster.runs``.

Exit status 0: done; 1: the run failed; 2: nothing was started, because what was asked for is
wrong. Errors are one line.
"""

import argparse
import re
import sys
from pathlib import Path
from typing import NoReturn

from whycluster.runs import execution, parameters, record, results, site

OWN_TABLE = Path("notebooks") / f"{results.OWN_TABLES}.ipynb"
RESERVED = ("quick", "interactive")


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status."""
    options = _parser().parse_args(arguments)
    try:
        return options.command(options) or 0
    except (parameters.ParameterError, record.RecordError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (execution.RunError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def execute(options: argparse.Namespace) -> None:
    """Execute one run of one notebook."""
    name = f"{options.notebook.stem}/{options.run}"
    file = options.parameters
    given = parameters.read(file) if file else {}
    print(f"{name}: started", flush=True)
    try:
        report = execution.execute(
            options.notebook,
            options.run,
            given,
            source=str(file),
            timeout=options.timeout,
        )
    except execution.RunError as error:
        raise execution.RunError(f"{name}: {error}") from None
    print(f"{name}: {report}", flush=True)
    if options.run not in RESERVED and report.stat().st_size > execution.MAX_REPORT:
        print(f"warning: {report} is larger than 500 KB; show fewer figures", file=sys.stderr)


def cluster(options: argparse.Namespace) -> None:
    """Cluster a user's own table and say where the answers are."""
    if not options.data:
        raise parameters.ParameterError("which table? make cluster DATA=table.csv")
    given = {"data": options.data} | ({"n_clusters": options.k} if options.k is not None else {})
    folder = options.out or record.outputs() / results.OWN_TABLES / _run_name(options.data)
    try:
        execution.execute(OWN_TABLE, folder.name, given, source="cluster", folder=folder)
    except execution.CellError as error:
        raise execution.RunError(error.reason) from None
    page = site.build_page(folder, OWN_TABLE.stem) if options.out else folder / "report.html"
    if not options.out:
        site.build(record.outputs())
    for path in (page, folder / "assignments.csv", folder / "explanations.csv"):
        print(path)


def report(options: argparse.Namespace) -> None:
    """Build the report site."""
    print(site.build(record.outputs()))


def table(options: argparse.Namespace) -> None:
    """Print the results tables of full-scale runs, or update them in a README."""
    block = results.markdown(results.full_records(record.outputs()))
    if options.update is None:
        print(block)
    else:
        changed = results.update(options.update, block)
        print(f"{options.update}: {'updated' if changed else 'up to date'}")


def _run_name(data: str) -> str:
    """Name the run after its table."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(data).stem).strip(".-") or "table"
    return f"{stem}-table" if stem in RESERVED else stem


class _Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        print(f"error: {message}", file=sys.stderr)
        sys.exit(2)


def _parser() -> argparse.ArgumentParser:
    """Declare the four commands."""
    parser = _Parser(prog="python -m whycluster.runs", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")

    command = commands.add_parser("execute", help=execute.__doc__)
    command.set_defaults(command=execute)
    command.add_argument("notebook", type=Path)
    command.add_argument("--run", required=True, help="name of the run, such as quick")
    command.add_argument("--parameters", type=Path, help="YAML file of what the run changes")
    command.add_argument("--timeout", type=float, help="seconds that the run may take")

    command = commands.add_parser("cluster", help=cluster.__doc__)
    command.set_defaults(command=cluster)
    command.add_argument("data", help="a CSV, TSV or Parquet file")
    command.add_argument("--k", type=int, help="number of clusters; chosen if not given")
    command.add_argument("--out", type=Path, help="folder for the results")

    command = commands.add_parser("report", help=report.__doc__)
    command.set_defaults(command=report)

    command = commands.add_parser("table", help=table.__doc__)
    command.set_defaults(command=table)
    command.add_argument("--update", type=Path, metavar="README", help="file to update")
    return parser


if __name__ == "__main__":
    sys.exit(main())
