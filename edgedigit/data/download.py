"""Where corpora live on disk, and how a missing one is fetched: resumed, checked, unpacked."""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import tarfile
import tempfile
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_path

from edgedigit.data.progress import progress_bar
from edgedigit.errors import DataError
from edgedigit.manifest import sha256_of

ENVIRONMENT_VARIABLE = "EDGEDIGIT_DATA"
CHUNK_BYTES = 1 << 18
TIMEOUT_S = 30
ATTEMPTS = 3  # a broken connection is taken up again this often before giving up


@dataclass(frozen=True)
class Corpus:
    """A published corpus: how to recognise it on disk and where it comes from.

    Attributes:
        name: of the source, and of its folder in the cache.
        folders: places below the data directory to look in, best first.
        pattern: glob that matches one of its recordings inside such a folder.
        url: archive, for people and for the downloader.
        sha256: of the archive; None where its publisher states none and none is known.
        content_sha256: `folder_digest` of the recordings, for an archive without a stable hash of its own.
    """

    name: str
    folders: tuple[str, ...]
    pattern: str
    url: str
    sha256: str | None = None
    content_sha256: str | None = None


def cache_dir() -> Path:
    """The user's cache folder for corpora and rendered speech."""
    return user_cache_path("edgedigit")


def find_data_dir(data_dir: Path | str | None = None) -> Path:
    """The folder that holds the corpora: the argument, else $EDGEDIGIT_DATA, else the user's cache.

    Raises:
        DataError: if the folder that was named does not exist.
    """
    named = data_dir or os.environ.get(ENVIRONMENT_VARIABLE)
    if not named:
        return cache_dir()
    path = Path(named).expanduser()
    if not path.is_dir():
        origin = "--data-dir" if data_dir else f"${ENVIRONMENT_VARIABLE}"
        raise DataError(f"data directory {path} ({origin}) does not exist; name the folder that holds the corpora")
    return path


def locate(corpus: Corpus, data_dir: Path, download: bool = True, progress: bool = False) -> Path:
    """Folder of `corpus` below `data_dir`, else below the cache, else freshly downloaded to the cache.

    Raises:
        DataError: if it is nowhere and cannot be downloaded and checked.
    """
    found = _find(corpus, data_dir) or _find(corpus, cache_dir())
    if found:
        return found
    target = cache_dir() / corpus.name
    advice = f"unpack {corpus.url} into {data_dir / corpus.name}"
    advice += ", or do without: --set data.sources=[synth] --set data.split=all"
    if not corpus.sha256 and not corpus.content_sha256:
        raise DataError(f"{corpus.name} is not in {data_dir}, and no hash is known to check a download by; {advice}")
    if not download:
        raise DataError(f"{corpus.name} is not in {data_dir} and downloading is off; {advice}")
    archive = cache_dir() / "archives" / f"{corpus.name}-{corpus.url.rsplit('/', 1)[-1]}"
    try:
        fetch(corpus.url, archive, corpus.sha256, progress)
    except DataError as error:
        raise DataError(f"{corpus.name} is not in {data_dir} and cannot be downloaded ({error}); {advice}") from None
    _unpack(archive, target)
    archive.unlink()
    found = _find(corpus, cache_dir())
    if found and corpus.content_sha256 in (None, folder_digest(found, corpus.pattern)):
        return found
    shutil.rmtree(target)
    raise DataError(f"{corpus.url} does not hold the expected recordings of {corpus.name}; {advice}")


def _find(corpus: Corpus, root: Path) -> Path | None:
    for folder in corpus.folders:
        if any((root / folder).glob(corpus.pattern)):
            return root / folder
    return None


def fetch(url: str, path: Path, sha256: str | None, progress: bool = False) -> None:
    """Download `url` to `path`, going on where an earlier try stopped, and check its hash.

    Args:
        url: http or https address.
        path: written under the name `path`.part until complete and checked.
        sha256: expected hash; None leaves the check to the caller.
        progress: show a bar.

    Raises:
        DataError: if the address cannot be reached, the connection breaks, or the hash differs; after a wrong
            hash nothing is kept, after a broken connection what arrived is.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    for attempt in range(ATTEMPTS):
        try:
            _transfer(url, part, progress)
            break
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, urllib.error.HTTPError) or attempt == ATTEMPTS - 1:
                raise DataError(f"{url}: {error}") from None
    if sha256 and (got := sha256_of(part)) != sha256:
        part.unlink()
        raise DataError(f"{url}: sha256 is {got[:12]}…, expected {sha256[:12]}…; the download was removed")
    os.replace(part, path)


def _transfer(url: str, part: Path, progress: bool) -> None:
    """Append to `part` whatever it still lacks.

    Raises:
        OSError or HTTPException: if the address cannot be reached or the connection ends early.
    """
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        if have and error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # nothing is left to fetch; the hash decides whether what we have is right
        raise
    with response:
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            have = 0  # the server cannot resume and sends everything again
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        with (
            part.open("ab" if have else "wb") as handle,
            progress_bar(None, progress, total=total, initial=have, desc=part.stem, unit="B", unit_scale=True) as bar,
        ):
            while chunk := response.read(CHUNK_BYTES):
                handle.write(chunk)
                bar.update(len(chunk))
    if total is not None and part.stat().st_size < total:
        raise ConnectionError(f"connection ended after {part.stat().st_size} of {total} bytes; run again to go on")


def _unpack(archive: Path, target: Path) -> None:
    """Unpack beside `target` and rename, so that half an archive is never taken for the corpus."""
    with tempfile.TemporaryDirectory(dir=archive.parent) as scratch:
        unpacked = Path(scratch, "unpacked")
        try:
            with tarfile.open(archive) as tar:
                _extract_files(tar, unpacked)
        except (tarfile.TarError, EOFError) as error:
            archive.unlink()
            raise DataError(f"{archive} is not a complete tar archive ({error}); run again to fetch it") from None
        shutil.rmtree(target, ignore_errors=True)
        os.replace(unpacked, target)


def _extract_files(tar: tarfile.TarFile, target: Path) -> None:
    """Its regular files, all below `target`; `filter="data"` does more, but not before Python 3.11.4.

    Raises:
        tarfile.TarError: if a name leads elsewhere.
    """
    for member in tar:
        path = target / member.name
        if not path.resolve().is_relative_to(target.resolve()):
            raise tarfile.TarError(f"{member.name} lies outside")
        if member.isfile():
            path.parent.mkdir(parents=True, exist_ok=True)
            with tar.extractfile(member) as packed, path.open("wb") as unpacked:
                shutil.copyfileobj(packed, unpacked)


def folder_digest(folder: Path, pattern: str) -> str:
    """SHA-256 over the names and contents of the files in `folder` that match `pattern`, sorted by name."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob(pattern)):
        digest.update(f"{path.name} {sha256_of(path)}\n".encode())
    return digest.hexdigest()
