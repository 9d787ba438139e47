"""What the files say that set up a farm, for the tests of them."""

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
SCRIPTS = sorted(DEPLOY.rglob("*.sh"))
FILES = [
    ROOT / "ray.yaml",
    ROOT / "Dockerfile",
    *(
        path
        for path in sorted(DEPLOY.rglob("*"))
        if path.is_file() and path.suffix in (".yaml", ".sh", ".service", ".env", ".py")
    ),
    DEPLOY / ".env.example",
]


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def documents(path: Path) -> list[dict[str, Any]]:
    return [each for each in yaml.safe_load_all(read(path)) if each]


def settings(path: Path) -> dict[str, str]:
    """A file of NAME=VALUE."""
    lines = [line for line in read(path).splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def manifests() -> list[dict[str, Any]]:
    """What `kubectl apply -k` would send, but for what kustomize changes."""
    names = documents(KUBERNETES / "kustomization.yaml")[0]["resources"]
    return [each for name in names for each in documents(KUBERNETES / name)]


def of_kind(kind: str) -> list[dict[str, Any]]:
    found = [each for each in manifests() if each["kind"] == kind]
    assert found, kind
    return found


def templates() -> dict[str, dict[str, Any]]:
    """The pods of the farm, by what they are."""
    cluster = of_kind("RayCluster")[0]["spec"]
    found = {group["groupName"]: group["template"] for group in cluster["workerGroupSpecs"]}
    return {
        "head": cluster["headGroupSpec"]["template"],
        "controller": of_kind("Deployment")[0]["spec"]["template"],
        **found,
    }


def compose() -> dict[str, Any]:
    return documents(DEPLOY / "compose.yaml")[0]
