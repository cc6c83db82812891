"""HTML of unknown origin, reduced to what cannot run, load or deceive."""

import html
import re

import bleach
import tinycss2
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
ATTRIBUTES = frozenset({"align", "alt", "class", "id", "scope", "title", "valign"})
SIZES = frozenset({"colspan", "height", "rowspan", "start", "width"})  # whole numbers only
MATHML_ATTRIBUTES = frozenset({
    "accent", "accentunder", "columnalign", "columnlines", "columnspacing", "depth", "display",
    "displaystyle", "fence", "form", "height", "largeop", "linebreak", "linethickness", "lspace",
    "mathvariant", "maxsize", "minsize", "movablelimits", "notation", "rowspacing", "rspace",
    "scriptlevel", "separator", "stretchy", "symmetric", "voffset", "width",
    "xmlns",
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
FUNCTIONS = frozenset({
    "calc", "clamp", "hsl", "hsla", "linear-gradient", "max", "min", "rgb", "rgba",
})
# fmt: on
PLAIN = frozenset({"dimension", "hash", "ident", "literal", "number", "percentage", "whitespace"})
PICTURE = re.compile(r"data:image/(png|jpeg|gif|webp|svg\+xml);base64,[A-Za-z0-9+/=\s]+")
SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):", re.IGNORECASE)
IGNORED = re.compile(r"[\x00-\x20\x7f-\xa0\u2000-\u200f\u2028-\u202f\ufeff]")  # within addresses


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
        css_sanitizer=_Styles(),
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
        return tag == "img" and bool(PICTURE.fullmatch(value))
    if name == "href":
        return tag == "a" and _leads_to_a_page(value)
    if tag == "input":  # task lists in Markdown
        return name in ("disabled", "checked") or (name, value) == ("type", "checkbox")
    if tag in MATHML_TAGS:
        return name in MATHML_ATTRIBUTES or name in ("class", "style")
    if name in SIZES:
        return bool(re.fullmatch(r"\d{1,4}", value))
    return name in ATTRIBUTES or name == "style"


def _leads_to_a_page(address: str) -> bool:
    """Say whether a link stays here or leads to a page or a mailbox, as browsers read it."""
    scheme = SCHEME.match(IGNORED.sub("", html.unescape(address)))
    return scheme is None or scheme[1].lower() in ("http", "https", "mailto")


class _Styles:
    """What may stay of a style: known properties whose values can load nothing.

    A value is judged by its tokens, so that no spelling, escaped or commented, hides a function.
    """

    def sanitize_css(self, style: str) -> str:
        """Return the allowed declarations of a style attribute, as bleach asks for them."""
        found = tinycss2.parse_declaration_list(style, skip_comments=True, skip_whitespace=True)
        kept = [d for d in found if d.type == "declaration" and _is_harmless(d)]
        return tinycss2.serialize(kept).strip()


def _is_harmless(declaration) -> bool:
    return declaration.lower_name in PROPERTIES and all(map(_is_plain, declaration.value))


def _is_plain(token) -> bool:
    """Say whether a token of a value is a word, a number, or an allowed function of such."""
    if token.type == "function":
        return token.lower_name in FUNCTIONS and all(map(_is_plain, token.arguments))
    return token.type in PLAIN
