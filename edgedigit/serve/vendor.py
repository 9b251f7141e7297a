"""Files of other projects that the page needs, pinned by version and hash: fetched once into the user's cache."""

from __future__ import annotations

import os
import tarfile
from dataclasses import dataclass
from pathlib import Path

from edgedigit.errors import DataError, InputError, MissingDependencyError
from edgedigit.manifest import sha256_of


@dataclass(frozen=True)
class Package:
    """A package of the npm registry, and what of it is served."""

    name: str
    version: str
    sha256: str  # of its archive
    members: dict[str, str]  # path in the archive: name under which it is served
    hashes: dict[str, str]  # name under which it is served: SHA-256

    @property
    def url(self) -> str:
        """Its archive."""
        return f"https://registry.npmjs.org/{self.name}/-/{self.archive}"

    @property
    def archive(self) -> str:
        """File name of its archive."""
        return f"{self.name.rsplit('/', 1)[-1]}-{self.version}.tgz"


PACKAGES = (
    Package(
        name="onnxruntime-web",
        version="1.30.0",
        sha256="d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71",
        members={
            "package/dist/ort.wasm.bundle.min.mjs": "ort.wasm.bundle.min.mjs",
            "package/dist/ort-wasm-simd-threaded.wasm": "ort-wasm-simd-threaded.wasm",
        },
        hashes={
            "ort.wasm.bundle.min.mjs": "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
            "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
        },
    ),
    Package(  # libfvad, WebRTC's voice activity detector, as WebAssembly
        name="@echogarden/fvad-wasm",
        version="0.2.0",
        sha256="dc381f7d2c5d58c97cfa4fd82f6acf53a85dcdc27dd962256a8969ac4ec4af7c",
        members={
            "package/fvad.js": "fvad.js",
            "package/fvad.wasm": "fvad.wasm",
            "package/LICENSE": "fvad.LICENSE",
        },
        hashes={
            "fvad.js": "418edaf7ac18a92a59586a339a7aadcbca67718f64029d8ea739f2b6cc007539",
            "fvad.wasm": "f81d42b107a2198a3aa0f8ae4f27a8b7a2cc4218896adae5ff82012178eff727",
            "fvad.LICENSE": "7248ba5228172e152b8004ad624232444d3d3f591080a99cdbd2bf0d4383365c",
        },
    ),
)


def vendor_files(assets: Path | None = None) -> dict[str, Path]:
    """Every file of the packages by the name under which it is served, checked.

    Args:
        assets: folder of copies, for computers without a network; None: the user's cache, filled where it lacks one.

    Raises:
        InputError: if a file is missing in `assets`, or is not the one that is expected.
        DataError: if a package cannot be fetched.
        MissingDependencyError: if the packages that fetching needs are not installed.
    """
    if assets is not None:
        for package in PACKAGES:
            _check_copies(package, assets)
        folders = [assets] * len(PACKAGES)
    else:
        folders = [_cached(package) for package in PACKAGES]
    return {name: folder / name for package, folder in zip(PACKAGES, folders, strict=True) for name in package.hashes}


def _check_copies(package: Package, folder: Path) -> None:
    for member, name in package.members.items():
        path = folder / name
        advice = f"unpack {package.url} and copy its {member} there as {name}"
        if not path.is_file():
            raise InputError(f"{folder} has no {name}; {advice}")
        if sha256_of(path) != package.hashes[name]:
            raise InputError(f"{path} is not the one of {package.name} {package.version}; {advice}")


def _cached(package: Package) -> Path:
    """The package's folder in the cache; a file that is missing there or damaged is taken from the archive again."""
    try:
        from platformdirs import user_cache_path
    except ImportError:
        raise MissingDependencyError.of("platformdirs", "web") from None
    folder = user_cache_path("edgedigit") / "web" / package.archive.removesuffix(".tgz")
    if all((folder / name).is_file() and sha256_of(folder / name) == hash for name, hash in package.hashes.items()):
        return folder
    archive = folder.parent / package.archive
    if not (archive.is_file() and sha256_of(archive) == package.sha256):
        _download(package, archive)
    _unpack(package, archive, folder)
    archive.unlink()
    return folder


def _download(package: Package, archive: Path) -> None:
    try:
        from edgedigit.data.download import fetch
    except ImportError as error:
        raise MissingDependencyError.of(error.name, "web") from None
    try:
        fetch(package.url, archive, package.sha256, progress=True)
    except DataError as error:
        raise DataError(
            f"the page needs {package.name} {package.version}, which cannot be fetched ({error}); "
            "fetch it where there is a network, and name the folder of its files with --assets"
        ) from None


def _unpack(package: Package, archive: Path, folder: Path) -> None:
    """The files that are served, each under a temporary name until it is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as tar:
        for member, name in package.members.items():
            part = folder / f"{name}.part"
            part.write_bytes(tar.extractfile(member).read())
            os.replace(part, folder / name)
