"""What Kustomize makes of the examples of `deploy/kubernetes`, filled in, and what its objects say of each other."""

import base64
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped] # no stubs here

FOLDER = Path(__file__).parents[3] / "deploy" / "kubernetes"
EXAMPLES = ("stack", "round-1")
KUSTOMIZE = (("kustomize", "build"), ("kubectl", "kustomize"))

FILLED = {"api-key=": "api-key=its-api-key", "read-key=": "read-key=its-read-key"}
"""What the examples leave to their users."""

Object = dict[str, Any]


def built(example: str, changes: Mapping[str, str] | None = None) -> list[Object]:
    """What Kustomize makes of an example that is filled in.

    :param changes: what stands in its files in the place of what, as a user would edit them.
    """
    command = next((list(words) for words in KUSTOMIZE if shutil.which(words[0])), None)
    if command is None:
        pytest.skip("neither kustomize nor kubectl is there")
    with TemporaryDirectory() as temporary:
        copy = Path(shutil.copytree(FOLDER, Path(temporary, "kubernetes")))
        for template in copy.rglob("*.env.example"):
            shutil.copy(template, template.with_suffix(""))
        (copy / "example" / "stack" / "redis-ca.crt").write_text("certificate")
        _edit(copy / "example", {**FILLED, **(changes or {})})
        done = subprocess.run([*command, str(copy / "example" / example)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def _edit(folder: Path, changes: Mapping[str, str]) -> None:
    for path in (one for one in folder.rglob("*") if one.is_file()):
        before = after = path.read_text(encoding="utf-8")
        for old, new in changes.items():
            after = after.replace(old, new)
        if after != before:
            path.write_text(after, encoding="utf-8")


@dataclass(frozen=True)
class Cluster:
    """The objects of both examples, as they stand beside each other in a namespace."""

    objects: list[Object]

    def of(self, kind: str) -> list[Object]:
        """All of a kind."""
        return [item for item in self.objects if item["kind"] == kind]

    def get(self, kind: str, name: str) -> Object:
        """The one of this name."""
        (found,) = [item for item in self.of(kind) if item["metadata"]["name"] == name]
        return found

    def deployment(self, component: str) -> Object:
        """That of a component."""
        (found,) = [item for item in self.of("Deployment") if component_of(item) == component]
        return found

    def matched(self, labels: Mapping[str, str]) -> set[str]:
        """The components that labels select."""
        return {
            component_of(item)
            for item in self.of("Deployment")
            if labels.items() <= item["spec"]["template"]["metadata"]["labels"].items()
        }

    def rules(self, component: str, way: str) -> Iterator[Object]:
        """What network policies let in or out of a component (`Ingress`, `Egress`)."""
        labels = self.deployment(component)["spec"]["template"]["metadata"]["labels"]
        for policy in self.of("NetworkPolicy"):
            if way in policy["spec"]["policyTypes"] and is_policy_for(policy, labels):
                yield from policy["spec"].get(way.lower(), [])

    def secret(self, name: str, key: str) -> str:
        """A value of a Secret."""
        data: dict[str, str] = self.get("Secret", name)["data"]
        return base64.b64decode(data[key]).decode()


def filled_in(changes: Mapping[str, str] | None = None) -> Cluster:
    """Both examples."""
    return Cluster([item for example in EXAMPLES for item in built(example, changes)])


def component_of(deployment: Object) -> str:
    """Which part of the stack a Deployment runs."""
    return str(deployment["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"])


def pod_of(deployment: Object) -> Object:
    """The spec of its pods."""
    found: Object = deployment["spec"]["template"]["spec"]
    return found


def container_of(deployment: Object) -> Object:
    """Its only one."""
    (found,) = pod_of(deployment)["containers"]
    assert isinstance(found, dict)
    return found


def is_policy_for(policy: Object, labels: Mapping[str, str]) -> bool:
    """Whether a network policy is about the pods with these labels."""
    selector = policy["spec"]["podSelector"]
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        expression["operator"] == "In" and labels.get(expression["key"]) in expression["values"]
        for expression in selector.get("matchExpressions", [])
    )


def environment_of(cluster: Cluster, deployment: Object) -> dict[str, str]:
    """The variables of a container, with what it is given from ConfigMaps and Secrets."""
    container = container_of(deployment)
    found: dict[str, str] = {}
    for source in container["envFrom"]:
        if "secretRef" in source:  # of the gradient store, for who has one: no settings of the project
            assert source["secretRef"]["optional"]
            continue
        found |= cluster.get("ConfigMap", source["configMapRef"]["name"])["data"]
    for variable in container["env"]:
        if "value" in variable:
            found[variable["name"]] = variable["value"]
        else:
            reference = variable["valueFrom"]["secretKeyRef"]
            assert reference["key"] in cluster.get("Secret", reference["name"])["data"], variable["name"]
            found[variable["name"]] = cluster.secret(reference["name"], reference["key"])
    return found
