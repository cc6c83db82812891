"""`python -m whycluster.datasets`: list, verify and fetch the data sets."""

from __future__ import annotations

import argparse
import sys

from whycluster.datasets import files, registry
from whycluster.datasets.registry import Entry

EMBEDDED = {"sklearn": "scikit-learn", "generated": "generated", "topics": "generated"}


def main(arguments: list[str] | None = None) -> int:
    """Run the command; the exit status is 1 if a file is damaged or cannot be fetched."""
    options = _parser().parse_args(arguments)
    try:
        if options.fetch:
            return _fetch(options.fetch)
        _list()
        return _verify() if options.verify else 0
    except (ValueError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m whycluster.datasets",
        description="List the known data sets: rows x features, where they are, licence.",
    )
    parser.add_argument("--verify", action="store_true", help="check the checksums of all files")
    parser.add_argument("--fetch", nargs="+", metavar="NAME", help="download these data sets")
    return parser


def _list() -> None:
    rows = [
        (entry.name, f"{entry.shape[0]} x {entry.shape[1]}", _where(entry), entry.licence)
        for entry in registry.ENTRIES.values()
    ]
    for name, shape, where, licence in [("name", "rows x features", "where", "licence"), *rows]:
        print(f"{name:<20}  {shape:>15}  {where:<34}  {licence}")


def _where(entry: Entry) -> str:
    """Place of the files, or how many of them are missing."""
    if not entry.files:
        return EMBEDDED[entry.format]
    places = [located[0] for file in entry.files if (located := files.locate(file))]
    n_missing = len(entry.files) - len(places)
    if n_missing == len(entry.files):
        return "missing"
    found = " and ".join(sorted(set(places)))
    return f"{found}, {n_missing} of {len(entry.files)} missing" if n_missing else found


def _verify() -> int:
    """Report each damaged file; the exit status is 1 if there is one."""
    known = {file.path: file for entry in registry.ENTRIES.values() for file in entry.files}
    present = [(file, located[1]) for file in known.values() if (located := files.locate(file))]
    damaged = [path for file, path in present if not files.is_intact(path, file)]
    for path in damaged:
        print(f"damaged: {path}")
    print(f"{len(present)} of {len(known)} files present, {len(damaged)} damaged")
    return 1 if damaged else 0


def _fetch(names: list[str]) -> int:
    for entry in [registry.find(name) for name in names]:
        for file in entry.files:
            print(files.fetch(file))
        print(f"{entry.name}: {entry.shape[0]} rows, {entry.shape[1]} features, {entry.licence}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
