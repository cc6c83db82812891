"""HTML of unknown origin, reduced to what cannot run, load or deceive."""

import re

import bleach
from bleach.css_sanitizer import CSSSanitizer
from bs4 import BeautifulSoup

# fmt: off
TAGS = frozenset({
    "a", "abbr", "b", "blockquote", "br", "caption", "code", "col", "colgroup", "dd", "del",
    "details", "div", "dl", "dt", "em", "figcaption", "figure", "h1", "h2", "h3", "h4", "h5",
    "h6", "hr", "i", "img", "input", "kbd", "li", "ol", "p", "pre", "s", "small", "span",
    "strong", "sub", "summary", "sup", "table", "tbody", "td", "tfoot", "th", "thead", "tr",
    "u", "ul",
})
MATHML_TAGS = frozenset({
    "math", "menclose", "mfrac", "mi", "mmultiscripts", "mn", "mo", "mover", "mpadded",
    "mphantom", "mroot", "mrow", "mspace", "msqrt", "mstyle", "msub", "msubsup", "msup",
    "mtable", "mtd", "mtext", "mtr", "munder", "munderover",
})
ATTRIBUTES = frozenset({
    "align", "alt", "class", "colspan", "height", "id", "rowspan", "scope", "start", "style",
    "title", "width",
})
MATHML_ATTRIBUTES = frozenset({
    "accent", "accentunder", "columnalign", "columnlines", "columnspacing", "depth", "display",
    "displaystyle", "fence", "form", "largeop", "linebreak", "linethickness", "lspace",
    "mathvariant", "maxsize", "minsize", "movablelimits", "notation", "rowspacing", "rspace",
    "scriptlevel", "separator", "stretchy", "symmetric", "voffset", "xmlns",
})
PROPERTIES = frozenset({
    "align-items", "background", "background-color", "border", "border-bottom", "border-collapse",
    "border-left", "border-radius", "border-right", "border-spacing", "border-top", "color",
    "column-gap", "display", "flex", "flex-direction", "flex-wrap", "font-family", "font-size",
    "font-style", "font-variant-numeric", "font-weight", "gap", "height", "line-height",
    "list-style", "margin", "margin-bottom", "margin-left", "margin-right", "margin-top",
    "max-width", "min-height", "min-width", "opacity", "overflow", "overflow-x", "padding",
    "padding-bottom", "padding-left", "padding-right", "padding-top", "row-gap", "text-align",
    "vertical-align", "white-space", "width",
})
# fmt: on


def clean(fragment: str | bytes) -> str:
    """Keep the allowed elements, attributes and styles of an HTML fragment.

    Parameters
    ----------
    fragment : str or bytes
        HTML of unknown origin.

    Returns
    -------
    str
        HTML without scripts, event handlers, forms, frames and external images. An element that
        is not allowed is shown as text, except style sheets, scripts and comments, which vanish.

    Examples
    --------
    >>> clean('<b onclick="steal()">age</b><script>steal()</script><img src="http://x/y.png">')
    '<b>age</b><img>'
    """
    text = fragment.decode() if isinstance(fragment, bytes) else str(fragment)
    return bleach.clean(
        _without_sheets(text),
        tags=TAGS | MATHML_TAGS,
        attributes=_is_allowed,
        protocols={"http", "https", "mailto", "data"},
        css_sanitizer=CSSSanitizer(allowed_css_properties=PROPERTIES),
    )


def _without_sheets(text: str) -> str:
    """Remove style sheets, which pandas adds to each table, and scripts, with their content."""
    if not re.search(r"<(style|script)\b", text, re.IGNORECASE):
        return text
    soup = BeautifulSoup(text, "html.parser")
    for element in soup(["style", "script"]):
        element.decompose()
    return str(soup)


def _is_allowed(tag: str, name: str, value: str) -> bool:
    """Say whether an attribute may stay."""
    if name == "src":
        return tag == "img" and value.startswith(("data:image/png", "data:image/jpeg"))
    if name == "href":
        return tag == "a" and not value.strip().lower().startswith("data:")
    if name == "style":
        return not re.search(r"url|expression|@import|\\", value, re.IGNORECASE)
    if tag == "input":  # task lists in Markdown
        return name in ("disabled", "checked") or (name, value) == ("type", "checkbox")
    return name in ATTRIBUTES or (tag in MATHML_TAGS and name in MATHML_ATTRIBUTES)
