"""Results tables, built from records and nothing else: published values beside ours."""

import html
import statistics
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

from whycluster.contract import files
from whycluster.runs import facts, fingerprint
from whycluster.runs.record import RecordError

NOT_FULL = ("quick", "interactive")
OWN_TABLES = "00-your-table"
OPENING, CLOSING = "<!-- results -->", "<!-- /results -->"
DASH = "–"
MARK, EARLIER = "†", "made by an earlier version"


@dataclass(frozen=True)
class Cell:
    """One result, as text.

    Attributes
    ----------
    ours : str
        Mean and sample standard deviation over the seeds.
    published, difference : str
        The published value and ours minus it; empty where nothing was published.
    missing : str
        Over how many seeds, where some gave no value; else empty.
    note : int
        Number of its note in the table, 0 for none.
    """

    ours: str
    published: str
    difference: str
    missing: str
    note: int


@dataclass(frozen=True)
class Line:
    """One method on one data set in one run.

    Attributes
    ----------
    method : str
    seeds : int
    run : str
        ``<notebook>/<run>`` that recorded it.
    cells : dict of str to Cell
        By metric; a metric that was not recorded is absent.
    is_earlier : bool
        Whether the sources have changed since.
    """

    method: str
    seeds: int
    run: str
    cells: dict[str, Cell] = field(default_factory=dict)
    is_earlier: bool = False

    @property
    def run_name(self) -> str:
        """The run without its notebook."""
        return self.run.rsplit("/", 1)[1]

    @property
    def is_quick(self) -> bool:
        """Whether it comes from a run that is not of full scale."""
        return self.run_name in NOT_FULL

    @property
    def is_compared(self) -> bool:
        """Whether a value was published beside one of ours."""
        return any(cell.published for cell in self.cells.values())


@dataclass(frozen=True)
class Table:
    """A results table: lines by data set, one column per metric, all in order of appearance."""

    title: str
    metrics: list[str] = field(default_factory=list)
    datasets: dict[str, list[Line]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def is_quick(self) -> bool:
        """Whether no full-scale run has contributed."""
        return all(line.is_quick for lines in self.datasets.values() for line in lines)

    @property
    def is_earlier(self) -> bool:
        """Whether a run of an earlier version has contributed."""
        return any(line.is_earlier for lines in self.datasets.values() for line in lines)

    def compared(self) -> "Table":
        """Return the part that has published values: metrics and lines with one at least."""
        every = [line for lines in self.datasets.values() for line in lines]
        known = {name for line in every for name, cell in line.cells.items() if cell.published}
        datasets = {}
        for dataset, lines in self.datasets.items():
            if lines := [line for line in lines if line.is_compared]:
                datasets[dataset] = lines
        metrics = [metric for metric in self.metrics if metric in known]
        return replace(self, metrics=metrics, datasets=datasets)

    def add(self, row: dict, run: str, is_earlier: bool) -> None:
        """Enter one recorded row of a run."""
        metric = f"{row['metric']} ({row['unit']})" if row["unit"] else row["metric"]
        if metric not in self.metrics:
            self.metrics.append(metric)
        if row["note"] and row["note"] not in self.notes:
            self.notes.append(row["note"])
        note = self.notes.index(row["note"]) + 1 if row["note"] else 0
        line = self._line(row, metric, run, is_earlier)
        line.cells[metric] = cell(row, note)

    def _line(self, row: dict, metric: str, run: str, is_earlier: bool) -> Line:
        """Return the line of this method and run that has no value for the metric yet."""
        lines = self.datasets.setdefault(row["dataset"], [])
        for line in lines:
            if (line.method, line.run) == (row["method"], run) and metric not in line.cells:
                return line
        lines.append(Line(row["method"], len(row["values"]), run, is_earlier=is_earlier))
        return lines[-1]


def full_records(outputs: Path) -> list[dict]:
    """Read the records of all full-scale runs: those of ``parameters/``, never quick ones.

    Raises
    ------
    RecordError
        If one of them is damaged; it is named.
    """
    return [
        _record(path)
        for path in sorted(outputs.glob("*/*/record.json"))
        if path.parent.name not in NOT_FULL and path.parts[-3] != OWN_TABLES
    ]


def tables(records: list[dict], earlier: Collection[str] = ()) -> list[Table]:
    """Group the results of several runs by table.

    Parameters
    ----------
    records : list of dict
        Finished records; the order of runs is the order of lines.
    earlier : collection of str
        Runs that were made by an earlier version.

    Returns
    -------
    list of Table
        In order of appearance.
    """
    found: dict[str, Table] = {}
    for record in records:
        run = name(record)
        for row in record["results"]:
            table = found.setdefault(row["table"], Table(row["table"]))
            table.add(row, run, run in earlier)
    return list(found.values())


def name(record: dict) -> str:
    """Return ``<notebook>/<run>``."""
    return f"{record['notebook']}/{record['run']}"


def cell(row: dict, note: int = 0) -> Cell:
    """Write one recorded row as text, all its numbers with the same decimals."""
    values = [value for value in row["values"] if value is not None]
    mean = statistics.fmean(values) if values else None
    deviation = statistics.stdev(values) if len(values) > 1 else None
    published = row["published"]
    is_count = published is None and all(type(value) is int for value in values)
    decimals = 0 if is_count else _decimals(published if published is not None else mean)
    is_comparable = mean is not None and published is not None
    beside = _number(published, row["published_sd"], decimals) if published is not None else ""
    return Cell(
        ours=_number(mean, deviation, decimals),
        published=beside,
        difference=_signed(mean - published, decimals) if is_comparable else "",
        missing=_missing(len(row["values"]), len(values)),
        note=note,
    )


def number(value: float) -> str:
    """Write a value with about three digits.

    Examples
    --------
    >>> [number(value) for value in (-0.1234, 1.234, 99.94)]
    ['−0.123', '1.23', '99.9']
    """
    return _number(value, None, _decimals(value))


def markdown(records: list[dict], root: Path = Path()) -> str:
    """Write what can be compared with published values in Markdown, for the README.

    Methods and metrics that nobody published are left to the reports, which are linked.

    Parameters
    ----------
    records : list of dict
        Finished records.
    root : Path
        Repository, whose sources say which runs were made by an earlier version.
    """
    if not records:
        return "No full-scale run has been recorded yet."
    earlier = fingerprint.earlier(records, root)
    compared = (table.compared() for table in tables(records, earlier))
    blocks = [_markdown_table(table) for table in compared if table.metrics]
    footnote = [f"{MARK} {EARLIER}"] if any(MARK in block for block in blocks) else []
    return "\n\n".join([*blocks, *footnote, _links(records)])


def update(readme: Path, block: str) -> bool:
    """Replace what stands between the two result marks of a file.

    Parameters
    ----------
    readme : Path
        A file with the lines ``<!-- results -->`` and ``<!-- /results -->``.
    block : str
        What goes between them.

    Returns
    -------
    bool
        Whether the file changed.

    Raises
    ------
    RecordError
        If the marks are missing.
    """
    text = readme.read_text(encoding="utf-8")
    if text.count(OPENING) != 1 or text.count(CLOSING) != 1:
        raise RecordError(f"{readme}: needs one line '{OPENING}' and one line '{CLOSING}'")
    before, rest = text.split(OPENING)
    after = rest.split(CLOSING)[1]
    replaced = f"{before}{OPENING}\n{block}\n{CLOSING}{after}"
    if replaced != text:
        files.write(readme, replaced)
    return replaced != text


def _record(path: Path) -> dict:
    try:
        return facts.finished(path)
    except facts.DamagedError as error:
        raise RecordError(f"{path.parent}: {error}; run it again, or restore it") from None


def _decimals(value: float | None) -> int:
    """Choose decimals that show about three digits."""
    size = abs(value) if value is not None else 0
    return 1 if size >= 10 else 2 if size >= 1 else 3


def _number(value: float | None, deviation: float | None, decimals: int) -> str:
    if value is None:
        return DASH
    spread = f" ± {deviation:.{decimals}f}" if deviation is not None else ""
    return f"{value:.{decimals}f}{spread}".replace("-", "−")


def _signed(value: float, decimals: int) -> str:
    rounded = round(value, decimals)
    return f"{rounded:+.{decimals}f}".replace("-", "−") if rounded else f"{0:.{decimals}f}"


def _missing(n_recorded: int, n_values: int) -> str:
    return f"{n_values} of {n_recorded} seeds" if n_values < n_recorded else ""


def _markdown_table(table: Table) -> str:
    """Write one table, notes below."""
    rows = [["data set", "method", *map(_escape, table.metrics), "seeds"]]
    rows += [["---"] * 2 + ["---:"] * (len(table.metrics) + 1)]
    for dataset, lines in table.datasets.items():
        pairs = zip(_names(dataset, lines), lines, strict=True)
        rows += [_markdown_row(name, line, table.metrics) for name, line in pairs]
    body = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    notes = "".join(f"\n\n<sup>{i}</sup> {_escape(n)}" for i, n in enumerate(table.notes, 1))
    return f"**{_escape(table.title)}**, published values in brackets\n\n{body}{notes}"


def _names(dataset: str, lines: list[Line]) -> list[str]:
    """Name a data set on its first line, or on the first of each of several runs, with the run.

    A run of an earlier version carries the mark.
    """
    runs = [line.run for line in lines]
    first = [run != before for before, run in pairwise(["", *runs])]
    several = len(set(runs)) > 1
    marks = [f" {MARK}" if line.is_earlier else "" for line in lines]
    names = [f"{dataset} ({line.run_name})" if several else dataset for line in lines]
    shown = zip(names, marks, first, strict=True)
    return [name + mark if is_first else "" for name, mark, is_first in shown]


def _links(records: list[dict]) -> str:
    links = ", ".join(f"[{_escape(run)}](outputs/{run}/report.ipynb)" for run in map(name, records))
    return f"Executed reports, with all that was measured: {links}."


def _markdown_row(dataset: str, line: Line, metrics: list[str]) -> list[str]:
    cells = [_markdown_cell(line.cells.get(metric)) for metric in metrics]
    return [_escape(dataset), _escape(line.method), *cells, str(line.seeds)]


def _markdown_cell(cell: Cell | None) -> str:
    if cell is None:
        return ""
    published = f" ({cell.published})" if cell.published else ""
    missing = f", {cell.missing}" if cell.missing else ""
    note = f" <sup>{cell.note}</sup>" if cell.note else ""
    return f"{cell.ours}{published}{missing}{note}"


def _escape(text: str) -> str:
    """Escape what would end a Markdown cell or start HTML."""
    return html.escape(text, quote=False).replace("|", "\\|").replace("\n", " ")
