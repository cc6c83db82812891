"""What is known about each data set: registry.toml as frozen records."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources


@dataclass(frozen=True)
class File:
    """One file of a data set; `checksum` is "sha256:..." (or "md5:..."), `url` None if by hand.

    `copies` are other files of the same content, compressed or packed differently, that a user may
    supply in its place.
    """

    path: str
    checksum: str
    source: str
    url: str | None = None
    member: str | None = None
    part: str | None = None
    copies: tuple[File, ...] = ()


@dataclass(frozen=True)
class Entry:
    """One data set: `shape` counts rows and features, `options` go to the reader of `format`.

    `members` are the files of each part inside the archive that holds all parts.
    """

    name: str
    description: str
    source: str
    licence: str
    shape: tuple[int, int]
    format: str
    files: tuple[File, ...] = ()
    aliases: tuple[str, ...] = ()
    seeded: bool = False
    members: dict[str, list[str]] = field(default_factory=dict)
    options: dict = field(default_factory=dict)

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts that upstream splits the rows into, () if it does not."""
        parts = [*(file.part for file in self.files if file.part), *self.members]
        return tuple(dict.fromkeys(parts))

    def files_of(self, part: str) -> tuple[File, ...]:
        """Files of one part, or of all of them for "all"."""
        choices = ("all", *self.parts)
        if part not in choices:
            raise ValueError(f"{self.name} has no part {part!r}; choose one of {choices}")
        return tuple(file for file in self.files if part == "all" or file.part in (None, part))

    def members_of(self, part: str) -> list[str]:
        """Files of one part inside the archive, or of all of them for "all"."""
        return [
            name for key, names in self.members.items() if part in ("all", key) for name in names
        ]


def names() -> list[str]:
    """Names of all known data sets, in the order of registry.toml."""
    return list(ENTRIES)


def find(name: str) -> Entry:
    """Entry called `name`, by name or alias; case, blanks, dashes and underscores do not matter.

    Raises
    ------
    ValueError
        If there is none; the message names the closest ones.
    """
    spellings = {
        _plain(known): entry for entry in ENTRIES.values() for known in (*entry.aliases, entry.name)
    }
    if _plain(name) not in spellings:
        close = difflib.get_close_matches(_plain(name), spellings, n=3, cutoff=0.5)
        hint = ", ".join(dict.fromkeys(spellings[match].name for match in close))
        hint = f"did you mean {hint}?" if hint else "see python -m whycluster.datasets"
        raise ValueError(f"no data set is called {name!r}; {hint}")
    return spellings[_plain(name)]


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", str(name).lower())


def _read() -> dict[str, Entry]:
    text = resources.files("whycluster.datasets").joinpath("registry.toml").read_text("utf-8")
    entries: dict[str, Entry] = {}
    for name, table in tomllib.loads(text).items():
        for key in ("description", "source", "licence", "format", "shape"):
            if key not in table:
                raise ValueError(f"registry.toml: [{name}] has no {key}; add it")
        known = {key: table.pop(key) for key in ("description", "source", "licence", "format")}
        files: Sequence[File] = [
            _file(source=known["source"], **file) for file in table.pop("files", [])
        ]
        if shared := table.pop("files_of", None):
            files = entries[shared["name"]].files_of(shared["part"])
        entries[name] = Entry(
            name,
            **known,
            files=tuple(files),
            shape=tuple(table.pop("shape")),
            aliases=tuple(table.pop("aliases", ())),
            seeded=table.pop("seeded", False),
            members=table.pop("members", {}),
            options=table,
        )
    return entries


def _file(
    *, sha256: str | None = None, md5: str | None = None, copies: Sequence[dict] = (), **rest: str
) -> File:
    checksum = f"sha256:{sha256}" if sha256 else f"md5:{md5}"
    others = tuple(_file(source=rest["source"], **copy) for copy in copies)
    return File(checksum=checksum, copies=others, **rest)


ENTRIES = _read()
