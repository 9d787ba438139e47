"""The files that set up a farm: what they say is so, as far as it shows without a cloud, a cluster or a container."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import jsonschema
import kubernetes_validate
import pytest
import ray
import typer.main
import yaml

from cluster.commands import app
from cluster.localray import quiet_environment

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
VERSIONS = ["1.32", "1.37"]  # of Kubernetes


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


# Ray's cluster launcher


def launcher_schema() -> Any:
    return json.loads(read(Path(ray.__file__).parent / "autoscaler/ray-schema.json"))


def cloud_variant() -> dict[str, Any]:
    """ray.yaml with its commented part in place of what it says to replace."""
    text = read(ROOT / "ray.yaml")
    block = re.search(r"^# --- aws\n(.*?)^# --- end$", text, re.MULTILINE | re.DOTALL)
    assert block is not None
    variant = yaml.safe_load("\n".join(line[2:] for line in block[1].splitlines()))
    whole = yaml.safe_load(text) | variant
    assert isinstance(whole, dict)
    return whole


def test_the_launcher_takes_both_variants() -> None:
    own = documents(ROOT / "ray.yaml")[0]
    for config in (own, cloud_variant()):
        jsonschema.validate(config, launcher_schema())
    assert own["provider"]["type"] == "local"
    assert cloud_variant()["provider"]["type"] == "aws"


def test_the_launcher_prepares_the_variant_with_own_machines() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(documents(ROOT / "ray.yaml")[0])
    validate_config(prepared)
    assert prepared["max_workers"] == 2
    assert prepared["available_node_types"]


def test_cloud_workers_are_spot_machines_on_encrypted_disks_without_public_addresses() -> None:
    config = cloud_variant()
    assert config["provider"]["use_internal_ips"] is True
    for name, kind in config["available_node_types"].items():
        node = kind["node_config"]
        if name == config["head_node_type"]:
            assert kind["resources"] == {"CPU": 0}
            assert "InstanceMarketOptions" not in node
        else:
            assert node["InstanceMarketOptions"] == {"MarketType": "spot"}
            assert all(disk["Ebs"]["Encrypted"] for disk in node["BlockDeviceMappings"])


def test_no_ray_is_stopped_that_is_not_ours() -> None:
    """`ray stop` ends every Ray of the machine."""
    for path in FILES:
        assert not re.search(r"^[^#]*\bray stop\b", read(path), re.MULTILINE), path


# Ray's environment


def test_what_ray_reads_is_set_once() -> None:
    shared = settings(DEPLOY / "ray.env")
    copy = documents(KUBERNETES / "ray-env.yaml")[0]["data"]
    assert copy == shared
    assert shared["RAY_AUTH_MODE"] == "token"
    alone = quiet_environment(1)
    for name, value in alone.items():
        if name in shared:
            assert value == shared[name], name
    # The token is each farm's own; colours are for a terminal; Ray sets numbers of threads by itself, and has no such
    # warning any more.
    assert set(alone) - set(shared) == {
        "RAY_AUTH_TOKEN",
        "RAY_COLOR_PREFIX",
        "RAY_DISABLE_IMPORT_WARNING",
        "OMP_NUM_THREADS",
        "MKL_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
    }


def test_ray_knows_what_is_set_for_it() -> None:
    """Its binaries and its Python have the names; a misspelt one would be ignored in silence."""
    package = Path(ray.__file__).parent
    binary = (package / "core/src/ray/gcs/gcs_server").read_bytes() + (
        package / "core/src/ray/raylet/raylet"
    ).read_bytes()
    python = "".join(read(path) for folder in ("_private", "_common") for path in (package / folder).rglob("*.py"))
    for name in settings(DEPLOY / "ray.env"):
        if name.startswith("RAY_"):
            assert name.removeprefix("RAY_").encode() in binary or name in python, name


def test_variables_are_known() -> None:
    """Every name in the files is one that the code, Ray or the neighbour it is for reads."""
    code = "".join(
        read(path) for folder in ("storage", "cluster", "pipeline") for path in (ROOT / folder).rglob("*.py")
    )
    scripts = "".join(read(path) for path in [*SCRIPTS, *UNITS])
    for path in FILES:
        for name in set(re.findall(r"\b(?:VEILFARM|FARM)_[A-Z0-9_]+\b", read(path))):
            known = f'"{name}"' in code or (
                name.startswith("FARM_") and re.search(rf"\$\{{?{name}\b|\^{name}=", scripts)
            )
            assert known, f"{path.name}: {name}"


def test_whatever_starts_ray_says_how_it_is_guarded() -> None:
    for name, pod in templates().items():
        for container in pod["spec"]["containers"]:
            env = {each["name"]: each for each in container["env"]}
            assert env["RAY_AUTH_MODE"]["value"] == "token", name
            assert env["RAY_AUTH_TOKEN"]["valueFrom"]["secretKeyRef"]["name"] == "veilfarm-ray-token", name
    scaler = {each["name"]: each for each in of_kind("RayCluster")[0]["spec"]["autoscalerOptions"]["env"]}
    assert scaler["RAY_AUTH_MODE"]["value"] == "token"
    for name, service in compose()["services"].items():
        if service.get("command", [""])[0] in ("head", "worker", "controller"):
            assert service["environment"]["RAY_AUTH_MODE"] == "token", name
            assert service["environment"]["RAY_AUTH_TOKEN_PATH"] == "/run/secrets/ray_token", name
            assert "ray_token" in service["secrets"], name
    for unit in UNITS:
        if "farm.sh" in read(unit):
            assert "RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=" in read(unit), unit.name
    for command in documents(ROOT / "ray.yaml")[0]["head_start_ray_commands"]:
        assert "RAY_AUTH_MODE=token" in command


# Options of veilfarm


def options(command: str) -> set[str]:
    root: Any = typer.main.get_command(app)
    found = root.commands[command].params
    return {option for param in found for option in (*param.opts, *param.secondary_opts)}


def test_options_of_serve_exist() -> None:
    lines = [read(unit) for unit in UNITS if "serve" in read(unit)]
    commands = [[word for line in lines for word in line.split("veilfarm serve", 1)[1].splitlines()[0].split()]]
    commands.append(templates()["controller"]["spec"]["containers"][0]["args"])
    commands.append(compose()["services"]["controller"]["command"])
    commands.append(read(DEPLOY / "farm.sh").split('veilfarm" serve', 1)[1].splitlines()[0].split())
    for command in commands:
        used = {word.split("=")[0] for word in command if word.startswith("--")}
        assert used, command
        assert used <= options("serve"), command


def test_options_of_ray_start_exist() -> None:
    from ray.scripts.scripts import start

    known = {option for param in start.params for option in param.opts}
    used = set(re.findall(r"(?<![\w-])--[a-z-]+", read(DEPLOY / "farm.sh")))
    assert used - {"--leave-file", "--ray"} <= known
    cluster = of_kind("RayCluster")[0]["spec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    assert {f"--{name}" for group in groups for name in group["rayStartParams"]} <= known


def test_a_stopped_controller_gets_the_time_that_it_gives_its_chunks() -> None:
    pod = templates()["controller"]["spec"]
    grace = next(float(arg.split("=")[1]) for arg in pod["containers"][0]["args"] if arg.startswith("--grace"))
    assert pod["terminationGracePeriodSeconds"] > grace
    service = compose()["services"]["controller"]
    assert int(service["stop_grace_period"].rstrip("s")) > float(
        service["command"][service["command"].index("--grace") + 1]
    )
    unit = read(DEPLOY / "systemd/veilfarm-controller.service")
    given, waited = re.search(r"--grace (\d+)", unit), re.search(r"TimeoutStopSec=(\d+)", unit)
    assert given is not None
    assert waited is not None
    assert int(waited[1]) > int(given[1])


# Kubernetes


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_takes_the_manifests(version: str) -> None:
    for each in [*manifests(), *documents(KUBERNETES / "secrets.example.yaml")]:
        if each["kind"] != "RayCluster":
            kubernetes_validate.validate(each, version, strict=True)
    for name, pod in templates().items():
        template = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": name}, "template": pod}
        kubernetes_validate.validate(template, version, strict=True)


def test_the_ray_cluster_has_what_kuberay_knows() -> None:
    """Its own fields, by KubeRay's reference of `ray.io/v1`; pods are checked by the test above."""
    [cluster] = of_kind("RayCluster")
    assert cluster["apiVersion"] == "ray.io/v1"
    spec = cluster["spec"]
    assert set(spec) <= {
        "rayVersion",
        "enableInTreeAutoscaling",
        "autoscalerOptions",
        "headGroupSpec",
        "workerGroupSpecs",
    }
    assert set(spec["autoscalerOptions"]) <= {
        "version", "upscalingMode", "idleTimeoutSeconds", "imagePullPolicy", "env", "envFrom", "resources",
        "securityContext", "image", "volumeMounts",
    }  # fmt: skip
    assert spec["autoscalerOptions"]["upscalingMode"] in ("Default", "Aggressive", "Conservative")
    assert set(spec["headGroupSpec"]) <= {"serviceType", "rayStartParams", "template"}
    for group in spec["workerGroupSpecs"]:
        assert set(group) <= {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"}
        assert 0 <= group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert spec["headGroupSpec"]["rayStartParams"]["include-dashboard"] == "false"
    pinned = re.search(r"^ray==(.+)$", read(ROOT / "constraints.txt"), re.MULTILINE)
    assert pinned is not None
    assert spec["rayVersion"] == pinned[1]


def test_names_in_the_manifests_lead_somewhere() -> None:
    maps = {each["metadata"]["name"] for each in of_kind("ConfigMap")}
    secrets = {
        each["metadata"]["name"]: set(each["stringData"]) for each in documents(KUBERNETES / "secrets.example.yaml")
    }
    for name, pod in templates().items():
        volumes = {each["name"] for each in pod["spec"]["volumes"]}
        for container in pod["spec"]["containers"]:
            for source in container["envFrom"]:
                if "configMapRef" in source:
                    assert source["configMapRef"]["name"] in maps, name
                else:
                    assert source["secretRef"]["name"] in secrets, name
            for each in container["env"]:
                if "valueFrom" in each:
                    reference = each["valueFrom"]["secretKeyRef"]
                    assert reference["key"] in secrets[reference["name"]], name
            assert {each["name"] for each in container["volumeMounts"]} == volumes, name
            ports = {each["name"]: each["containerPort"] for each in container["ports"]}
            for probe in ("livenessProbe", "readinessProbe"):
                how = container.get(probe, {})
                port = (how.get("tcpSocket") or how.get("httpGet") or {"port": None})["port"]
                assert port is None or port in ports or port in ports.values(), name
    [cluster] = of_kind("RayCluster")
    env = {each["name"]: each.get("value") for each in templates()["controller"]["spec"]["containers"][0]["env"]}
    assert env["FARM_HEAD"] == f"{cluster['metadata']['name']}-head-svc"  # the name that KubeRay gives it


def test_selectors_find_pods() -> None:
    labels = {name: pod["metadata"]["labels"] for name, pod in templates().items()}

    def found(selector: dict[str, str]) -> set[str]:
        return {name for name, given in labels.items() if selector.items() <= given.items()}

    deployment = of_kind("Deployment")[0]["spec"]
    assert found(deployment["selector"]["matchLabels"]) == {"controller"}
    assert found(of_kind("PodDisruptionBudget")[0]["spec"]["selector"]["matchLabels"]) == {"controller"}
    [service] = of_kind("Service")
    assert found(service["spec"]["selector"]) == {"controller"}
    named = {each["name"] for each in deployment["template"]["spec"]["containers"][0]["ports"]}
    assert {each["targetPort"] for each in service["spec"]["ports"]} <= named
    inside, api = of_kind("NetworkPolicy")
    assert found(inside["spec"]["podSelector"]["matchLabels"]) == set(labels)
    assert [list(rule["from"][0]) for rule in inside["spec"]["ingress"]] == [["podSelector"]]  # nobody from elsewhere
    assert found(api["spec"]["podSelector"]["matchLabels"]) == {"controller"}
    assert [rule["ports"] for rule in api["spec"]["ingress"]] == [[{"protocol": "TCP", "port": 8470}]]


def test_pods_may_do_no_more_than_they_need() -> None:
    for name, pod in templates().items():
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["runAsUser"] == 10001, name  # the Dockerfile's
        assert name == "head" or spec["automountServiceAccountToken"] is False, name
        for container in spec["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False, name
            assert context["capabilities"]["drop"] == ["ALL"], name
            assert name == "head" or context["readOnlyRootFilesystem"] is True, name
            assert container["resources"]["limits"].keys() >= {"cpu", "memory"}, name
        keys = [each for each in spec["containers"][0]["envFrom"] if "secretRef" in each]
        assert bool(keys) == (name != "head"), name  # the head never sees the store


def test_workers_leave_in_peace() -> None:
    for name in ("cpu", "gpu"):
        spec = templates()[name]["spec"]
        command = spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
        assert command[1:] == ["/opt/veilfarm/deploy/leave.py", "/run/veilfarm/leave", "120"]
        assert spec["terminationGracePeriodSeconds"] > float(command[-1])
        assert "--leave-file=/run/veilfarm/leave" in templates()["controller"]["spec"]["containers"][0]["args"]
    assert templates()["gpu"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl")
def test_kustomize_builds_it() -> None:
    built = subprocess.run(["kubectl", "kustomize", str(KUBERNETES)], capture_output=True, text=True, check=True)
    found = [each for each in yaml.safe_load_all(built.stdout) if each]
    assert len(found) == len(manifests())
    images = re.findall(r"image: (\S+)", built.stdout)
    assert len(images) == 4
    assert all(image.startswith("registry.example.org/veilfarm:") for image in images)


# Containers


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
