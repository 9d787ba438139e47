"""Images, Compose, systemd units and scripts of a farm: as far as it shows without a container or a cloud."""

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from deployed import (
    DEPLOY,
    FILES,
    KUBERNETES,
    ROOT,
    SCRIPTS,
    UNITS,
    compose,
    documents,
    read,
    settings,
)


def test_images_have_versions() -> None:
    for path in (DEPLOY / "compose.yaml", *sorted(KUBERNETES.glob("*.yaml"))):
        for image in re.findall(r"^\s*image: (\S+)", read(path), re.MULTILINE):
            assert re.search(r":v?\d", image), f"{path.name}: {image}"
    for path in FILES:
        assert ":latest" not in read(path), path


def test_no_secret_is_in_a_file() -> None:
    for each in documents(KUBERNETES / "secrets.example.yaml"):
        assert set(each["stringData"].values()) == {""}
    for path in (DEPLOY / "systemd/s3.env", DEPLOY / ".env.example"):
        assert {value for name, value in settings(path).items() if "KEY" in name} == {""}
    for path in FILES:
        for name, value in re.findall(
            r"^ *(\w*(?:SECRET_KEY|ACCESS_KEY|AUTH_TOKEN|PASSWORD))[:=] *(\S+)", read(path), re.MULTILINE
        ):
            assert value.startswith(("$", '"$', '""')), f"{path.name}: {name}"
    ignored = read(ROOT / ".gitignore").splitlines()
    assert {"deploy/.env", "deploy/private/"} <= set(ignored)


def test_the_compose_file_holds_together() -> None:
    whole = compose()
    known = {"name", "services", "networks", "volumes", "secrets"}
    assert {key for key in whole if not key.startswith("x-")} <= known
    services = whole["services"]
    for name, service in services.items():
        assert "image" in service, name
        assert set(service.get("networks", [])) <= set(whole["networks"]), name
        assert set(service.get("secrets", [])) <= set(whole["secrets"]), name
        assert set(service.get("depends_on", [])) <= set(services), name
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source.startswith("/") or source in whole["volumes"] or (DEPLOY / source).is_file(), (
                f"{name}: {volume}"
            )
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), f"{name}: {port}"
    assert whole["networks"]["farm"]["internal"] is True
    for name in ("head", "worker", "gpu-worker"):
        assert services[name]["networks"] == ["farm"], name
        assert "ports" not in services[name], name
    assert services["worker"]["depends_on"]["bucket"]["condition"] == "service_completed_successfully"
    scraped = documents(DEPLOY / "prometheus.yaml")[0]["scrape_configs"][0]["static_configs"][0]["targets"]
    assert [target.split(":")[0] in services for target in scraped] == [True]


def test_the_dockerfile_is_sound() -> None:
    text = read(ROOT / "Dockerfile")
    hadolint = Path(sys.executable).parent / "hadolint"
    found = subprocess.run(
        [hadolint, "--no-color", str(ROOT / "Dockerfile")], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stdout
    assert len(re.findall(r"^FROM python:\$\{PYTHON\} AS \w+$", text, re.MULTILINE)) == 2
    assert re.search(r"^ARG PYTHON=3\.1[123]\.\d+-slim-\w+$", text, re.MULTILINE)
    last = text.split("FROM ")[-1]
    assert re.search(r"^USER 10001:10001$", last, re.MULTILINE)
    assert not re.search(r"^ADD ", text, re.MULTILINE)
    assert "://" not in text
    assert not re.search(r"^(?:ARG|ENV).*(?:KEY|SECRET|TOKEN|PASSWORD)", text, re.MULTILINE)
    for run in re.findall(r"^RUN .*?(?<!\\)$", text, re.MULTILINE | re.DOTALL):
        assert "pip install" not in run or "constraints.txt" in run
    assert "tini" in last
    assert "HEALTHCHECK" in last
    assert "--constraint constraints.txt" in read(ROOT / "tools/setup.sh")


def test_what_an_image_needs_gets_into_it() -> None:
    listed = {line[1:] for line in read(ROOT / ".dockerignore").splitlines() if line.startswith("!")}
    needed = {
        "pyproject.toml",
        "constraints.txt",
        "README.md",
        "LICENSE",
        "tools/setup.sh",
        "deploy/ray.env",
        "deploy/*.sh",
    }
    assert needed | {"cluster", "pipeline", "storage"} <= listed
    assert not any("private" in each or each.startswith(".env") for each in listed)
    for name in ("farm.sh", "leave.py", "bucket.py"):
        assert (DEPLOY / name).is_file()


# systemd and shell


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    for unit in UNITS:
        (tmp_path / unit.name).write_text(read(unit).replace("/opt/veilfarm", str(ROOT)), encoding="utf-8")
    paths = [str(tmp_path / unit.name) for unit in UNITS]
    found = subprocess.run(["systemd-analyze", "verify", *paths], capture_output=True, text=True, check=False)
    ours = [line for line in found.stderr.splitlines() if "veilfarm" in line]
    assert not ours, ours


def test_units_come_back_and_name_files_that_exist() -> None:
    assert {unit.stem for unit in UNITS} == {f"veilfarm-{role}" for role in ("head", "worker", "controller", "spot")}
    for unit in UNITS:
        text = read(unit)
        assert "User=veilfarm" in text
        assert "Restart=always" in text or unit.stem == "veilfarm-spot"
        for name in re.findall(r"/opt/veilfarm/([\w./-]+)", text):
            assert (ROOT / name).is_file(), f"{unit.name}: {name}"


def test_ports_are_the_same_everywhere() -> None:
    """Those that farm.sh gives Ray are those that the firewall closes."""
    script = read(DEPLOY / "farm.sh")
    named = {int(port) for port in re.findall(r"(?:-port=|_port=)(\d+)", script)}
    ranges = re.search(r"tcp dport \{ (.+) \} drop", read(DEPLOY / "systemd/veilfarm.nft"))
    assert ranges is not None
    closed = [tuple(map(int, each.split("-"))) for each in ranges[1].split(", ")]
    for port in named:
        assert any(each[0] <= port <= each[-1] for each in closed), port


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_shell(script: Path) -> None:
    assert os.access(script, os.X_OK)
    subprocess.run(["sh", "-n", str(script)], check=True)
    if shutil.which("shellcheck"):
        found = subprocess.run(["shellcheck", str(script)], capture_output=True, text=True, check=False)
        assert found.returncode == 0, found.stdout


def farm(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(DEPLOY / "farm.sh"), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"], **env},
        timeout=60,
    )


def test_no_ray_starts_without_a_token(tmp_path: Path) -> None:
    for role in ("head", "worker", "controller"):
        for env in ({"RAY_AUTH_MODE": "disabled"}, {}, {"RAY_AUTH_TOKEN_PATH": str(tmp_path / "none")}):
            found = farm(role, FARM_HEAD="localhost", **env)
            assert found.returncode == 2, role
            assert "RAY_AUTH_MODE" in found.stderr or "token" in found.stderr
    token = tmp_path / "token"
    token.write_text("t" * 64)
    assert "FARM_HEAD" in farm("worker", RAY_AUTH_TOKEN_PATH=str(token)).stderr
    assert "not 'nobody'" in farm("nobody").stderr


def test_a_machine_that_waits_for_nobody_leaves_at_once(tmp_path: Path) -> None:
    file = tmp_path / "run/leave"
    command = [sys.executable, str(DEPLOY / "leave.py"), str(file), "1"]
    env = {**os.environ, "VEILFARM_STORE": str(tmp_path / "store")}
    subprocess.run(command, check=True, env=env, timeout=60)
    assert file.exists()


class Metadata(BaseHTTPRequestHandler):
    """A cloud's metadata service that takes the machine away after the second question."""

    asked: ClassVar[list[str]] = []

    def do_PUT(self) -> None:
        self.answer(200, b"a-token")

    def do_GET(self) -> None:
        self.asked.append(self.path)
        given = (
            self.headers.get("X-aws-ec2-metadata-token") == "a-token" or self.headers.get("Metadata-Flavor") == "Google"
        )
        late = len(self.asked) > 2
        if "preempted" in self.path:
            self.answer(200 if given else 403, b"TRUE" if late else b"FALSE")
        else:
            self.answer(200 if given and late else 404, b"{}")

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def metadata() -> Iterator[str]:
    Metadata.asked.clear()
    with HTTPServer(("127.0.0.1", 0), Metadata) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize("cloud", ["aws", "gcp"])
def test_a_spot_notice_becomes_a_leave_file(cloud: str, metadata: str, tmp_path: Path) -> None:
    file = tmp_path / "run/leave"
    env = {**os.environ, "METADATA": metadata, "EVERY": "0.05"}
    subprocess.run([str(DEPLOY / "spot.sh"), cloud, str(file)], check=True, env=env, timeout=60, capture_output=True)
    assert file.exists()
    assert len(Metadata.asked) == 3
