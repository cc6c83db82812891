"""Results tables, built from records and nothing else: published values beside ours."""

import html
import statistics
from dataclasses import dataclass
from pathlib import Path

from whycluster.runs import files
from whycluster.runs.record import RecordError

NOT_FULL = ("quick", "interactive")
OWN_TABLES = "00-your-table"
OPENING, CLOSING = "<!-- results -->", "<!-- /results -->"
DASH = "–"


@dataclass(frozen=True)
class Line:
    """One line of a results table, as text.

    Attributes
    ----------
    method, metric, note : str
        As recorded; the metric with its unit.
    ours : str
        Mean and sample standard deviation over the seeds.
    seeds : str
        Over how many seeds, and how many gave no value.
    published, difference : str
        The published value, and ours minus it.
    run : str
        ``<notebook>/<run>`` that recorded it.
    """

    method: str
    metric: str
    ours: str
    seeds: str
    published: str
    difference: str
    note: str
    run: str


def full_records(outputs: Path) -> list[dict]:
    """Read the records of all full-scale runs: those of ``parameters/``, never quick ones."""
    found = (files.read_json(path) for path in sorted(outputs.glob("*/*/record.json")))
    return [
        record
        for record in found
        if record
        and record.get("run", "quick") not in NOT_FULL
        and record["notebook"] != OWN_TABLES
    ]


def tables(records: list[dict]) -> dict[str, dict[str, list[Line]]]:
    """Group the results of several runs by table.

    Parameters
    ----------
    records : list of dict
        Finished records; the order of runs is the order of lines.

    Returns
    -------
    dict of str to dict of str to list of Line
        Title of each table, name of each of its data sets, lines: in order of appearance.
    """
    grouped = {}
    for record in records:
        for row in record["results"]:
            datasets = grouped.setdefault(row["table"], {})
            datasets.setdefault(row["dataset"], []).append(_line(row, record))
    return grouped


def markdown(records: list[dict]) -> str:
    """Write every results table in Markdown, for the README."""
    blocks = [_markdown_table(title, datasets) for title, datasets in tables(records).items()]
    return "\n\n".join(blocks) if blocks else "No full-scale run has been recorded yet."


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


def _is_full(record: dict) -> bool:
    return record.get("run", "quick") not in NOT_FULL and record["notebook"] != OWN_TABLES


def _line(row: dict, record: dict) -> Line:
    """Write one recorded row as text, all its numbers with the same decimals."""
    values = [value for value in row["values"] if value is not None]
    mean = statistics.fmean(values) if values else None
    deviation = statistics.stdev(values) if len(values) > 1 else None
    published = row["published"]
    decimals = _decimals(published if published is not None else mean)
    is_comparable = mean is not None and published is not None
    return Line(
        method=row["method"],
        metric=f"{row['metric']} ({row['unit']})" if row["unit"] else row["metric"],
        ours=_number(mean, deviation, decimals),
        seeds=_seeds(len(row["values"]), len(values)),
        published=_number(published, row["published_sd"], decimals),
        difference=_signed(mean - published, decimals) if is_comparable else DASH,
        note=row["note"],
        run=f"{record['notebook']}/{record['run']}",
    )


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


def _seeds(n_recorded: int, n_values: int) -> str:
    if n_values < n_recorded:
        return f"{n_values} of {n_recorded} seeds"
    return f"{n_values} seed{'s' if n_values > 1 else ''}"


def _markdown_table(title: str, datasets: dict[str, list[Line]]) -> str:
    """Write one table, each data set named on its first line only."""
    head = ["data set", "method", "metric", "ours", "seeds", "published", "difference"]
    rows = [head, ["---"] * 3 + ["---:"] * 4]
    for dataset, lines in datasets.items():
        names = [dataset] + [""] * (len(lines) - 1)
        rows += [_markdown_row(name, line) for name, line in zip(names, lines, strict=True)]
    body = "\n".join("| " + " | ".join(map(_cell, row)) + " |" for row in rows)
    return f"**{_cell(title)}**\n\n{body}"


def _markdown_row(dataset: str, line: Line) -> list[str]:
    method = f"{line.method} ({line.note})" if line.note else line.method
    seeds = line.seeds.removesuffix("s").removesuffix(" seed")
    return [dataset, method, line.metric, line.ours, seeds, line.published, line.difference]


def _cell(text: str) -> str:
    """Escape what would end a Markdown cell or start HTML."""
    return html.escape(text, quote=False).replace("|", "\\|").replace("\n", " ")
