"""What the first page of the site shows: a finding of each system, and all reports by system."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whycluster.runs import notebooks
from whycluster.runs.headline import Headline, headline, thumbnail


@dataclass(frozen=True)
class System:
    """A published system, whose notebooks begin with the same digit.

    Attributes
    ----------
    digit, name, about : str
        The digit; what it is called, and what it does.
    finding : str
        The notebook whose first full-scale run stands for it.
    """

    digit: str
    name: str
    about: str
    finding: str


SYSTEMS = (
    System("1", "IDC", "deep clusters with a gate on every feature", "10-idc-synthetic"),
    System("2", "NeurCAM", "clusters as sums of small functions", "23-neurcam-shapes"),
    System("3", "BRB", "soft resets for deep clustering", "30-brb-autoencoder"),
    System("4", "ClustRecNet", "which algorithm suits a table", "42-recommender-evaluation"),
    System("5", "Gower and IMN", "mixed tables, and a target by cluster", "51-imn-clusters"),
    System("0", "Your own tables", "one report for each", ""),
)


@dataclass(frozen=True)
class Entry:
    """A finished full-scale run as the first page shows it.

    Attributes
    ----------
    page : Page
        The run, as the site knows it.
    headline : Headline or None
        What it found.
    thumbnail : str
        A small figure of its results as a ``data:`` address; else empty.
    """

    page: Any
    headline: Headline | None
    thumbnail: str


def entries(pages: Iterable) -> list[tuple[System, list[Entry]]]:
    """Group the finished full-scale runs by system; a system without one is left out.

    Runs of notebooks that belong to no system come last.
    """
    done = [page for page in pages if page.status == "done" and page.run != "quick"]
    digits = [system.digit for system in SYSTEMS]
    other = [page for page in done if page.notebook[0] not in digits]
    found = [(s, [p for p in done if p.notebook[0] == s.digit]) for s in SYSTEMS]
    found.append((System("", "Other notebooks", "", ""), other))
    return [(system, [_entry(page) for page in runs]) for system, runs in found if runs]


def findings(groups: list[tuple[System, list[Entry]]]) -> list[tuple[System, Entry]]:
    """Choose the run that stands for each system: most published values, then the latest."""
    chosen = []
    for system, runs in groups:
        fitting = [e for e in runs if e.page.notebook == system.finding and e.headline]
        if fitting:
            chosen.append((system, max(fitting, key=_standing)))
    return chosen


def _entry(page) -> Entry:
    return Entry(page, headline(page.facts), _thumbnail(page.notebook_file))


def _standing(entry: Entry) -> tuple[int, str]:
    points = entry.headline.points if entry.headline else []
    published = sum(point.published is not None for point in points)
    return published, str(entry.page.facts.get("started", ""))


def _thumbnail(notebook: Path) -> str:
    """Shrink a figure of a notebook; nothing where it has none that can be read."""
    try:
        return thumbnail(notebooks.read(notebook))
    except Exception:  # of many kinds; a picture less is no reason to stop
        return ""
