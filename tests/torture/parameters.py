"""Strange parameter files: each is read, or refused in one line, within a second.

    python tests/torture/parameters.py 3000

Every file is made from a seed and goes the way of ``make run``: it is read, and its values are
laid over what a notebook declares. Takes about a quarter of a minute.
"""

import json
import random
import signal
import string
import sys
import tempfile
from pathlib import Path

import nbformat

sys.path.insert(0, str(Path(__file__).parents[1]))
import scratch

from whycluster.runs import parameters, record

SECONDS = 1  # of the processor for one file; a longer one is stuck
LONGEST = 700  # characters of a reason, beside the name of the file
DECLARED = "n = 3\nrate = 0.5\nname = 'a'\nfast = False\nseeds = [0]\nany_k = None\nwords = ['a']\n"
NAMES = ("n", "rate", "name", "fast", "seeds", "any_k", "words")
VALUES = (
    *("1", "0.5", "-3", "1e3", "1e-4", "1_000", "0x1F", "0o17", "0b1", "012", "1:30", "190:20:30"),
    *(
        ".inf",
        "-.inf",
        ".nan",
        "1e999",
        "9" * 400,
        "9" * 5000,
        "0x" + "f" * 5000,
        "1" + ":59" * 400,
    ),
    *("yes", "no", "on", "off", "y", "true", "False", "~", "null", "", "''", '""', "None", "nan"),
    *("2026-02-30", "2026-13-45", "2026-01-01", "0000-00-00", "9999-12-31T23:59:60Z"),
    *("2026-01-01 25:61:61", "2026-01-01T00:00:00+99:99", "2001-12-14 21:59:43.10 -5"),
    *("[0, 1]", "[]", "[no]", "[a, 1, null]", "[[1]]", "[1, [2, [3, [4]]]]", "{a: 1}", "{}"),
    *("[" * 50 + "]" * 50, "{a: " * 50 + "}" * 50, "[" * 9000, "? " * 900, "- " * 900),
    *("|\n  text\n  more", ">-\n  folded", '"\\ud800"', '"\\u0000"', '"\\x00"', '"\\q"', "'open"),
    *("é", "客户", "\u202etxt", "\ufffe", "\x07", "\u0085", "\u2028", "a: b: c", "@x", "`x`", "%x"),
)
TAGS = (
    *(
        "!!int x",
        "!!float x",
        "!!bool maybe",
        "!!null x",
        "!!timestamp x",
        "!!binary x",
        "!!binary ==",
    ),
    *("!!set {a, b}", "!!set [a]", "!!omap [a: 1]", "!!omap 3", "!!pairs [a: 1]", "!!pairs x"),
    *("!!python/object/apply:os.system ['false']", "!!python/name:os.system", "!!python/tuple [1]"),
    *(
        "!!python/object/new:os.system [x]",
        "!!str 3",
        "!!str [1]",
        "!!map [1]",
        "!!seq {a: 1}",
        "!x 1",
    ),
    *(
        "!<tag:yaml.org,2002:int> 3",
        "!",
        "!!",
        "!<",
        "!!int ''",
        "!!float ''",
        "!!int [1]",
        "!!int",
    ),
    *(
        "!!int 0x",
        "!!int 0b",
        "!!int -",
        "!!int '1:x'",
        "!!float '.'",
        "!!bool {}",
        "!!timestamp []",
    ),
)
KEYS = (
    *(
        "N",
        "nn",
        "n ",
        '"n"',
        "'n'",
        "1",
        "1.5",
        "null",
        "yes",
        "~",
        "2026-01-01",
        "[1]",
        "{a: 1}",
        "?",
    ),
    *(
        "? [a, b]\n",
        "? {a: 1}\n",
        "<<",
        "=",
        "!!int 3",
        "!!str n",
        "!!binary bg",
        "__class__",
        "é",
        "n.n",
    ),
    *(
        "k" * 1000,
        "k" * 5000,
        "&a n",
        "*a",
        "- n",
        "#n",
        "",
        ".nan",
        "!!null n",
        "!!set {a}",
        "!x n",
    ),
)
ENCODINGS = ("utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp1252", "gbk", "shift-jis", "cp500")


# --- the files -------------------------------------------------------------------------------


def sound(rng) -> str:
    """Write a few lines that the notebook takes."""
    right = (
        "n: 4",
        "rate: 0.25",
        "name: b",
        "fast: true",
        "seeds: [0, 1]",
        "any_k: 2",
        "words: [b]",
    )
    return "\n".join(rng.sample(right, rng.randint(1, len(right)))) + "\n"


def value(rng) -> str:
    """Give a parameter a strange value."""
    return sound(rng) + f"{rng.choice(NAMES)}: {rng.choice(VALUES)}\n"


def tag(rng) -> str:
    """Give a parameter, or an element of it, a tag."""
    form = rng.choice(("{}: {}\n", "{}: [{}]\n", "{}: [1, {}]\n", "{}: {{a: {}}}\n"))
    return form.format(rng.choice(NAMES), rng.choice(TAGS))


def key(rng) -> str:
    """Use a strange key, in its place or within a value."""
    form = rng.choice(("{}: {}\n", "n: {{{}: {}}}\n", "- {}: {}\n"))
    return form.format(rng.choice(KEYS), rng.choice(("1", "x", "[1]", "")))


def alias(rng) -> str:
    """Refer to other parts: once, to itself, by merging, or many times over."""
    width, depth = rng.randint(2, 12), rng.randint(1, 12)
    layers = [f"a0: &a0 [{', '.join('x' * width)}]"]
    layers += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * width)}]" for i in range(1, depth)]
    return rng.choice(
        (
            "\n".join(layers) + f"\nn: *a{depth - 1}\n",
            "n: &a [*a]\n",
            "n: &a {b: *a}\n",
            "&a n: *a\n",
            "n: *nowhere\n",
            "n: &a 1\nrate: *a\n",
            "n: &a 1\nn: &a 2\nrate: *a\n",
            "base: &b {n: 1}\n<<: *b\n",
            "<<: {n: 1}\n",
            "<<: [{n: 1}, {n: 2}]\n",
            "<<: 3\n",
            "n: {<<: [1]}\n",
        )
    )


def nesting(rng) -> str:
    """Nest lists, mappings and lines as deep as a file can hold, closed or not."""
    depth = rng.choice((5, 50, 500, 5000, 30_000))
    opening = rng.choice(("[", "{a: ", "[{a: [", "- ", "? ", "!!seq [", "'", '"', "(", "\t"))
    lines = "".join(" " * i + "a:\n" for i in range(min(depth, 300)))
    closing = "]" * rng.choice((0, depth))
    return rng.choice((f"n: {opening * depth}{closing}\n", opening * depth, lines))


def document(rng) -> str:
    """Use what a flat mapping has no need of: directives, documents, other roots."""
    return rng.choice(
        (
            *(
                "",
                "\n",
                "---\n",
                "...\n",
                "# nothing\n",
                "--- 3\n",
                "--- text\n",
                "- 1\n",
                "[1]\n",
                "3",
            ),
            *("--- {n: 1}\n--- {n: 2}\n", "%YAML 1.1\n---\nn: 1\n", "%YAML 9.9\n---\nn: 1\n"),
            *(
                "%TAG ! tag:x,2000:\n---\nn: !y 1\n",
                "%TAG\n---\nn: 1\n",
                "%YAML x\n---\n",
                "\ufeffn: 1\n",
            ),
            *(
                "n: 1\nn: 2\n",
                "n: 1\n'n': 2\n",
                "n: 1\n\tn: 2\n",
                "n:1\n",
                "n = 1\n",
                "n: 1 rate: 2\n",
            ),
            *("? n\n: 1\n", "? n\n", "{n: 1, n: 2}", "!!map {n: 1}", "!!omap [n: 1]", "!!set {n}"),
            *("n: 1\r", "n: 1\r\nrate: 1\r\n", "a:\n" * 20_000, "n: 1\n" * 20_000, "x" * 70_000),
            *("\n" * 60_000, " " * 60_000, "#" * 60_000, "n: '" + "x" * 60_000 + "'", "-" * 60_000),
        )
    )


def mutate(content: bytes, rng) -> bytes:
    """Cut, encode, swap or fill in bytes."""
    how = rng.randrange(6)
    if how == 0:
        return content[: rng.randint(0, len(content))]
    if how == 1:
        return content.decode().encode(rng.choice(ENCODINGS), "ignore")
    if how == 2 and content:
        place = rng.randrange(len(content))
        return content[:place] + rng.randbytes(rng.randint(1, 8)) + content[place + 1 :]
    if how == 3:
        place = rng.randint(0, len(content))
        noise = "".join(rng.choices(string.punctuation + " \n\t", k=rng.randint(1, 12)))
        return content[:place] + noise.encode() + content[place:]
    return content


KINDS = (sound, value, value, tag, key, alias, nesting, document)


def write(rng) -> tuple[str, bytes]:
    """Return the kind and the content of a file."""
    kind = rng.choice(KINDS)
    content = kind(rng).encode("utf-8", "surrogatepass")
    return kind.__name__, mutate(content, rng) if rng.random() < 0.5 else content


# --- what comes of them ----------------------------------------------------------------------


class Stuck(BaseException):
    """A file that takes too long; no error of the content, so that nothing catches it."""


def is_stuck(*_signal) -> None:
    """Interrupt a reading."""
    raise Stuck(f"still reading after {SECONDS} s")


def judge(file: Path, notebook: Path) -> str:
    """Read a file as ``make run`` does; return what is wrong with how that went, or nothing."""
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        values = parameters.merge(notebook, parameters.read(file), str(file))
        json.dumps(record.plain(values, "parameters"), allow_nan=False)
    except parameters.ParameterError as error:
        said = str(error)
        is_line = said.startswith(str(file)) and len(said.splitlines()) == 1
        return "" if is_line and len(said) < LONGEST + len(str(file)) else f"no line: {said!r}"
    except (Exception, Stuck) as error:
        return f"{type(error).__name__}: {error}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return misread(values, parameters.declared(notebook))


def misread(values: dict, defaults: dict) -> str:
    """Say which value has another type than its default."""
    for name, default in defaults.items():
        items = values[name] if isinstance(default, list) else [values[name]]
        wanted = type(default[0] if isinstance(default, list) else default)
        allowed = {float: (float, int), type(None): (bool, int, float, str, type(None))}
        if not all(type(item) in allowed.get(wanted, (wanted,)) for item in items):
            return f"{name} is {values[name]!r}"
    return ""


def main(count: int, seed: int) -> int:
    """Read `count` files; 1 if any of them fails."""
    signal.signal(signal.SIGPROF, is_stuck)
    failures = []
    with tempfile.TemporaryDirectory() as folder:
        notebook, file = Path(folder) / "10-a.ipynb", Path(folder) / "big.yaml"
        nbformat.write(scratch.notebook(parameters=DECLARED), notebook)
        for number in range(count):
            kind, content = write(random.Random(f"{seed}-{number}"))
            file.write_bytes(content)
            if wrong := judge(file, notebook):
                failures.append(f"file {number} ({kind}, {content[:60]!r}): {wrong[:300]}")
    print(*failures, f"{count} files, {len(failures)} failures", sep="\n")
    return int(bool(failures))


if __name__ == "__main__":
    arguments = [int(text) for text in sys.argv[1:]]
    sys.exit(main(*(arguments + [3000, 0][len(arguments) :])))
