"""The files that set up a farm: Ray's launcher, Ray's environment, and the options of commands."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import ray
import typer.main
import yaml
from deployed import (
    DEPLOY,
    FILES,
    KUBERNETES,
    ROOT,
    SCRIPTS,
    UNITS,
    compose,
    documents,
    of_kind,
    read,
    settings,
    templates,
)

from cluster.commands import app
from cluster.localray import quiet_environment

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
    # The token is each farm's own; colours are for a terminal; a controller is on a machine that starts no workers; Ray
    # sets numbers of threads by itself, and has no such warning any more.
    assert set(alone) - set(shared) == {
        "RAY_prestart_worker_first_driver",
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
