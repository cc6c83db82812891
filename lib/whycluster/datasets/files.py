"""Where the files of the data sets are: supplied by hand, cached, or downloaded.

A file is looked up in the folder `$WHYCLUSTER_DATA`, then in the user's cache, else downloaded from
upstream into the cache. Its checksum is verified every time.
"""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pooch

from whycluster.datasets.registry import File

VARIABLE = "WHYCLUSTER_DATA"


def fetch(file: File) -> Path:
    """Path of a verified copy of `file`.

    A damaged file in the cache is fetched again; one in `$WHYCLUSTER_DATA` is the user's and only
    reported.

    Raises
    ------
    ValueError
        If the supplied or the downloaded bytes do not have the known checksum.
    FileNotFoundError
        If the file is nowhere and cannot be downloaded, or `$WHYCLUSTER_DATA` is not a folder.
    """
    supplied = _supplied(file)
    if supplied and not is_intact(supplied, file):
        raise ValueError(
            f"{supplied} is damaged (its {_algorithm(file)} is not {_digest(file)}); "
            f"replace it, or unset {VARIABLE} to download {file.path}"
        )
    return supplied or _fetch_cached(file)


def locate(file: File) -> tuple[str, Path] | None:
    """Place ("$WHYCLUSTER_DATA" or "cache") and path of `file`, unverified; None if missing."""
    if supplied := _supplied(file):
        return f"${VARIABLE}", supplied
    cached = cache_folder() / file.path
    return ("cache", cached) if cached.is_file() else None


def is_intact(path: Path, file: File) -> bool:
    """Whether the bytes at `path` have the checksum of `file`, or that of a copy of it."""
    known = (file, *file.copies)
    return any(pooch.file_hash(str(path), alg=_algorithm(f)) == _digest(f) for f in known)


def cache_folder() -> Path:
    """Folder that downloads are kept in."""
    return Path(pooch.os_cache("whycluster"))


def _supplied(file: File) -> Path | None:
    folder = os.environ.get(VARIABLE)
    if not folder:
        return None
    if not Path(folder).expanduser().is_dir():
        raise FileNotFoundError(f"{VARIABLE}={folder} is not a folder; correct it or unset it")
    paths = (Path(folder).expanduser() / known.path for known in (file, *file.copies))
    return next((path for path in paths if path.is_file()), None)


def _fetch_cached(file: File) -> Path:
    cached = cache_folder() / file.path
    if file.url is None and not (cached.is_file() and is_intact(cached, file)):
        raise FileNotFoundError(f"{file.path} has no direct download; {_by_hand(file)}")
    store = pooch.create(
        path=cache_folder(),
        base_url="",
        registry={file.path: file.checksum},
        urls={file.path: file.url or ""},
        retry_if_failed=1,
    )
    try:
        return Path(store.fetch(file.path, downloader=_downloader(file)))
    except ValueError as error:  # pooch: not the known checksum
        message = f"the download of {file.path} is damaged, also at a second try; {_by_hand(file)}"
        raise ValueError(message) from error
    except OSError as error:  # requests' errors are OSErrors
        message = f"cannot download {file.path} ({_reason(error)}); {_by_hand(file)}"
        raise FileNotFoundError(message) from error


def _downloader(file: File) -> Callable | None:
    """Download of one member of an archive; None, pooch's own choice, for a plain file."""
    if (member := file.member) is None:
        return None

    def download_member(url: str, output_file: str, store: pooch.Pooch) -> None:
        with tempfile.TemporaryDirectory() as folder:
            archive = os.path.join(folder, "archive")
            pooch.HTTPDownloader()(url, archive, store)
            _extract(archive, member, output_file)

    return download_member


def _extract(archive: str, member: str, output_file: str) -> None:
    try:
        with _opened(archive, member) as source, open(output_file, "wb") as target:
            shutil.copyfileobj(source, target)
    except (zipfile.BadZipFile, tarfile.TarError, KeyError) as error:
        raise ValueError(f"the archive is damaged or lacks {member}") from error


def _opened(archive: str, member: str) -> IO[bytes]:
    if zipfile.is_zipfile(archive):
        return zipfile.ZipFile(archive).open(member)
    return opened_member(tarfile.open(archive), member)


def opened_member(archive: tarfile.TarFile, member: str | tarfile.TarInfo) -> IO[bytes]:
    """Open a file of a tar archive; a KeyError if what has the name is a folder or a link."""
    found = archive.extractfile(member)
    if found is None:
        raise KeyError(f"{member} is no file")
    return found


def _by_hand(file: File) -> str:
    member = f"member {file.member} of " if file.member else ""
    return (
        f"get {member}{file.url or file.source} by hand, "
        f"save it as FOLDER/{file.path} and set {VARIABLE}=FOLDER"
    )


def _reason(error: OSError) -> str:
    response = getattr(error, "response", None)
    return type(error).__name__ if response is None else f"HTTP {response.status_code}"


def _algorithm(file: File) -> str:
    return file.checksum.split(":")[0]


def _digest(file: File) -> str:
    return file.checksum.split(":")[1]
