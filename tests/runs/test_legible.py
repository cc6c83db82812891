"""Tables and figures of a report are read as they are meant, on a desk and on a phone."""

import base64
import io

import browser
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell
from PIL import Image
from test_site import PIXEL, executed, put, shown

from whycluster.runs import legible, report, site

GROUPS = pd.DataFrame(
    {
        "places gained": [14.1, -14.0, -13.0, 11.6, 11.5],
        "published": [None, 1.0, None, None, 2.0],
        "why": ["one", "two words", "three", "four", "five"],
        **{f"a long name of column {n}": [123456.789] * 5 for n in range(9)},
    },
    index=pd.MultiIndex.from_tuples(
        [(1, "gender"), (3, "service"), (3, "charges"), (3, "gender"), (0, "total")],
        names=["cluster", "column"],
    ),
)


def cells(html):
    """Return the text and the classes of every cell of a table."""
    soup = BeautifulSoup(legible.tables(html), "html.parser")
    return [(c.get_text(), c.get("class", [])) for c in soup.find_all(["td", "th"])]


def test_columns_of_words_are_told_from_columns_of_numbers():
    found = dict(cells(pd.DataFrame({"a": ["x", "y"], "b": [1.5, -2]}).to_html(index=False)))
    assert found == {"a": ["words"], "x": ["words"], "y": ["words"], "b": [], "1.5": [], "-2.0": []}


def test_columns_are_counted_past_cells_that_span_several():
    html = (
        "<table><tr><th colspan=2>ab</th><th>c</th></tr>"
        "<tr><td rowspan=2>1</td><td>x</td><td>2</td></tr><tr><td>y</td><td>3</td></tr></table>"
    )
    words = [text for text, classes in cells(html) if "words" in classes]
    assert words == ["x", "y"]


@pytest.mark.parametrize("text", ["1", "−1.5", "1,234", "50 %", "0.9 ± 0.1", "(1, 2)", "1e-05"])
def test_what_is_written_like_a_number_is_one(text):
    assert cells(f"<table><tr><td>{text}</td></tr></table>") == [(text, [])]


def test_a_missing_value_is_a_dash_and_a_level_called_none_stays():
    html = pd.DataFrame({"published": [None, 0.5], "level": ["None", "x"]}).to_html(index=False)
    assert [text for text, _ in cells(html)] == ["published", "level", "–", "None", "0.5", "x"]


def test_odd_spans_are_read_as_browsers_read_them():
    html = "<table><tr><td colspan=x>a</td><td colspan=0>b</td><td rowspan=9999>c</td></tr></table>"
    assert [text for text, _ in cells(html)] == ["a", "b", "c"]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Return the page of a report with a wide table whose labels stand for several rows."""
    if browser.CHROMIUM is None:
        pytest.skip("needs chromium (apt-get install chromium)")
    outputs = tmp_path_factory.mktemp("outputs")
    table = new_code_cell("x", outputs=shown({"text/html": GROUPS.to_html()}).outputs)
    folder = put(outputs, cells=[table])
    site.build(outputs, outputs)
    return folder / "report.html"


@browser.needed
def test_the_label_of_a_group_stands_beside_its_first_row(page, tmp_path):
    script = """[...document.querySelectorAll('tbody th:first-child[rowspan]')].map(label => {
        const range = document.createRange()
        range.selectNodeContents(label)
        const row = label.parentElement.querySelector('td').getBoundingClientRect()
        const words = range.getBoundingClientRect()
        return [label.textContent, words.top >= row.top - 1, words.bottom <= row.bottom + 1]
    })"""
    assert browser.measure(page, script, tmp_path) == [["3", True, True]]


@browser.needed
@pytest.mark.parametrize("width", [390, 1300])
def test_a_wide_table_scrolls_by_itself_and_cuts_no_number(page, tmp_path, width):
    script = """(() => {
        const box = document.querySelector('.wide')
        const cells = [...box.querySelectorAll('td:not(.words)')]
        return {
            page: document.documentElement.scrollWidth <= innerWidth,
            scrolls: box.scrollWidth > box.clientWidth,
            cue: getComputedStyle(box).backgroundImage.split('linear-gradient').length - 1,
            cut: cells.filter(c => c.scrollWidth > c.clientWidth || c.clientHeight > 40).length,
            right: new Set(cells.map(c => getComputedStyle(c).textAlign)).size,
            left: [...new Set([...box.querySelectorAll('td.words')].map(c =>
                getComputedStyle(c).textAlign))],
        }
    })()"""
    assert browser.measure(page, script, tmp_path, width=width) == {
        "page": True,
        "scrolls": True,
        "cue": 4,
        "cut": 0,
        "right": 1,
        "left": ["left"],
    }


def described(*cells):
    """Return the alternative texts of the pictures of a report."""
    soup = BeautifulSoup(str(report.body(executed(*cells))), "html.parser")
    return [image["alt"] for image in soup.find_all("img")]


def drawing(source, **metadata):
    cell = shown({"image/png": PIXEL})
    cell.source = source
    cell.outputs[0].metadata |= metadata
    return cell


def test_a_figure_is_described_by_its_titles_else_by_the_prose_above_it():
    prose = new_markdown_cell("## Results\n\nEarlier words.\n\n**Which** columns of $x$ change?")
    assert described(prose, drawing("ax.set_title('by class'); plot(title=\"by cluster\")")) == [
        "by class; by cluster"
    ]
    assert (
        described(prose, drawing("plot()"), drawing("again()"))
        == ["Which columns of x change?"] * 2
    )
    assert described(prose, drawing("plot()", alt="A map")) == ["A map"]
    assert described(drawing("plot()")) == ["Is it?"], "the title of the notebook"
    (long,) = described(new_markdown_cell("word " * 100), drawing("plot()"))
    assert len(long) <= 202
    assert long.endswith("word …")


@pytest.mark.parametrize(("width", "scrolls"), [(1200, True), (640, False)])
def test_a_figure_of_several_panels_scrolls_on_a_phone(width, scrolls):
    image = io.BytesIO()
    Image.new("L", (width, 10)).save(image, "PNG")
    data = base64.b64encode(image.getvalue()).decode()
    html = str(report.body(executed(shown({"image/png": data}))))
    assert ('class="unconfined"' in html) == scrolls
