"""The command line behind the Makefile: ``python -m whycluster.runs``.

Exit status 0: done; 1: the run failed; 2: nothing was started, because what was asked for is
wrong. Errors are one line.
"""

import argparse
import hashlib
import os
import sys
from pathlib import Path
from typing import NoReturn

try:
    from whycluster.runs import execution, folder, parameters, record, resources, results, site
except RuntimeError as error:  # of pathlib: jupyter looks for the home folder when imported
    print(f"error: {error} Set HOME to a folder that can be written to.", file=sys.stderr)
    sys.exit(2)

OWN_TABLE = Path("notebooks") / f"{results.OWN_TABLES}.ipynb"
RESERVED = ("quick", "interactive")
REFUSALS = (parameters.ParameterError, record.RecordError, resources.ResourceError)
A_DAY, FOUR_HOURS = 86_400, 14_400  # seconds; no run may take for ever


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status."""
    options = _parser().parse_args(arguments)
    try:
        return options.command(options) or 0
    except REFUSALS as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (execution.RunError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("error: stopped by SIGINT", file=sys.stderr)
        return 1


def execute(options: argparse.Namespace) -> None:
    """Execute one run of one notebook."""
    name = f"{options.notebook.stem}/{options.run}"
    file = options.parameters
    given = parameters.read(file) if file else {}
    _say(f"{name}: started")
    try:
        report = execution.execute(
            options.notebook,
            options.run,
            given,
            source=str(file),
            timeout=options.timeout,
            on_wait=lambda: _say(f"{name}: waiting for another process that is executing it"),
        )
    except execution.RunError as error:
        raise execution.RunError(f"{name}: {error}") from None
    _say(f"{name}: {report}")
    _say_kept(report.parent)
    if options.run not in RESERVED and report.stat().st_size > execution.MAX_REPORT:
        print(f"warning: {report} is larger than 500 KB; show fewer figures", file=sys.stderr)


def cluster(options: argparse.Namespace) -> None:
    """Cluster a user's own table and say where the answers are."""
    data = _table_file(options.data)
    given = {"data": str(data)} | ({"n_clusters": options.k} if options.k is not None else {})
    origin = _origin(data)
    place = options.out or _own_folder(data, origin)
    before = folder.mark(place)
    try:
        execution.execute(
            OWN_TABLE,
            place.name,
            given,
            source="cluster",
            timeout=options.timeout,
            folder=place,
            known=_spellings(data),
            origin=origin,
            finish=(lambda made: site.build_page(made, OWN_TABLE.stem)) if options.out else None,
        )
    except execution.CellError as error:
        raise execution.RunError(error.reason) from None
    if not options.out:
        site.build(record.outputs())
    if before and before.get("status") == "done":
        _say(f"replaced: the run of {site.moment(before.get('started'))} on {_named(before)}")
    _say_kept(place)
    for name in (folder.PAGE, "assignments.csv", "explanations.csv"):
        _say(str(place / name))


def report(options: argparse.Namespace) -> None:
    """Build the report site."""
    _say(str(site.build(record.outputs())))


def table(options: argparse.Namespace) -> None:
    """Print the results tables of full-scale runs, or update them in a README."""
    block = results.markdown(results.full_records(record.outputs()))
    if options.update is None:
        _say(block)
    else:
        changed = results.update(options.update, block)
        _say(f"{options.update}: {'updated' if changed else 'up to date'}")


def clean(options: argparse.Namespace) -> None:
    """Remove what runs have made, but for the records and reports of full-scale runs."""
    for line in folder.clean(record.outputs(), kept=_is_full):
        _say(line)


def _is_full(notebook: str, run: str) -> bool:
    """Say whether the record and the report of a run are to be kept."""
    return run not in results.NOT_FULL and notebook != results.OWN_TABLES


def _table_file(given: str) -> Path:
    """Return the file of a table, once it is sure that there is something to read.

    Raises
    ------
    ParameterError
        If it is missing, empty, or no file.
    """
    if not given:
        raise parameters.ParameterError("which table? make cluster DATA=table.csv")
    data = Path(given) if Path(given).exists() else Path(given).expanduser()
    if data.is_dir():
        raise parameters.ParameterError(f"{data} is a folder: give the file inside it")
    if not data.exists():
        raise parameters.ParameterError(f"{data}: no such file; check the name and the folder")
    if not os.access(data, os.R_OK):
        raise parameters.ParameterError(f"{data} cannot be read: check its permissions")
    if data.is_file() and not data.stat().st_size:
        raise parameters.ParameterError(f"{data} is empty: a table needs column names and rows")
    return data


def _origin(data: Path) -> str:
    """Tell a table from others of its name without saying where it lies."""
    return hashlib.sha256(os.fsencode(os.path.realpath(data))).hexdigest()[:12]


def _own_folder(data: Path, origin: str) -> Path:
    """Name the folder after the table; a second table of the same name gets a longer one."""
    name = folder.plain(data.stem)
    name = f"{name}-table" if name in RESERVED else name
    place = record.outputs() / results.OWN_TABLES / name
    taken = folder.mark(place)
    return (
        place.with_name(f"{name}-{origin[:8]}")
        if taken and taken.get("origin") != origin
        else place
    )


def _spellings(data: Path) -> dict[str, str]:
    """List the ways to write the path of a table; its name stands for all of them."""
    ways = {str(data), os.path.abspath(data), os.path.realpath(data)}
    return {way: data.name for way in ways if way != data.name}


def _say_kept(place: Path) -> None:
    """Say which files of a user's had to go elsewhere because the run has taken their names."""
    for name in (folder.mark(place) or {}).get("kept", []):
        _say(f"kept: {place / name}, which no run had made, is in {place / folder.KEPT}")


def _named(facts: dict) -> str:
    """Say on which table a run was made, and with how many clusters."""
    count = facts.get("extra", {}).get("n_clusters")
    table = facts.get("parameters", {}).get("data") or "its own example"
    return f"{table} ({count} clusters)" if count else table


def _say(text: str) -> None:
    """Print a line, as long as there is somebody to read it; a run does not depend on that."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        print(f"error: {message}", file=sys.stderr)
        sys.exit(2)


def _count(text: str) -> int:
    """Read a number of clusters."""
    if not text.isdecimal() or int(text) < 2:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of clusters; give 2 or more")
    return int(text)


def _folder(text: str) -> Path:
    """Read the name of a folder, which must have one of its own."""
    path = Path(text)
    return path if path.name not in ("", "..") else path.resolve()


def _seconds(text: str) -> float:
    """Read a time limit."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return seconds


def _add_timeout(command: argparse.ArgumentParser, default: int) -> None:
    help = f"seconds that the run may take, {default} if not given"
    command.add_argument("--timeout", type=_seconds, default=default, help=help)


def _parser() -> argparse.ArgumentParser:
    """Declare the commands."""
    parser = _Parser(prog="python -m whycluster.runs", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")

    command = commands.add_parser("execute", help=execute.__doc__)
    command.set_defaults(command=execute)
    command.add_argument("notebook", type=Path)
    command.add_argument("--run", required=True, help="name of the run, such as quick")
    command.add_argument("--parameters", type=Path, help="YAML file of what the run changes")
    _add_timeout(command, A_DAY)

    command = commands.add_parser("cluster", help=cluster.__doc__)
    command.set_defaults(command=cluster)
    command.add_argument("data", help="a CSV, TSV or Parquet file")
    command.add_argument("--k", type=_count, help="number of clusters; chosen if not given")
    command.add_argument("--out", type=_folder, help="folder for the results")
    _add_timeout(command, FOUR_HOURS)

    command = commands.add_parser("clean", help=clean.__doc__)
    command.set_defaults(command=clean)

    command = commands.add_parser("report", help=report.__doc__)
    command.set_defaults(command=report)

    command = commands.add_parser("table", help=table.__doc__)
    command.set_defaults(command=table)
    command.add_argument("--update", type=Path, metavar="README", help="file to update")
    return parser


if __name__ == "__main__":
    sys.exit(main())
