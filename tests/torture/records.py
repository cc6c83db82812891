"""Damaged records and reports: the site is built, and says which page is damaged and why.

    python tests/torture/records.py 483

A scratch project has three finished runs. Each time one file of one run is altered in a seeded
way and ``make report`` builds the site. Its page must be whole or carry a reason of one line, the
pages of the other runs must be as they were, and the next build of the sound project is as the
first one. Takes about a quarter of a second each.
"""

import contextlib
import copy
import io
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import scratch

from whycluster.runs import __main__, execution

SECONDS = 30  # for one site; a longer one is stuck
RUNS = ("10-a/quick", "10-a/big", "23-neurcam-shapes/big")
WRONG = (
    None,
    True,
    False,
    -1,
    0,
    1.5,
    10**400,
    -(10**400),
    1e308,
    "",
    "x",
    "\ud800",
    "\0",
    "é\n" * 9,
)
WRONG += ("<script>x</script>", "../..", [], {}, [[1]], [None], {"x": {"y": None}}, "x" * 9999)
WRONG += (["a", "b"], {"": ""}, "9999-12-31T23:59:59+23:59", [[[[]]]] * 99, float("nan"))
CELLS = (
    "import io\nfrom IPython.display import HTML, Image, Markdown, display\nimport PIL.Image as P",
    "file = io.BytesIO()\nP.new('RGB', (40, 30)).save(file, 'PNG')\nimage = file.getvalue()\n"
    "(run.figures / 'a.png').write_bytes(image)\ndisplay(Image(image))",
    "print('printed')\ndisplay(HTML('<table><tr><td>1</td></tr></table>'), Markdown('$x$ **b**'))",
    "import warnings\nwarnings.warn('careful')\n{'a': [1, 2]}",
)


def prepare(project: Path) -> None:
    """Make the project and execute its three runs."""
    scratch.library(project)
    os.environ["PYTHONPATH"] = scratch.environment(project)["PYTHONPATH"]
    os.chdir(project)
    for name in RUNS:
        notebook, run = name.split("/")
        path = scratch.add(project, notebook, *CELLS)
        execution.execute(path.relative_to(project), run, {"seeds": [0, 1]})


# --- what is done to a file ------------------------------------------------------------------


def places(content, depth: int = 0):
    """Yield (container, key, depth) of every value in JSON."""
    pairs = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in list(pairs):
        yield content, key, depth
        if isinstance(value, dict | list):
            yield from places(value, depth + 1)


def place(content, rng):
    """Choose a place in JSON, each depth as often as the others."""
    found = list(places(content))
    depth = rng.choice(sorted({at for _, _, at in found}))
    return rng.choice([(holder, key) for holder, key, at in found if at == depth])


def swap(content, rng):
    """Put a value of another type in the place of one."""
    holder, key = place(content, rng)
    holder[key] = copy.deepcopy(rng.choice(WRONG))


def remove(content, rng):
    """Remove an entry."""
    holder, key = place(content, rng)
    del holder[key]


def exchange(content, rng):
    """Let two values of different places change these."""
    (first, key), (second, other) = place(content, rng), place(content, rng)
    taken = copy.deepcopy(second[other])
    second[other] = copy.deepcopy(first[key])
    first[key] = taken


def rename(content, rng):
    """Give an entry another name, or repeat an element."""
    holder, key = place(content, rng)
    if isinstance(holder, dict):
        holder[rng.choice(("", "x", key * 2, key.upper()))] = holder.pop(key)
    else:
        holder.insert(key, holder[key])


def cut(content: bytes, rng) -> bytes:
    """Cut off the end."""
    return content[: rng.randrange(len(content))]


def flip(content: bytes, rng) -> bytes:
    """Change some bytes."""
    changed = bytearray(content)
    for _ in range(rng.randint(1, 9)):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def replace(content: bytes, rng) -> bytes:
    """Put something else in the place of all."""
    return rng.choice(
        (b"", b"\n", b"null", b"[]", b"{}", b'"x"', b"1", b"NaN", b"[" * 100_000, b'{"a":' * 50_000)
        + (b"\xff\xfe", b"\x89PNG\r\n\x1a\n", b"<html>", content * 2, content + b"x", b"\0" * 999)
        + (content.decode().encode("utf-16"), content.decode().encode("utf-8-sig"), b"9" * 9999)
        + (b'{"cells": []}', b'{"cells": [], "metadata": {}, "nbformat": 99, "nbformat_minor": 0}')
        + (b'{"nbformat": 3, "worksheets": [{"cells": [1]}]}', b'{"nbformat": -1, "cells": 1}')
        + (
            b"<<<<<<< HEAD\n" + content,
            content.replace(b"\n", b"\r\n"),
            content.replace(b'"', b"'"),
        )
    )


def odd_file(path: Path, rng) -> None:
    """Put what is no file, or none that can be read, in the place of one."""
    path.unlink()
    other = rng.choice(("nothing", "folder", "itself", "nowhere", "elsewhere", "device"))
    links = {"itself": path.name, "nowhere": "gone", "elsewhere": "..", "device": os.devnull}
    if other == "folder":
        path.mkdir()
    elif other in links:
        path.symlink_to(links[other])


WITHIN, WHOLE = (swap, swap, swap, remove, remove, exchange, rename), (cut, flip, replace)


def alter(path: Path, rng) -> str:
    """Alter a file; return how."""
    change = rng.choice((*WITHIN, *WHOLE, odd_file))
    if change is odd_file:
        odd_file(path, rng)
    elif change in WHOLE:
        path.write_bytes(change(path.read_bytes(), rng))
    else:
        content = json.loads(path.read_text())
        for _ in range(rng.choice((1, 1, 1, 3))):
            change(content, rng)
        path.write_text(json.dumps(content))
    return change.__name__


# --- what comes of it ------------------------------------------------------------------------


class Stuck(BaseException):
    """A site that takes too long; no error of the content, so that nothing catches it."""


def is_stuck(*_signal) -> None:
    """Interrupt a build."""
    raise Stuck(f"still building after {SECONDS} s")


def build() -> str:
    """Build the site of the working directory; return what is wrong with how that went."""
    said = io.StringIO()
    signal.alarm(SECONDS)
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            status = __main__.main(["report"])
    except (Exception, Stuck) as error:
        return f"{type(error).__name__}: {error}"
    finally:
        signal.alarm(0)
    return "" if (status, said.getvalue()) == (0, "") else f"{status}, {said.getvalue()!r}"


def pages() -> dict[str, str]:
    """Read the page of each run, and the index."""
    files = {run: Path("outputs", run, "report.html") for run in RUNS}
    files["index"] = Path("outputs/index.html")
    return {name: file.read_text() if file.is_file() else "" for name, file in files.items()}


def reasons(page: str) -> list[str]:
    """List what a page says is damaged."""
    return re.findall(r'<p class="reason">([^<]*)<', page)


def judge(altered: str, file: str, sound: dict[str, str]) -> str:
    """Compare the site of the altered project with that of the sound one."""
    if wrong := build():
        return wrong
    found = pages()
    others = [run for run in RUNS if run != altered and found[run] != sound[run]]
    if others:
        return f"the page of {others[0]} has changed"
    named = reasons(found["index"])
    if len(named) > 1 or any(not r.startswith(file) or "\n" in r for r in named):
        return f"the index says {named}"
    if named and reasons(found[altered]) != named:
        return f"the index says {named}, the page {reasons(found[altered])}"
    if not named and "<span>damaged</span>" in found[altered] + found["index"]:
        return "damaged without a reason"
    return "" if named or is_harmless(altered, file) else "the damage is not named"


def is_harmless(altered: str, file: str) -> bool:
    """Say whether what was altered is still JSON, so that it may be shown as it is."""
    try:
        return isinstance(json.loads(Path("outputs", altered, file).read_text("utf-8")), dict)
    except (OSError, ValueError, RecursionError):
        return False


def main(count: int, seed: int) -> int:
    """Damage `count` files, one at a time; 1 if the site does not stand any of them."""
    signal.signal(signal.SIGALRM, is_stuck)
    failures, damaged = [], 0
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        prepare(Path(folder))
        failures += [f"the sound site: {wrong}"] if (wrong := build()) else []
        shutil.copytree("outputs", "sound", symlinks=True)
        sound = pages()
        for number in range(count):
            rng = random.Random(f"{seed}-{number}")
            run, file = rng.choice(RUNS), rng.choice(("record.json", "report.ipynb"))
            how = alter(Path("outputs", run, file), rng)
            if wrong := judge(run, file, sound):
                failures.append(f"alteration {number} ({how}, {run}, {file}): {wrong[:300]}")
            damaged += bool(reasons(pages()["index"]))
            shutil.rmtree("outputs")
            shutil.copytree("sound", "outputs", symlinks=True)
    print(*failures, f"{count} alterations, {damaged} named, {len(failures)} failures", sep="\n")
    return int(bool(failures))


if __name__ == "__main__":
    arguments = [int(text) for text in sys.argv[1:]]
    sys.exit(main(*(arguments + [483, 0][len(arguments) :])))
