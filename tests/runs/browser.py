"""A browser that opens a page of a file: what it shows, what ran in it, what it asked for."""

import html
import json
import shutil
import subprocess

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
needed = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (apt-get install chromium)")
QUIET = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
)


def dump(page, profile, *options):
    """Return the document of a page after its scripts, if any, have run."""
    command = [CHROMIUM, *QUIET, f"--user-data-dir={profile}", "--window-size=1300,900"]
    command += ["--virtual-time-budget=3000", "--dump-dom", *options, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def requests(page, profile):
    """Return the document of a page, and every address that the browser asked a network for."""
    log = profile / "net.json"
    profile.mkdir(exist_ok=True)
    document = dump(page, profile, f"--log-net-log={log}")
    text = log.read_text()
    try:
        events = json.loads(text)["events"]
    except ValueError:  # the browser closes the list only when it ends in peace
        events = json.loads(text.rstrip().rstrip(",") + "]}")["events"]
    params = (event.get("params", {}) for event in events)
    return document, sorted({p[key] for p in params for key in ("url", "host") if p.get(key)})


def measure(page, script, profile, width=1300):
    """Open a copy of a page in a frame so wide, measure it by a script, return what that finds."""
    copy = page.with_name(f"measured-{page.name}")
    asking = f"<script>onload = () => parent.postMessage({script}, '*')</script>"
    text = page.read_text(encoding="utf-8").replace("Content-Security-Policy", "x-none")
    copy.write_text(text.replace("</body>", f"{asking}</body>"), encoding="utf-8")
    frame = page.with_name("frame.html")
    frame.write_text(
        "<pre id=found></pre><script>"
        "onmessage = event => { found.textContent = JSON.stringify(event.data) }</script>"
        f'<iframe src="{copy.name}" style="border: 0; width: {width}px; height: 900px"></iframe>'
    )
    document = dump(frame, profile)
    found = document.rpartition('<pre id="found">')[2].partition("</pre>")[0]
    return json.loads(html.unescape(found))
