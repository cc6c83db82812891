"""The report site, readable without a network.

``outputs/index.html`` is its entry, ``numbers.html`` has all tables of full-scale runs,
``quick.html`` the quick runs; each run has a page beside its notebook.
"""

import functools
import hashlib
import os
import re
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import filelock
import jinja2
from markupsafe import Markup

from whycluster.contract import files
from whycluster.runs import entry, execution, facts, fingerprint, notebooks, report, results

HERE = Path(__file__).parent
PAGES = ("index.html", "numbers.html", "quick.html")
RECORD = "record.json"
UNFINISHED = ("failed", "running", "interrupted")
QUESTION = "Which clusters are in this table, and why is this row in that one?"


@dataclass(frozen=True)
class Page:
    """What the site says about one run.

    Attributes
    ----------
    notebook, run, title : str
        Which run it is, and the question that its notebook asks.
    folder : Path
        Where its files are.
    status : {"done", "failed", "running", "interrupted", "damaged", "not run"}
        How it stands.
    facts : dict
        Its ``record.json`` or ``failed.json``; empty if that is damaged.
    reason : str
        Why it failed, or which file is damaged and how.
    notebook_file : Path or None
        Executed notebook, whole or partial.
    figures : list of Path
        Its figures, by name.
    is_earlier : bool
        Whether the sources have changed since.
    """

    notebook: str
    run: str
    title: str
    folder: Path
    status: str
    facts: dict = field(default_factory=dict)
    reason: str = ""
    notebook_file: Path | None = None
    figures: list[Path] = field(default_factory=list)
    is_earlier: bool = False

    @property
    def name(self) -> str:
        """``<notebook>/<run>``, as in ``make run RUN=...``."""
        return f"{self.notebook}/{self.run}"

    @property
    def html_file(self) -> Path | None:
        """The page of the run, beside its notebook; None where there is nothing to show."""
        if self.notebook_file:
            return self.notebook_file.with_suffix(".html")
        return self.folder / "report.html" if self.status == "damaged" else None


def build(outputs: Path, root: Path = Path()) -> Path:
    """Build the entry, the pages of numbers and of quick runs, and the page of every run.

    Parameters
    ----------
    outputs : Path
        Folder of all runs, ``<notebook>/<run>/`` each.
    root : Path
        Repository, whose ``notebooks/`` and ``parameters/`` say which runs there could be.

    Returns
    -------
    Path
        The entry.
    """
    outputs.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(outputs / ".lock"):
        pages = [render_page(page, outputs) for page in survey(outputs, root)]
        groups = entry.entries(pages)
        found = {"groups": groups, "findings": entry.findings(groups)}
        for name in PAGES:
            _write(outputs / name, name, outputs, pages, **found)
    return outputs / "index.html"


def build_page(folder: Path, notebook: str) -> Path:
    """Build the page of one finished run in a folder of its own, outside the site."""
    render_page(_page(folder, notebook, folder.name), None)
    return folder / "report.html"


def survey(outputs: Path, root: Path) -> list[Page]:
    """List every run that was made or could be made, in the order of the notebooks.

    Parameters
    ----------
    outputs, root : Path
        As for :func:`build`.

    Returns
    -------
    list of Page
        Quick runs first within each notebook; interactive folders are left out.
    """
    titles = {path.stem: _title(path) for path in (root / "notebooks").glob("*.ipynb")}
    possible = {(notebook, "quick") for notebook in titles}
    possible |= {(p.parent.name, p.stem) for p in (root / "parameters").glob("*/*.yaml")}
    names = sorted(possible | _made(outputs), key=lambda n: (n[0], n[1] != "quick", n[1]))
    pages = [_page(outputs / n / run, n, run, titles.get(n, "")) for n, run in names]
    earlier = fingerprint.earlier([page.facts for page in pages if _is_finished(page)], root)
    return [
        replace(p, is_earlier=_is_finished(p) and results.name(p.facts) in earlier) for p in pages
    ]


def render_page(page: Page, outputs: Path | None) -> Page:
    """Write the HTML page of a run, unless the one that is there was made from the same.

    Parameters
    ----------
    page : Page
        The run.
    outputs : Path or None
        Folder of the site, whose index the page refers to; None for a page on its own.

    Returns
    -------
    Page
        The same, or marked as damaged if its notebook cannot be shown.
    """
    target, source = page.html_file, page.notebook_file
    if target is None:
        return page
    try:
        key = _key(page, outputs)
        if _key_of(target) != key:
            body = report.body(notebooks.read(source), page.title) if source else ""
            _write(target, "report.html", outputs, [page], cells=body, key=key)
    except Exception as error:  # of many kinds; one damaged notebook must not stop the others
        reason = f"{(source or target).name} cannot be shown: {facts.describe(error)}"
        page = replace(page, status="damaged", reason=reason)
        _write(target, "report.html", outputs, [page], cells="", key="")
    return page


def _made(outputs: Path) -> set[tuple[str, str]]:
    """Name the runs of which there is a trace, other than interactive ones."""
    traces = (execution.REPORT, execution.PARTIAL, execution.FAILED, RECORD)
    folders = {path.parent for trace in traces for path in outputs.glob(f"*/*/{trace}")}
    return {(f.parent.name, f.name) for f in folders if f.name != "interactive"}


def _page(folder: Path, notebook: str, run: str, title: str = "") -> Page:
    """Find out how one run stands."""
    status = _status(folder)
    found, reason = {}, ""
    try:
        found = _facts(folder, status)
        reason = found.get("reason", "")
    except facts.DamagedError as error:
        status, reason = "damaged", str(error)
    if status == "done" and not (folder / execution.REPORT).is_file():
        status, reason = "damaged", f"{execution.REPORT} is missing"
    file = folder / (execution.PARTIAL if status in UNFINISHED else execution.REPORT)
    return Page(
        notebook=notebook,
        run=run,
        title=found.get("title") or title or notebook,
        folder=folder,
        status=status,
        facts=found,
        reason=reason,
        notebook_file=file if file.is_file() else None,
        figures=sorted((folder / "figures").glob("*.png")) if status == "done" else [],
    )


def _facts(folder: Path, status: str) -> dict:
    """Read what is known of a run that has come to an end."""
    if status == "failed":
        return facts.failed(folder / execution.FAILED)
    return facts.finished(folder / RECORD) if status == "done" else {}


def _title(source: Path) -> str:
    """Return the question of a notebook; nothing if it cannot be read."""
    try:
        return notebooks.title(notebooks.read(source))
    except Exception:  # of many kinds; running it will say what is wrong
        return ""


def _status(folder: Path) -> str:
    """Say how a run stands by the files that are there; "done" has still to be checked."""
    if execution.is_running(folder):
        return "running"
    if (folder / execution.FAILED).exists():
        return "failed"
    if (folder / execution.PARTIAL).exists():
        return "interrupted"
    is_there = (folder / execution.REPORT).exists() or (folder / RECORD).exists()
    return "done" if is_there else "not run"


def _is_finished(page: Page) -> bool:
    """Say whether the record of a run is whole, whatever became of its notebook."""
    return page.status in ("done", "damaged") and "results" in page.facts


def _key(page: Page, outputs: Path | None) -> str:
    """Return a hash of all that a page is made from; nothing where that cannot be shown."""
    if page.notebook_file is None:
        return ""
    said = repr((page.name, page.title, page.status, page.facts, page.reason, page.is_earlier))
    content = page.notebook_file.read_bytes()
    parts = (said.encode("utf-8", "replace"), str(outputs is None).encode(), content, _renderer())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


@functools.cache
def _renderer() -> bytes:
    """Return a hash of the files that make pages."""
    files_here = sorted(path for path in HERE.iterdir() if path.is_file())
    return hashlib.sha256(b"".join(path.read_bytes() for path in files_here)).digest()


def _key_of(target: Path) -> str | None:
    """Read which key the page that is there was made with; None if there is none."""
    try:
        with target.open("rb") as file:
            head = file.read(1000)
    except OSError:
        return None
    found = re.search(rb'<meta name="made-from" content="([0-9a-f]+)">', head)
    return found[1].decode() if found else None


def _write(target: Path, template: str, outputs: Path | None, pages: list[Page], **values) -> None:
    """Fill a template and write it; a name that is no valid text is shown with question marks."""
    text = _render(template, outputs, pages, **values)
    files.write(target, text.encode("utf-8", "replace"))


def _render(template: str, outputs: Path | None, pages: list[Page], **values) -> str:
    """Fill a template; everything that is not markup already is escaped."""
    finished = sorted(filter(_is_finished, pages), key=lambda page: page.run == "quick")
    earlier = {results.name(page.facts) for page in finished if page.is_earlier}
    return (
        _environment()
        .get_template(template)
        .render(
            css=Markup((HERE / "site.css").read_text(encoding="utf-8")),
            question=QUESTION,
            pages=pages,
            page=pages[0] if pages else None,
            tables=results.tables([page.facts for page in finished], earlier),
            earlier=results.EARLIER,
            mark=results.MARK,
            built=datetime.now(UTC).isoformat(),
            outputs=outputs,
            **values,
        )
    )


@functools.cache
def _environment() -> jinja2.Environment:
    """Return what fills templates: it escapes what is no markup, and refuses what is not known."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(duration=duration, moment=moment, link=_link, numbered=_numbered)
    return environment


def duration(seconds: float | None) -> str:
    """Write a time span with two units at most.

    Examples
    --------
    >>> [duration(seconds) for seconds in (4.2, 75, 3900, None)]
    ['4.2 s', '1 min 15 s', '1 h 05 min', '–']
    """
    if seconds is None:
        return results.DASH
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def moment(iso: str | None) -> str:
    """Write a point in time as readers expect it.

    Examples
    --------
    >>> moment("2026-03-01T07:05:09+00:00")
    '1 Mar 2026, 07:05 UTC'
    """
    if not iso:
        return results.DASH
    when = datetime.fromisoformat(iso)
    return f"{when.day} {when:%b %Y, %H:%M} UTC"


def _link(path: Path, outputs: Path) -> str:
    """Address a file relative to the index."""
    return quote(os.fsencode(path.relative_to(outputs).as_posix()))


def _numbered(count: int, singular: str) -> str:
    return f"{count} {singular}{'' if count == 1 else 's'}"
