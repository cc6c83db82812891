"""Nothing of a stranger's notebook runs or reaches a network, whatever it is written in."""

import json
import re
from html.parser import HTMLParser
from urllib.parse import unquote

import browser
import payloads
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output, new_raw_cell

from whycluster.runs import report, sanitiser, site

ALLOWED = sanitiser.TAGS | sanitiser.MATHML_TAGS
KNOWN = sanitiser.ATTRIBUTES | sanitiser.SIZES | sanitiser.MATHML_ATTRIBUTES
KNOWN = KNOWN | {"style", "src", "href", "type", "checked", "disabled"}
PICTURE = r"data:image/(png|jpeg|gif|webp|svg\+xml);base64,[\w+/=\s]*"
CALLS = sanitiser.FUNCTIONS


class Dangers(HTMLParser):
    """Collects what could run, load or deceive."""

    def __init__(self, html):
        super().__init__()
        self.found = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        if tag not in ALLOWED:
            self.found.append(tag)
        for name, value in attributes:
            if not self.is_harmless(tag, name, value or ""):
                self.found.append(f"{tag} {name}={value}")

    def handle_comment(self, data):
        self.found.append(f"comment {data}")

    handle_decl = handle_pi = unknown_decl = handle_comment

    def is_harmless(self, tag, name, value):
        if name == "src":
            return tag == "img" and re.fullmatch(PICTURE, value)
        if name == "href":
            plain = re.sub(r"[\x00-\x20\x7f-\xa0]", "", value).lower()
            return tag == "a" and re.match(r"(https?|mailto):|[^:]*$|[^:]*[/?#]", plain)
        if name == "style":
            return set(re.findall(r"([\w-]+)\(", value)) <= CALLS and not re.search(r"[\\@]", value)
        if name in ("colspan", "rowspan", "start"):
            return value.isdigit()
        return name in KNOWN


def shown(*cells):
    """Return the body of a report of the given cells."""
    return str(report.body(new_notebook(cells=list(cells))))


def drawn(data, metadata):
    return new_code_cell("x", outputs=[new_output("display_data", data=data, metadata=metadata)])


def test_there_are_payloads_enough():
    every = payloads.FRAGMENTS + payloads.MARKDOWN + list(map(str, payloads.OUTPUTS))
    assert len(set(every)) == len(every) >= 165


@pytest.mark.parametrize("payload", payloads.FRAGMENTS)
def test_nothing_in_a_fragment_runs_or_loads(payload):
    html = sanitiser.clean(payload)
    assert Dangers(html).found == []
    assert sanitiser.clean(html) == html, "what is clean stays as it is"


@pytest.mark.parametrize("payload", payloads.MARKDOWN)
def test_nothing_in_markdown_runs_or_loads(payload):
    assert Dangers(shown(new_markdown_cell(payload))).found == []


@pytest.mark.parametrize(("data", "metadata"), payloads.OUTPUTS)
def test_nothing_in_an_output_runs_or_loads(data, metadata):
    html = shown(drawn(data, metadata))
    assert Dangers(html).found == []
    assert payloads.URL not in re.sub(r">[^<]*<", "><", unquote(html)), "no address is kept"


def test_an_output_that_no_page_can_show_is_named():
    html = shown(drawn({"application/pdf": "x"}, {}))
    assert "an output of the kind application/pdf, which is not shown here" in html


def everything():
    """Return a notebook that holds all payloads, in every place that a page shows."""
    cells = [new_markdown_cell(text) for text in payloads.FRAGMENTS + payloads.MARKDOWN]
    cells += [drawn({"text/html": text}, {}) for text in payloads.FRAGMENTS]
    cells += [drawn(data, metadata) for data, metadata in payloads.OUTPUTS]
    for text in payloads.FRAGMENTS:
        stream = new_output("stream", text=text)
        error = new_output("error", ename=text, evalue=text, traceback=[text])
        cells.append(new_code_cell(f"# {text}", outputs=[stream, error]))
        cells.append(new_raw_cell(text, metadata={"raw_mimetype": "text/html"}))
        cells.append(new_markdown_cell("x"))
        cells[-1].metadata |= {"tags": [text], "alt": text}
    notebook = new_notebook(metadata={"widgets": {"x": payloads.FRAGMENTS[0]}})
    notebook.cells = cells  # tags of this kind would not be valid
    return notebook


def test_a_notebook_of_all_payloads_is_harmless():
    assert Dangers(str(report.body(everything()))).found == []


@browser.needed
def test_a_browser_that_opens_all_payloads_runs_no_script_and_makes_no_request(tmp_path):
    folder = tmp_path / "10-a" / "big"
    folder.mkdir(parents=True)
    (folder / "report.ipynb").write_text(json.dumps(everything()))
    page = site.build_page(folder, "10-a")
    text = page.read_text(encoding="utf-8")
    assert payloads.JS in text, "payloads are shown as text"
    page.write_text(without_policy(text), encoding="utf-8")  # the sanitiser has to stand alone
    document, asked = browser.requests(page, tmp_path / "profile")
    assert f"<title>{payloads.RAN}" not in document
    assert "<title>10-a" in document
    assert [address for address in asked if payloads.HOST in address] == []


@browser.needed
def test_the_browser_would_notice_scripts_and_requests(tmp_path):
    page = tmp_path / "bad.html"
    bad = f"<title>x</title><img src={payloads.URL}><script>{payloads.JS}</script>"
    page.write_text(bad)
    document, asked = browser.requests(page, tmp_path / "profile")
    assert f"<title>{payloads.RAN}" in document
    assert payloads.URL in asked


@browser.needed
def test_the_policy_of_a_page_stops_what_a_sanitiser_might_miss(tmp_path):
    policy = re.search(POLICY, (site.HERE / "base.html").read_text())[0]
    page = tmp_path / "bad.html"
    bad = f"<title>x</title>{policy}<img src={payloads.URL}><script>{payloads.JS}</script>"
    page.write_text(bad)
    document, asked = browser.requests(page, tmp_path / "profile")
    assert "<title>x" in document
    assert payloads.URL not in asked


POLICY = r'<meta http-equiv="Content-Security-Policy"[^>]*>'


def without_policy(text):
    """Return a page without the policy that forbids scripts and networks as a second line."""
    assert re.search(POLICY, text)
    return re.sub(POLICY, "", text)
