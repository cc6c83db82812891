"""A browser that opens a page of a file: what it shows, what ran in it, what it asked for."""

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


def dump(page, profile, *options, width=1300):
    """Return the document of a page after its scripts, if any, have run."""
    command = [CHROMIUM, *QUIET, f"--user-data-dir={profile}", f"--window-size={width},900"]
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
    """Open a copy of a page with a script that measures it; return what the script finds."""
    copy = page.with_name(f"measured-{page.name}")
    element = f"<pre id=found></pre><script>found.textContent = JSON.stringify({script})</script>"
    text = page.read_text(encoding="utf-8").replace("Content-Security-Policy", "x-none")
    copy.write_text(text.replace("</body>", f"{element}</body>"), encoding="utf-8")
    document = dump(copy, profile, width=width)
    found = document.rpartition('<pre id="found">')[2].partition("</pre>")[0]
    return json.loads(found.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
