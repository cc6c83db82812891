"""The report site: ``outputs/index.html`` and one page per run, readable without a network."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import filelock
import jinja2
from markupsafe import Markup

from whycluster.contract import files
from whycluster.runs import execution, notebooks, report, results

HERE = Path(__file__).parent
QUESTION = "Which clusters are in this table, and why is this row in that one?"


@dataclass(frozen=True)
class Page:
    """What the site says about one run.

    Attributes
    ----------
    notebook, run, title : str
        Which run it is, and the question that its notebook asks.
    status : {"done", "failed", "running", "interrupted", "not run"}
        How it stands.
    facts : dict
        Its ``record.json`` or ``failed.json``.
    notebook_file : Path or None
        Executed notebook, whole or partial.
    figures : list of Path
        Its figures, by name.
    """

    notebook: str
    run: str
    title: str
    status: str
    facts: dict = field(default_factory=dict)
    notebook_file: Path | None = None
    figures: list[Path] = field(default_factory=list)

    @property
    def name(self) -> str:
        """``<notebook>/<run>``, as in ``make run RUN=...``."""
        return f"{self.notebook}/{self.run}"

    @property
    def html_file(self) -> Path | None:
        """The page of the run, beside its notebook."""
        return self.notebook_file.with_suffix(".html") if self.notebook_file else None


def build(outputs: Path, root: Path = Path()) -> Path:
    """Build the index and the page of every run.

    Parameters
    ----------
    outputs : Path
        Folder of all runs, ``<notebook>/<run>/`` each.
    root : Path
        Repository, whose ``notebooks/`` and ``parameters/`` say which runs there could be.

    Returns
    -------
    Path
        The index.
    """
    outputs.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(outputs / ".lock"):
        pages = survey(outputs, root)
        for page in pages:
            render_page(page, outputs)
        files.write(outputs / "index.html", _render("index.html", outputs, pages=pages))
    return outputs / "index.html"


def build_page(folder: Path, notebook: str) -> Path:
    """Build the page of one finished run in a folder of its own, outside the site."""
    page = Page(
        notebook=notebook,
        run=folder.name,
        title=notebook,
        status="done",
        facts=files.read_json(folder / "record.json") or {},
        notebook_file=folder / execution.REPORT,
    )
    render_page(page, None)
    return page.html_file


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
    possible = {(path.stem, "quick") for path in (root / "notebooks").glob("*.ipynb")}
    possible |= {(p.parent.name, p.stem) for p in (root / "parameters").glob("*/*.yaml")}
    names = sorted(possible | _made(outputs), key=lambda n: (n[0], n[1] != "quick", n[1]))
    return [_page(notebook, run, outputs, root) for notebook, run in names]


def render_page(page: Page, outputs: Path | None) -> None:
    """Write the HTML page of a run, unless the one that is there is newer than its notebook.

    Parameters
    ----------
    page : Page
        The run.
    outputs : Path or None
        Folder of the site, whose index the page refers to; None for a page on its own.
    """
    target = page.html_file
    if target is None or _is_current(target, page.notebook_file):
        return
    cells = report.body(notebooks.read(page.notebook_file))
    files.write(target, _render("report.html", outputs, page=page, cells=cells))


def _made(outputs: Path) -> set[tuple[str, str]]:
    """Name the runs of which there is a trace, other than interactive ones."""
    traces = (execution.REPORT, execution.PARTIAL, execution.FAILED, "record.json")
    folders = {path.parent for trace in traces for path in outputs.glob(f"*/*/{trace}")}
    return {(f.parent.name, f.name) for f in folders if f.name != "interactive"}


def _page(notebook: str, run: str, outputs: Path, root: Path) -> Page:
    """Find out how one run stands."""
    folder = outputs / notebook / run
    status = _status(folder)
    facts = files.read_json(folder / ("failed.json" if status == "failed" else "record.json")) or {}
    file = folder / (execution.REPORT if status == "done" else execution.PARTIAL)
    source = root / "notebooks" / f"{notebook}.ipynb"
    return Page(
        notebook=notebook,
        run=run,
        title=facts.get("title") or _title(source) or notebook,
        status=status,
        facts=facts if status in ("done", "failed") else {},
        notebook_file=file if file.exists() else None,
        figures=sorted((folder / "figures").glob("*.png")) if status == "done" else [],
    )


def _title(source: Path) -> str:
    return notebooks.title(notebooks.read(source)) if source.exists() else ""


def _status(folder: Path) -> str:
    if execution.is_running(folder):
        return "running"
    if (folder / execution.FAILED).exists():
        return "failed"
    if (folder / execution.PARTIAL).exists():
        return "interrupted"
    is_done = (folder / execution.REPORT).exists() and files.read_json(folder / "record.json")
    return "done" if is_done else "not run"


def _is_current(target: Path, notebook: Path) -> bool:
    """Say whether a page is newer than its notebook, its record and what renders it."""
    if not target.exists():
        return False
    sources = [*notebook.parent.glob("*.json"), *HERE.iterdir()]
    newest = max(notebook.stat().st_ctime, *(path.stat().st_mtime for path in sources))
    return target.stat().st_mtime > newest


def _render(template: str, outputs: Path | None, **values) -> str:
    """Fill a template; everything that is not markup already is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(
        duration=duration, moment=moment, link=lambda path: _link(path, outputs), numbered=_numbered
    )
    return environment.get_template(template).render(
        css=Markup((HERE / "site.css").read_text(encoding="utf-8")),
        question=QUESTION,
        tables=results.tables(_finished(values.get("pages") or [values["page"]])),
        built=datetime.now(UTC).isoformat(),
        has_index=outputs is not None,
        **values,
    )


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


def _finished(pages: list[Page]) -> list[dict]:
    """Return the records of finished runs, full-scale ones first."""
    done = [page for page in pages if page.status == "done"]
    return [page.facts for page in sorted(done, key=lambda page: page.run == "quick")]


def _link(path: Path, outputs: Path) -> str:
    """Address a file relative to the index."""
    return quote(path.relative_to(outputs).as_posix())


def _numbered(count: int, singular: str) -> str:
    return f"{count} {singular}{'' if count == 1 else 's'}"
