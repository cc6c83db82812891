"""The first page: what came out, computed from records, and every report with its answer."""

import base64
import io
import re

import browser
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_markdown_cell
from PIL import Image
from test_site import executed, page, put, recorded, row, shown

from whycluster.runs import site
from whycluster.runs.headline import headline, thumbnail


def figure(colour, size=(600, 300)):
    """Return a PNG of one colour in base64."""
    image = io.BytesIO()
    Image.new("RGB", size, colour).save(image, "PNG")
    return base64.b64encode(image.getvalue()).decode()


def test_the_headline_is_the_metric_with_published_values():
    found = headline(
        recorded(
            results=[
                row(metric="NMI", published=None),
                row(),
                row(method="n", values=[80.0], published=None),
                row(dataset="other"),
            ]
        )
    )
    assert found.text == "ACC (%) on d: m 91.0 ± 1.4 (published 95.5); n 80.0."
    assert [(p.method, p.published is None) for p in found.points] == [("m", False), ("n", True)]
    assert (found.low, found.high) == ("80.0", "95.5")
    first, second = found.points
    assert first.mean == pytest.approx((91 - 80) / 15.5, abs=1e-3)
    assert (second.low, second.mean, second.high) == (0, 0, 0)
    assert first.published == 1


def test_a_mean_over_data_sets_comes_before_the_first_of_them():
    rows = [row(dataset="iris"), row(dataset="mean of 10", values=[50.0], published=None)]
    assert headline(recorded(results=rows)).text == "ACC (%) on mean of 10: m 50.0."


def test_a_setting_of_all_methods_is_said_once_and_more_methods_are_counted():
    rows = [row(method=f"{name}, 0 epochs", published=None, unit="") for name in "abcd"]
    text = headline(recorded(results=rows)).text
    assert text == "ACC on d, 0 epochs: a 91.0 ± 1.4; b 91.0 ± 1.4; c 91.0 ± 1.4, and 1 more."


def test_counts_have_no_decimals_and_a_record_without_values_no_headline():
    rows = [row(metric="clusters", unit="", values=[4, 4], published=None)]
    assert headline(recorded(results=rows)).text == "clusters on d: m 4 ± 0."
    assert headline(recorded(results=[row(values=[None, None])])) is None
    assert headline(recorded(results=[])) is None


def test_the_thumbnail_is_the_most_colourful_figure_made_small():
    pale, dark = ({"image/png": figure(colour)} for colour in ("#eee", "#036"))
    address = thumbnail(executed(shown(pale), shown(dark)))
    image = Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))).convert("RGB")
    assert image.size == (240, 120)
    assert image.getpixel((5, 5)) == (0, 51, 102)
    assert thumbnail(executed(new_markdown_cell("no figure"))) == ""


@pytest.fixture
def outputs(tmp_path):
    """Return a folder with a full run of each of two systems, and one of an unknown notebook."""
    figures = [shown({"image/png": figure("#036")})]
    for name in ("10-idc-synthetic/published", "30-brb-autoencoder/usps", "xx-other/big"):
        notebook, run = name.split("/")
        facts = recorded(run, notebook=notebook, title=f"What of {notebook}?")
        put(tmp_path, name, facts, cells=figures)
    put(tmp_path, "10-idc-synthetic/quick", recorded("quick", notebook="10-idc-synthetic"))
    site.build(tmp_path, tmp_path)
    return tmp_path


def test_the_entry_shows_findings_and_reports_by_system(outputs):
    text, _ = page(outputs / "index.html")
    soup = BeautifulSoup(text, "html.parser")
    findings = soup.select(".findings article")
    assert [f.h3.get_text() for f in findings] == ["IDC", "BRB"]
    assert findings[0].svg["aria-label"] == "ACC (%) on d: m 91.0 ± 1.4 (published 95.5)."
    assert len(findings[0].select("svg .published")) == len(findings[0].select("circle")) == 1
    systems = [h3.find(string=True) for h3 in soup.select("h3.system")]
    assert systems == ["IDC", "BRB", "Other notebooks"]
    answers = [p.get_text() for p in soup.select(".report-line .answer")]
    assert answers == ["ACC (%) on d: m 91.0 ± 1.4 (published 95.5)."] * 3
    assert len(soup.select(".report-line img")) == 3
    assert "quick/report.html" not in text


def test_a_figure_that_cannot_be_read_costs_its_thumbnail_alone(tmp_path):
    put(tmp_path, "10-idc/big", cells=[shown({"image/png": "bm8gcGljdHVyZQ=="})])
    text, _ = page(site.build(tmp_path, tmp_path))
    assert "report-line" in text
    assert not re.search(r"<img", text)


@browser.needed
@pytest.mark.parametrize("width", [390, 1300])
def test_the_entry_fits_its_width_and_shows_findings_on_the_first_screens(outputs, tmp_path, width):
    script = """(() => {
        const texts = [...document.querySelectorAll('svg text')]
        const inside = texts.every(t => {
            const [a, b] = [t.getBoundingClientRect(), t.ownerSVGElement.getBoundingClientRect()]
            return a.left >= b.left - 1 && a.right <= b.right + 1
        })
        const top = document.querySelector('.findings').getBoundingClientRect().top
        return [document.documentElement.scrollWidth <= innerWidth, inside, top < 900]
    })()"""
    found = browser.measure(outputs / "index.html", script, tmp_path / "profile", width=width)
    assert found == [True, True, True]
