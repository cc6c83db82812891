"""What a run found, in a line and in a small picture, computed from its record."""

import base64
import io
import statistics
from collections import Counter
from dataclasses import dataclass

import nbformat
from PIL import Image, ImageStat

from whycluster.runs import results

SHOWN, TOLD = 6, 3  # methods in the picture, and in the line
THUMBNAIL = (240, 150)  # pixels


@dataclass(frozen=True)
class Point:
    """One method in the picture: names, and places from 0 to 1 along the axis.

    Attributes
    ----------
    method, ours : str
        Its name and its value, as text.
    mean, low, high : float
        Our mean, and one standard deviation to each side.
    published : float or None
        The published value.
    """

    method: str
    ours: str
    mean: float
    low: float
    high: float
    published: float | None


@dataclass(frozen=True)
class Headline:
    """The first question of a record: one metric on one data set, by method.

    Attributes
    ----------
    text : str
        The answer in a line.
    metric, dataset : str
        What was measured, and on what; a setting that all methods share stands beside it.
    points : list of Point
        The methods of the picture.
    low, high : str
        The ends of the axis.
    """

    text: str
    metric: str
    dataset: str
    points: list[Point]
    low: str
    high: str

    @property
    def has_published(self) -> bool:
        """Whether a published value is in the picture."""
        return any(point.published is not None for point in self.points)


def headline(facts: dict) -> Headline | None:
    """Choose what a record says first; None where it has no value at all.

    The metric is the one of the first table for which most values were published, else the first;
    the data set is a mean over several where there is one, else the first.
    """
    rows = [row for row in facts["results"] if any(v is not None for v in row["values"])]
    rows = [row for row in rows if row["table"] == rows[0]["table"]]
    if not rows:
        return None
    published = Counter(row["metric"] for row in rows if row["published"] is not None)
    metric = max(dict.fromkeys(row["metric"] for row in rows), key=lambda name: published[name])
    rows = [row for row in rows if row["metric"] == metric]
    datasets = list(dict.fromkeys(row["dataset"] for row in rows))
    dataset = next((name for name in datasets if name.startswith("mean of ")), datasets[0])
    return _of([row for row in rows if row["dataset"] == dataset])


def thumbnail(notebook: nbformat.NotebookNode) -> str:
    """Shrink the figure of a notebook that has most colour; an empty string where there is none.

    Returns
    -------
    str
        A PNG as a ``data:`` address.
    """
    outputs = (output for cell in notebook.cells for output in cell.get("outputs", []))
    figures = (output.get("data", {}).get("image/png") for output in outputs)
    small = [_shrunk(figure) for figure in figures if figure]
    if not small:
        return ""
    image = io.BytesIO()
    max(small, key=_ink).quantize(64, dither=Image.Dither.NONE).save(image, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(image.getvalue()).decode()}"


def _shrunk(figure: str) -> Image.Image:
    image = Image.open(io.BytesIO(base64.b64decode(figure))).convert("RGB")
    image.thumbnail(THUMBNAIL, Image.Resampling.BOX)
    return image


def _ink(image: Image.Image) -> float:
    """Return how dark an image is on average."""
    return 255 - ImageStat.Stat(image.convert("L")).mean[0]


def _of(rows: list[dict]) -> Headline:
    """Write the rows of one metric on one data set."""
    metric = f"{rows[0]['metric']} ({rows[0]['unit']})" if rows[0]["unit"] else rows[0]["metric"]
    tail = _shared_tail([row["method"] for row in rows[:SHOWN]])
    rows = [row | {"method": row["method"].removesuffix(tail)} for row in rows]
    dataset = rows[0]["dataset"] + tail
    said = [f"{row['method']} {_value(row)}" for row in rows[:TOLD]]
    more = f", and {len(rows) - TOLD} more" if len(rows) > TOLD else ""
    spans = [_span(row) for row in rows[:SHOWN]]
    ends = [
        end for span, row in zip(spans, rows, strict=False) for end in (*span, row["published"])
    ]
    low, high = (pick(end for end in ends if end is not None) for pick in (min, max))
    scale = (high - low) or 1
    places = [[round((end - low) / scale, 3) for end in span] for span in spans]
    points = [_point(row, low, scale, *place) for row, place in zip(rows, places, strict=False)]
    text = f"{metric} on {dataset}: {'; '.join(said)}{more}."
    return Headline(text, metric, dataset, points, results.number(low), results.number(high))


def _point(row: dict, start: float, scale: float, mean: float, low: float, high: float) -> Point:
    """Place a row on an axis that begins at `start` and is `scale` long."""
    published = row["published"]
    place = round((published - start) / scale, 3) if published is not None else None
    return Point(row["method"], results.cell(row).ours, mean, low, high, place)


def _shared_tail(methods: list[str]) -> str:
    """Return what all names have after a comma, so that it need be said once only.

    Examples
    --------
    >>> _shared_tail(["DEC, 0 epochs", "DEC+BRB, 0 epochs"])
    ', 0 epochs'
    >>> _shared_tail(["IMN, whole", "IMN, clusterwise"])
    ''
    """
    tails = {"".join(name.partition(", ")[1:]) for name in methods}
    return tails.pop() if len(tails) == 1 and len(methods) > 1 else ""


def _value(row: dict) -> str:
    """Write our value and, in brackets, the published one."""
    cell = results.cell(row)
    return f"{cell.ours} (published {cell.published})" if cell.published else cell.ours


def _span(row: dict) -> tuple[float, float, float]:
    """Return the mean of a row, and one standard deviation to each side."""
    values = [value for value in row["values"] if value is not None]
    mean = statistics.fmean(values)
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return mean, mean - spread, mean + spread
