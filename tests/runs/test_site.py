"""The report site: complete, escaped, without a network; tables come from records alone."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import filelock
import nbformat
import pytest
import scratch
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from scratch import REPOSITORY, add_plain, environment

from whycluster.runs import report, results, site
from whycluster.runs.record import RecordError
from whycluster.runs.sanitiser import clean

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptV"  # the beginning of an image
ATTACK = "<script>alert('x')</script>"


def row(**changes):
    """Return a results row."""
    values = {"table": "T", "dataset": "d", "method": "m", "metric": "ACC", "unit": "%"}
    rest = {"values": [90.0, 92.0], "published": 95.5, "published_sd": None, "note": ""}
    return values | rest | changes


def recorded(run="big", **changes):
    """Return the record of a finished run."""
    facts = {
        "notebook": "10-a",
        "run": run,
        "title": "Is it?",
        "status": "done",
        "started": "2026-03-01T07:05:09+00:00",
        "parameters": {"n": 1, "name": ATTACK},
        "git": {"commit": "0123456789abcdef", "dirty": True},
        "versions": {"python": "3.11.7"},
        "threads": 2,
        "wall_s": 75.0,
        "resumed": True,
        "peak_memory_mb": 512,
        "device": "A processor",
        "seeds": [0, 1],
        "results": [row()],
    }
    return facts | changes


def executed(*cells):
    """Return a notebook of finished cells."""
    return new_notebook(cells=[new_markdown_cell("# Is it?"), *cells])


def shown(*outputs):
    """Return a code cell with outputs, each a dict of representations."""
    data = [new_output("display_data", data=output) for output in outputs]
    return new_code_cell("show()", outputs=data)


def put(outputs, name="10-a/big", content=None, cells=(), status="done"):
    """Write the files of a run into a folder of outputs."""
    folder = outputs / name
    (folder / "figures").mkdir(parents=True)
    if status == "done":
        (folder / "record.json").write_text(json.dumps(content or recorded()))
    if status == "failed":
        facts = recorded() | {"status": "failed", "reason": f"ValueError: {ATTACK} (cell 3)"}
        (folder / "failed.json").write_text(json.dumps(facts))
    file = "report.ipynb" if status == "done" else "report.partial.ipynb"
    nbformat.write(executed(*cells), folder / file)
    return folder


class Page(HTMLParser):
    """Collects what an HTML page contains."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.loaded, self.handlers = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        for name, value in attributes:
            if name == "href":
                (self.links if tag == "a" else self.loaded).append(value)
            if name in ("src", "srcset", "data", "action", "poster"):
                self.loaded.append(value)
            if name.startswith("on"):
                self.handlers.append(name)


def page(path):
    """Parse a page and check what holds for all: nothing runs, nothing is fetched."""
    text = path.read_text(encoding="utf-8")
    parsed = Page(text)
    assert not {"script", "iframe", "object", "embed", "link", "form"} & set(parsed.tags)
    assert parsed.handlers == []
    assert [
        link for link in parsed.loaded if re.match(r"\w+:|//", link) and link[:5] != "data:"
    ] == []
    assert "@import" not in text
    assert not re.search(r"url\(", text)
    return text, parsed


def body(*cells):
    """Render cells as a report does."""
    return str(report.body(executed(*cells)))


# Pages


def test_the_site_shows_every_run_with_its_state(tmp_path):
    scratch.library(tmp_path)
    (tmp_path / "parameters/10-a").mkdir(parents=True)
    (tmp_path / "parameters/10-a/waiting.yaml").write_text("n: 1")
    add_plain(tmp_path, "10-a")
    outputs = tmp_path / "outputs"
    put(outputs)
    put(outputs, "10-a/broken", status="failed")
    put(outputs, "10-a/cut", status="interrupted")
    put(outputs, "10-a/busy", status="interrupted")
    put(outputs, "10-a/interactive")
    with filelock.FileLock(outputs / "10-a/busy/.lock"):
        other = subprocess.run(
            [sys.executable, "-m", "whycluster.runs", "report"],
            cwd=tmp_path,
            env=environment(tmp_path),
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert (other.returncode, other.stdout) == (0, "outputs/index.html\n")
    text, _ = page(outputs / "index.html")
    assert re.findall(r'class="count [\w-]+">([\w ]+)', text) == [
        "1 done",
        "1 failed",
        "1 running",
        "1 interrupted",
        "2 not run",
    ]
    states = re.findall(
        r'<p class="status [\w-]+">\s*<\w+[^>]*>10-a/(\w+)</\w+>\s*<span>(\w+)', text
    )
    assert dict(states) == {"broken": "failed", "cut": "interrupted", "busy": "running"}
    assert '<a href="10-a/big/report.html">big</a>' in text
    quick, _ = page(outputs / "quick.html")
    not_run = quick[quick.index("<span>not run</span>") :]
    commands = re.findall(r"<code>([^<]*)</code>", not_run)
    assert commands == ["make run RUN=10-a/", "quick", "waiting"]


def test_the_page_of_a_run_says_how_it_was_made_below_its_title(tmp_path):
    folder = put(tmp_path)
    site.build(tmp_path, tmp_path)
    text, parsed = page(folder / "report.html")
    header = text[: text.index("</header>")]
    assert parsed.tags.count("h1") == 1, "the title stands once"
    below = header[header.index("<h1>Is it?</h1>") :]
    for fact in (
        "made by an earlier version",
        "1 Mar 2026, 07:05 UTC",
        "1 min 15 s (resumed)",
        "A processor, 2 threads",
        "512 MB",
        "0, 1",
    ):
        assert fact in below


def test_every_link_of_the_site_leads_somewhere(tmp_path):
    folder = put(tmp_path, "10-a/big run#1")
    quick = put(tmp_path, "10-a/quick", recorded("quick"))
    (quick / "figures" / "a b.png").write_bytes(b"")
    site.build(tmp_path, tmp_path)
    for path in (*(tmp_path / name for name in site.PAGES), folder / "report.html"):
        _, parsed = page(path)
        targets = [link for link in parsed.links + parsed.loaded if link[0] != "#"]
        assert targets
        for link in targets:
            name = link.replace("%20", " ").replace("%23", "#")
            assert (path.parent / name).exists(), link
    assert len(Page((tmp_path / "quick.html").read_text()).loaded) == 1, "one figure"


def test_text_from_data_is_escaped_everywhere(tmp_path):
    facts = recorded(
        title=ATTACK,
        device=ATTACK,
        results=[row(table=ATTACK, dataset=ATTACK, method=ATTACK, metric=ATTACK, note=ATTACK)],
    )
    cells = [
        new_markdown_cell(f"# {ATTACK}\n\n{ATTACK} $x < {ATTACK}$"),
        shown({"text/html": f"<p>{ATTACK}<b>kept</b></p>"}, {"text/markdown": ATTACK}),
        shown({"text/plain": ATTACK}, {"text/latex": ATTACK}),
        shown({"application/javascript": "x()", "text/plain": "a script"}),
        shown({"image/svg+xml": f"<svg>{ATTACK}</svg>"}),
    ]
    put(tmp_path, content=facts, cells=cells)
    put(tmp_path, "10-a/broken", status="failed")
    site.build(tmp_path, tmp_path)
    for path in ("index.html", "10-a/big/report.html", "10-a/broken/report.partial.html"):
        text, _ = page(tmp_path / path)
        assert "&lt;script&gt;" in text, "the text itself is shown"


def test_a_page_is_rendered_again_only_when_its_run_changed(tmp_path):
    folder = put(tmp_path)
    site.build(tmp_path, tmp_path)
    written = (folder / "report.html").stat().st_mtime_ns
    site.build(tmp_path, tmp_path)
    assert (folder / "report.html").stat().st_mtime_ns == written
    nbformat.write(executed(new_markdown_cell("Changed.")), folder / "report.ipynb")
    site.build(tmp_path, tmp_path)
    assert "Changed." in (folder / "report.html").read_text()


def test_a_run_that_failed_shows_why_and_how_far_it_came(tmp_path):
    banner = new_markdown_cell("An Exception", metadata={"tags": ["papermill-error-cell-tag"]})
    error = new_output("error", ename="E", evalue="v", traceback=["\x1b[31mE\x1b[0m: 1 < 2"])
    put(tmp_path, status="failed", cells=[banner, new_code_cell("x", outputs=[error])])
    index, _ = page(site.build(tmp_path, tmp_path))
    assert "ValueError: &lt;script&gt;" in index
    text, _ = page(tmp_path / "10-a/big/report.partial.html")
    assert "An Exception" not in text
    assert re.search(r'<span class="ansi-red-fg">E</span>: 1 &lt; 2', text)


@pytest.mark.parametrize(("status", "is_shown"), [("done", False), ("failed", True)])
def test_code_is_folded_away_unless_it_failed(tmp_path, status, is_shown):
    folder = put(tmp_path, status=status)
    site.build(tmp_path, tmp_path)
    (report,) = folder.glob("*.html")
    box = re.search(r'<input type="checkbox" id="code"( checked)?>', report.read_text())
    assert bool(box[1]) == is_shown


# Cells


def test_equations_are_mathml():
    html = body(
        new_markdown_cell(
            r"Gates $g_i \in [0, 1]$ and $$\operatorname*{arg\,max}_k \pi_k \tag{3}$$"
            "\n\n\\begin{align}\na &= b \\\\\nc &< d\n\\end{align}\n\n"
            r"\begin{aligned} a &= 1 \end{aligned}"
        )
    )
    assert html.count("<math") == 4
    assert "arg max" in html.replace("\xa0", " ")
    assert "$" not in html
    assert "&amp;" not in html
    assert "MathJax" not in html


def test_an_equation_that_is_not_understood_is_shown_as_it_is():
    assert '<code class="tex">\\frac{</code>' in body(new_markdown_cell(r"Odd: $\frac{$."))


def test_a_pandas_table_keeps_its_cells_and_loses_its_style():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({ATTACK: ["<b>x</b>"]}, index=["row"])
    html = body(shown({"text/html": frame._repr_html_(), "text/plain": "frame"}))
    assert '<th class="words">row</th>' in html
    assert "&lt;b&gt;x&lt;/b&gt;" in html
    assert "<style" not in html
    assert "tbody tr th" not in html


def test_the_richest_safe_form_of_an_output_is_shown():
    assert "data:image/png" in body(shown({"image/png": PIXEL, "text/plain": "<Figure>"}))
    widget = {"application/vnd.jupyter.widget-view+json": {"model_id": "x"}, "text/plain": "100%"}
    html = body(shown(widget))
    assert "100%" in html
    assert "widget" not in html
    html = body(shown({"application/javascript": "run()", "text/plain": "plain"}))
    assert ("plain" in html, "run()" in html) == (True, False)


@pytest.mark.parametrize(
    "fragment",
    [
        "<img src=x onerror=alert(1)>",
        '<img src="https://example.org/pixel.png">',
        '<a href="javascript:alert(1)">x</a>',
        '<a href="data:text/html,x">x</a>',
        '<svg onload="alert(1)"><script>alert(1)</script></svg>',
        '<div style="background: url(https://example.org/x)">x</div>',
        '<div style="position: fixed; top: 0">x</div>',
        '<iframe src="https://example.org"></iframe>',
        "<form action=https://example.org><input type=text></form>",
        '<math><mtext><a href="javascript:alert(1)">x</a></mtext></math>',
        '<math href="javascript:alert(1)"><mi>x</mi></math>',
        "<style>@import 'https://example.org/x.css'</style>",
        '<meta http-equiv="refresh" content="0;https://example.org">',
        "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
        "<scr<script>ipt>alert(1)</script>",
    ],
)
def test_nothing_that_runs_or_loads_is_left(fragment):
    html = clean(fragment)
    parsed = Page(html)
    assert not {"script", "iframe", "svg", "form", "meta", "style", "noscript"} & set(parsed.tags)
    assert parsed.handlers == parsed.loaded == []
    assert [link for link in parsed.links if link] == []
    assert not re.search(r'style="[^"]*(url|position)', html)


def test_what_reports_need_is_left():
    kept = (
        '<table style="border-collapse: collapse;"><tbody><tr><td colspan="2">age</td></tr></tbody>'
        '</table><a href="https://doi.org/x">paper</a>'
        f'<img alt="a" src="data:image/png;base64,{PIXEL}">'
    )
    assert clean(kept) == kept


# Tables


def only_cell(record):
    """Return the cell of a record with one result."""
    (table,) = results.tables([record])
    (line,) = table.datasets["d"]
    return line.cells[table.metrics[0]]


def test_ours_stands_beside_the_published_value():
    (table,) = results.tables([recorded()])
    (line,) = table.datasets["d"]
    assert (table.title, table.metrics) == ("T", ["ACC (%)"])
    assert (line.method, line.seeds, line.run) == ("m", 2, "10-a/big")
    assert line.cells["ACC (%)"] == results.Cell("91.0 ± 1.4", "95.5", "−4.5", "", 0)


@pytest.mark.parametrize(
    ("changes", "ours", "missing", "published", "difference"),
    [
        ({"values": [90.0]}, "90.0", "", "95.5", "−5.5"),
        ({"values": [None, 90.0]}, "90.0", "1 of 2 seeds", "95.5", "−5.5"),
        ({"values": [None, None]}, "–", "0 of 2 seeds", "95.5", ""),
        ({"published": None}, "91.0 ± 1.4", "", "", ""),
        ({"published_sd": 3}, "91.0 ± 1.4", "", "95.5 ± 3.0", "−4.5"),
        ({"published": 90}, "91.0 ± 1.4", "", "90.0", "+1.0"),
        ({"published": 91.04}, "91.0 ± 1.4", "", "91.0", "0.0"),
        ({"values": [0.5, 0.25], "published": 0.4}, "0.375 ± 0.177", "", "0.400", "−0.025"),
        ({"values": [-3.0, -4.0], "published": None}, "−3.50 ± 0.71", "", "", ""),
    ],
)
def test_numbers_are_written_alike(changes, ours, missing, published, difference):
    cell = only_cell(recorded(results=[row(**changes)]))
    assert cell == results.Cell(ours, published, difference, missing, 0)


def test_metrics_of_one_method_share_a_line():
    rows = [row(), row(metric="F1", note="why"), row(method="n", metric="F1", note="why"), row()]
    (table,) = results.tables([recorded(results=rows)])
    assert table.metrics == ["ACC (%)", "F1 (%)"]
    assert table.notes == ["why"]
    assert [(line.method, list(line.cells)) for line in table.datasets["d"]] == [
        ("m", ["ACC (%)", "F1 (%)"]),
        ("n", ["F1 (%)"]),
        ("m", ["ACC (%)"]),  # recorded twice: neither is lost
    ]
    assert table.datasets["d"][1].cells["F1 (%)"].note == 1


def test_full_runs_come_before_quick_ones_and_data_sets_stay_together(tmp_path):
    put(tmp_path, "10-a/quick", recorded("quick", results=[row(method="small")]))
    other = recorded(results=[row(dataset="b"), row(dataset="a"), row(dataset="d")])
    put(tmp_path, "10-a/big", other)
    site.build(tmp_path, tmp_path)
    text, _ = page(tmp_path / "numbers.html")
    assert re.findall(r'scope="rowgroup">(\w+)', text) == ["b", "a", "d"]
    assert text.index("<td>m †<") < text.index("<td>small †<")
    assert "2 seeds, quick" in text


def test_tables_of_quick_runs_alone_stand_on_a_page_of_their_own(tmp_path):
    put(tmp_path, "10-a/quick", recorded("quick"))
    site.build(tmp_path, tmp_path)
    assert "<caption>T</caption>" in page(tmp_path / "quick.html")[0]
    assert "<caption>T</caption>" not in page(tmp_path / "numbers.html")[0]
    assert "No full-scale run" in page(tmp_path / "index.html")[0]


def test_the_readme_table_holds_full_runs_only(tmp_path):
    for name in ("10-a/big", "10-a/quick", "10-a/interactive", "00-your-table/mine"):
        notebook, run = name.split("/")
        rows = [row(method=name, note="a|b"), row(method="<other>", metric="F1", unit="")]
        rows += [row(metric="unpublished", published=None)]
        rows += [row(method="unpublished", published=None)]
        rows += [row(table="U", published=None)]
        put(tmp_path, name, recorded(run, notebook=notebook, results=rows))
    text = results.markdown(results.full_records(tmp_path))
    assert text.splitlines() == [
        "**T**, published values in brackets",
        "",
        "| data set | method | ACC (%) | F1 | seeds |",
        "| --- | --- | ---: | ---: | ---: |",
        "| d † | 10-a/big | 91.0 ± 1.4 (95.5) <sup>1</sup> |  | 2 |",
        "|  | &lt;other&gt; |  | 91.0 ± 1.4 (95.5) | 2 |",
        "",
        r"<sup>1</sup> a\|b",
        "",
        "† made by an earlier version",
        "",
        "Executed reports, with all that was measured: [10-a/big](outputs/10-a/big/report.ipynb).",
    ]


def test_several_full_runs_on_one_data_set_are_told_apart(tmp_path):
    put(tmp_path, "10-a/quick", recorded("quick"))
    put(tmp_path, "10-a/big", recorded("big", results=[row(), row(method="n")]))
    site.build(tmp_path, tmp_path)
    shown, _ = page(tmp_path / "numbers.html")
    assert "2 seeds, big" not in shown
    put(tmp_path, "10-a/bigger", recorded("bigger", results=[row(), row(method="n")]))
    text = results.markdown(results.full_records(tmp_path))
    assert re.findall(r"^\| (.*?) ?\| [mn] ", text, re.M) == ["d (big) †", "", "d (bigger) †", ""]
    site.build(tmp_path, tmp_path)
    shown, _ = page(tmp_path / "numbers.html")
    assert re.findall(r"2 seeds, (big\w*)", shown) == ["big", "big", "bigger", "bigger"]


def test_the_readme_is_updated_between_its_marks(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- results -->\nold\n<!-- /results -->\nafter\n")
    assert results.update(readme, "new")
    assert readme.read_text() == "before\n<!-- results -->\nnew\n<!-- /results -->\nafter\n"
    assert not results.update(readme, "new")
    readme.write_text("no marks")
    with pytest.raises(RecordError, match="needs one line"):
        results.update(readme, "new")


@pytest.mark.skipif(not (REPOSITORY / "README.md").exists(), reason="no README yet")
def test_the_results_of_the_readme_are_those_of_the_records():
    text = (REPOSITORY / "README.md").read_text()
    block = results.markdown(results.full_records(REPOSITORY / "outputs"), REPOSITORY)
    assert f"{results.OPENING}\n{block}\n{results.CLOSING}" in text, (
        "run: python -m whycluster.runs table --update README.md"
    )
