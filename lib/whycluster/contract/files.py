"""Files that are either whole or absent, whatever happens to the process that writes them."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def aside(path: Path) -> Iterator[Path]:
    """Yield a provisional path beside `path`, which it replaces when the block ends well.

    After an error the provisional file is removed, so that a full disk gets its space back.

    Examples
    --------
    >>> with aside(Path("table.csv")) as provisional:  # doctest: +SKIP
    ...     frame.to_csv(provisional)
    """
    provisional = path.with_name(f".writing-{path.name}")
    try:
        yield provisional
        os.replace(provisional, path)
    except BaseException:
        provisional.unlink(missing_ok=True)
        raise


def write(path: Path, content: str | bytes) -> None:
    """Write a file under a provisional name beside it, then rename it."""
    with aside(path) as provisional:
        provisional.write_bytes(content.encode() if isinstance(content, str) else content)


def write_json(path: Path, content: dict) -> None:
    """Write strict JSON: a NaN or an infinity is an error, never a non-standard token."""
    write(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> dict | None:
    """Read a JSON object; None if the file is missing or is not one."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
