"""Base forms of English nouns by WordNet's own rules and lists."""

import json
from collections.abc import Iterable, Sequence
from functools import cache

from whycluster.datasets import files
from whycluster.datasets.registry import File

_LOOKUPS = "https://raw.githubusercontent.com/explosion/spacy-lookups-data"
_LOOKUPS += "/d55d616883480661c814c0ba99579169fea8f5a7/spacy_lookups_data/data"
_WORDNET = {
    table: File(
        path=f"spacy-lookups-en/en_lemma_{table}.json",
        checksum=f"sha256:{digest}",
        source="https://github.com/explosion/spacy-lookups-data",
        url=f"{_LOOKUPS}/en_lemma_{table}.json",
    )
    for table, digest in {
        "exc": "d6c9768e62893bf179c1604f1ea78a598cb876e6a13a733db88e4aea5c20cbdf",
        "index": "def4ad93711cf41926ee236ead3bd13fb75461ac665911fbf5097c1633ea16dd",
        "rules": "e43768e00842ab94b44f6c2545d03803137d10923f0e31a3d6c63264c5d050ba",
    }.items()
}


@cache
def lemma(word: str) -> str:
    """Return the shortest noun that WordNet derives a word from, or the word itself.

    Exceptions first ("feet": "foot"); else endings are replaced until WordNet has the result.
    """
    exceptions, nouns, rules = _wordnet_nouns()
    if word in exceptions:
        found = [form for form in (word, *exceptions[word]) if form in nouns]
        return min(found, key=len, default=word)
    forms = [word]
    found = [word] if word in nouns else []
    while forms:
        forms = list(_shorten(forms, rules))
        found += [form for form in forms if form in nouns]
        if found:
            return min(found, key=len)
    return word


def _shorten(words: Iterable[str], rules: Sequence[tuple[str, str]]) -> Iterable[str]:
    return (w[: -len(old)] + new for w in words for old, new in rules if w.endswith(old))


@cache
def _wordnet_nouns() -> tuple[dict, frozenset, list]:
    """Return WordNet's exceptions, nouns and rules of ending."""
    tables = {name: json.loads(files.fetch(f).read_text("utf-8")) for name, f in _WORDNET.items()}
    exceptions, nouns, rules = (tables[name]["noun"] for name in ("exc", "index", "rules"))
    return exceptions, frozenset(nouns), [tuple(rule) for rule in rules]
