"""One executed notebook as one HTML page that needs no network and runs no script.

Text in a report comes from data as well as from us: a column can be called ``<script>``. So every
HTML fragment (Markdown cells, HTML and Markdown outputs) passes the sanitiser, and scripts,
widgets and whatever else could run are not shown. Equations are turned into MathML while the page
is built; browsers show it without MathJax.
"""

import html
import logging
import re

from latex2mathml.converter import convert
from markupsafe import Markup
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode
from papermill.execute import ERROR_MARKER_TAG
from traitlets.config import Config

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


def body(notebook: NotebookNode) -> Markup:
    """Render the cells of a notebook.

    Parameters
    ----------
    notebook : NotebookNode
        An executed notebook, finished or not. Papermill's own error banners are removed from it.

    Returns
    -------
    Markup
        HTML without scripts, external images, or anything else that runs or loads.
    """
    exporter = HTMLExporter(
        config=Config({"NbConvertBase": {"display_data_priority": SHOWN}}),
        template_name="basic",
        sanitize_html=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        filters={"clean_html": clean, "markdown2html": markdown},
        log=_quiet(),
    )
    notebook.cells = [
        c for c in notebook.cells if ERROR_MARKER_TAG not in c.metadata.get("tags", [])
    ]
    return Markup(exporter.from_notebook_node(notebook)[0])


def markdown(source: str) -> str:
    """Render Markdown with equations as MathML. The result is not clean yet."""
    renderer = _Renderer(escape=False, exclude_anchor_links=True)
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


def _quiet() -> logging.Logger:
    """Return a logger without nbconvert's advice on the alternative texts of figures."""
    logger = logging.getLogger("whycluster.nbconvert")
    logger.setLevel(logging.ERROR)
    return logger


class _Renderer(IPythonRenderer):
    """nbconvert's Markdown with equations as MathML and without Mermaid, which needs a script."""

    def inline_math(self, body: str) -> str:
        return mathml(body, "inline")

    def block_math(self, body: str) -> str:
        return mathml(body, "block")

    def latex_environment(self, name: str, body: str) -> str:
        return mathml(f"\\begin{{{name}}}{body}\\end{{{name}}}", "block")

    def block_mermaidjs(self, code: str) -> str:
        return f"<pre>{html.escape(code)}</pre>"
