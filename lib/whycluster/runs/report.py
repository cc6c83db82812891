"""One executed notebook as one HTML page that needs no network and runs no script.

Text in a report comes from data as well as from us: a column can be called ``<script>``. So every
HTML fragment (Markdown cells, HTML and Markdown outputs) passes the sanitiser, and scripts,
widgets and whatever else could run are not shown. Equations are turned into MathML while the page
is built; browsers show it without MathJax.
"""

import base64
import html
import logging
import re
from typing import Any

import jinja2
from bs4 import BeautifulSoup
from latex2mathml.converter import convert
from markupsafe import Markup
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode
from papermill.execute import ERROR_MARKER_TAG
from traitlets.config import Config

from whycluster.runs import legible
from whycluster.runs.sanitiser import clean

SHOWN = [
    "text/html",
    "text/markdown",
    "image/svg+xml",
    "image/png",
    "image/jpeg",
    "text/latex",
    "text/plain",
]
# What latex2mathml does not know, in terms of what it does.
TEX = (
    (r"\\operatorname\*?\{([^}]*?)\\,([^}]*)\}", r"\\operatorname{\1 \2}"),
    (r"\\operatorname\*?\{([^}]*)\}", r"\\text{\1}"),
    (r"\{(aligned|split)\}", "{align*}"),
    (r"\{gathered\}", "{gather*}"),
    (r"\\tag\b", r"\\qquad\\tag"),
)
TITLE = re.compile(r"""title\w*[(=]\s*(["'])(.+?)\1""")  # of a figure, in the code that draws it
WIDE = 900  # pixels of a figure of several panels
LONGEST = 200  # characters of an alternative text


def body(notebook: NotebookNode, title: str = "") -> Markup:
    """Render the cells of a notebook.

    Parameters
    ----------
    notebook : NotebookNode
        An executed notebook, finished or not. Papermill's own error banners are removed from it.
    title : str
        What the page has for a title: the same heading is left out of the first cell.

    Returns
    -------
    Markup
        HTML without scripts, external images, or anything else that runs or loads.
    """
    notebook.cells = [
        c for c in notebook.cells if ERROR_MARKER_TAG not in c.metadata.get("tags", [])
    ]
    notebook.metadata = NotebookNode()
    _drop_title(notebook, title)
    for number, cell in enumerate(notebook.cells):
        _strip(cell, alternative(notebook.cells, number) if cell.get("outputs") else "")
    page = _exporter().from_notebook_node(notebook)[0]
    return Markup(clean(legible.tables(page)))


def alternative(cells: list[NotebookNode], number: int) -> str:
    """Describe the figures of a cell: by their titles in its code, else by the prose above it.

    Parameters
    ----------
    cells : list of NotebookNode
        The cells of a notebook.
    number : int
        Which of them draws.

    Returns
    -------
    str
        Plain text of one line.
    """
    titles = [title for _, title in TITLE.findall(cells[number].source)]
    prose = (c.source for c in reversed(cells[:number]) if c.cell_type == "markdown")
    paragraphs = (p for source in prose for p in reversed(re.split(r"\n\s*\n", source)))
    words = (" ".join(_text(paragraph).split()) for paragraph in paragraphs)
    described = "; ".join(titles) or next(filter(None, words), "a figure")
    return described if len(described) <= LONGEST else f"{described[:LONGEST].rsplit(' ', 1)[0]} …"


def markdown(source: str, attachments: dict | None = None) -> str:
    """Render Markdown with equations as MathML. The result is not clean yet.

    Parameters
    ----------
    source : str
        The text of a cell.
    attachments : dict or None
        Pictures pasted into the cell, by name: their contents in base64, by MIME type.

    Returns
    -------
    str
        HTML.
    """
    renderer = _Renderer(escape=False, exclude_anchor_links=True, attachments=attachments)
    return MarkdownWithMath(renderer=renderer).render(source)


def mathml(tex: str, display: str) -> str:
    r"""Turn an equation into MathML, or show its source if that fails.

    Parameters
    ----------
    tex : str
        LaTeX without its delimiters.
    display : {"inline", "block"}
        Within a line, or on a line of its own.

    Returns
    -------
    str
        A ``math`` element, else a ``code`` element.

    Examples
    --------
    >>> mathml("x", "inline").count("<mi>x</mi>")
    1
    >>> mathml(r"\frac{", "inline") == r'<code class="tex">\frac{</code>'
    True
    """
    known = tex
    for unknown, replacement in TEX:
        known = re.sub(unknown, replacement, known)
    try:
        return convert(known, display=display)
    except Exception:  # of many kinds; a report must not fail for one symbol
        return f'<code class="tex">{html.escape(tex)}</code>'


def _exporter() -> HTMLExporter:
    return HTMLExporter(
        config=Config({"NbConvertBase": {"display_data_priority": SHOWN}}),
        template_name="basic",
        sanitize_html=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        filters={"clean_html": clean, "markdown2html": _markdown},
        log=_quiet(),
    )


@jinja2.pass_context
def _markdown(context: jinja2.runtime.Context, source: str) -> str:
    """Render Markdown as a filter of nbconvert, which knows the cell."""
    return markdown(source, context.get("cell", {}).get("attachments"))


def _drop_title(notebook: NotebookNode, title: str) -> None:
    """Leave the first heading to the page."""
    for cell in notebook.cells[:1]:
        heading, _, rest = cell.source.partition("\n")
        if cell.cell_type == "markdown" and heading.strip() == f"# {title}":
            cell.source = rest


def _text(source: str) -> str:
    """Return the words of some Markdown."""
    return BeautifulSoup(markdown(source), "html.parser").get_text()


def _strip(cell: NotebookNode, description: str) -> None:
    """Replace the metadata, which nbconvert turns into attributes, frames and file names.

    The size of a picture stays where it is a number, and a description that the author gave.
    """
    cell.metadata = NotebookNode()
    for output in cell.get("outputs", []):
        output.pop("svg_filename", None)
        given = output.get("metadata", {})
        kept = [given, *(given.get(kind, {}) for kind in SHOWN)]
        sizes = {k: round(v) for part in kept for k, v in part.items() if _is_size(k, v)}
        alts = [part["alt"] for part in kept if isinstance(part.get("alt"), str)]
        output.metadata = NotebookNode(sizes, alt=[*alts, description][0])
        output.metadata["unconfined"] = _is_wide(output.get("data", {}).get("image/png"))
        if "data" in output and not set(SHOWN) & set(output.data):
            kinds = ", ".join(output.data) or "nothing"
            output.data = {"text/plain": f"an output of the kind {kinds}, which is not shown here"}


def _is_size(name: str, value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return name in ("width", "height") and is_number and 0 < float(value) < 10_000


def _is_wide(encoded: object) -> bool:
    """Say by the head of a PNG whether it is too wide to be shrunk to a phone."""
    try:
        head = base64.b64decode(encoded[:32]) if isinstance(encoded, str) else b""
    except ValueError:
        return False
    return head[1:4] == b"PNG" and int.from_bytes(head[16:20], "big") >= WIDE


def _quiet() -> logging.Logger:
    """Return a logger without nbconvert's advice, and without errors that it raises as well."""
    logger = logging.getLogger("whycluster.nbconvert")
    logger.setLevel(logging.CRITICAL)
    return logger


class _Renderer(IPythonRenderer):
    """nbconvert's Markdown with equations as MathML and without Mermaid, which needs a script."""

    def inline_math(self, body: str) -> str:
        return mathml(body, "inline")

    def block_math(self, body: str) -> str:
        return mathml(body, "block")

    def latex_environment(self, name: str, body: str) -> str:
        return mathml(f"\\begin{{{name}}}{body}\\end{{{name}}}", "block")

    def image(self, text: str, url: str, title: str | None = None) -> str:
        name = url.removeprefix("attachment:")
        if url != name and name not in self.attachments:
            return f"<em>{html.escape(text or name)} (the attached picture is missing)</em>"
        return super().image(text, url, title)

    def block_mermaidjs(self, code: str) -> str:
        return f"<pre>{html.escape(code)}</pre>"
