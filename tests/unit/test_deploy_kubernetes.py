"""The Kubernetes manifests of a farm: the API's schemas, and names that lead somewhere."""

import re
import shutil
import subprocess

import kubernetes_validate
import pytest
import yaml
from deployed import (
    KUBERNETES,
    ROOT,
    documents,
    manifests,
    of_kind,
    read,
    templates,
)

VERSIONS = ["1.32", "1.37"]  # of Kubernetes


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
