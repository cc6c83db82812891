"""Files that are either whole or absent, whatever happens to the process that writes them."""

import json
import os
from pathlib import Path


def write(path: Path, content: str | bytes) -> None:
    """Write a file under a provisional name beside it, then rename it."""
    provisional = path.with_name(f".writing-{path.name}")
    provisional.write_bytes(content.encode() if isinstance(content, str) else content)
    os.replace(provisional, path)


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
