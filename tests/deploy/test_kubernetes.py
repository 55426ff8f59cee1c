"""The Kubernetes manifests: valid to the API, safe by the rules that linters have, and at one with the program.

What is looked at is what Kustomize makes of the examples, filled in. Kubernetes's own objects are checked against the
API's JSON schemas, strictly: an unknown field is an error. KEDA ships no schema in any package, so `KEDA` below is one
of the fields that are used here, written by hand after its documentation.
"""

import jsonschema_rs
import pytest
from congrad_service import keys
from congrad_service.__main__ import DRAIN_S
from congrad_service.settings import ServiceSettings
from congrad_worker.processes.celery_app import LOAD_TIMEOUT_S, SOFT_SHUTDOWN_S
from congrad_worker.settings import DecideSettings, GradientSettings
from pydantic_settings import BaseSettings
from support.cluster.manifests import (
    EXAMPLES,
    FOLDER,
    Cluster,
    built,
    component_of,
    container_of,
    environment_of,
    filled_in,
    pod_of,
)

SETTINGS: dict[str, type[BaseSettings]] = {
    "service": ServiceSettings,
    "decide": DecideSettings,
    "gradients": GradientSettings,
}
TEXT = {"type": "string"}
COUNT = {"type": "integer", "minimum": 0}

SCALING_RULES = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "stabilizationWindowSeconds": {"type": "integer", "minimum": 0, "maximum": 3600},
        "selectPolicy": {"enum": ["Max", "Min", "Disabled"]},
        "policies": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["type", "value", "periodSeconds"],
                "additionalProperties": False,
                "properties": {
                    "type": {"enum": ["Pods", "Percent"]},
                    "value": {"type": "integer", "minimum": 1},
                    "periodSeconds": {"type": "integer", "minimum": 1, "maximum": 1800},
                },
            },
        },
    },
}
"""Of a HorizontalPodAutoscaler in `autoscaling/v2`, which KEDA's object passes on."""

KEDA = {
    "ScaledObject": {
        "type": "object",
        "required": ["scaleTargetRef", "triggers"],
        "additionalProperties": False,
        "properties": {
            "scaleTargetRef": {"type": "object", "required": ["name"], "properties": {"name": TEXT}},
            "minReplicaCount": COUNT,
            "maxReplicaCount": COUNT,
            "pollingInterval": {"type": "integer", "minimum": 1},
            "cooldownPeriod": COUNT,
            "initialCooldownPeriod": COUNT,
            "advanced": {
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    "horizontalPodAutoscalerConfig": {
                        "type": "object",
                        "additionalProperties": False,
                        "properties": {
                            "behavior": {
                                "type": "object",
                                "additionalProperties": False,
                                "properties": {"scaleUp": SCALING_RULES, "scaleDown": SCALING_RULES},
                            }
                        },
                    }
                },
            },
            "triggers": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["type", "metadata"],
                    "additionalProperties": False,
                    "properties": {
                        "type": {"const": "redis"},
                        "metadata": {
                            "type": "object",
                            "required": ["listName", "listLength"],
                            "propertyNames": {"enum": ["listName", "listLength", "databaseIndex", "enableTLS"]},
                            "additionalProperties": TEXT,
                            "properties": {"listLength": {"pattern": "^[1-9][0-9]*$"}},
                        },
                        "authenticationRef": {"type": "object", "required": ["name"], "properties": {"name": TEXT}},
                    },
                },
            },
        },
    },
    "TriggerAuthentication": {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "secretTargetRef": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["parameter", "name", "key"],
                    "additionalProperties": False,
                    "properties": {
                        "parameter": {"enum": ["host", "port", "username", "password", "ca"]},
                        "name": TEXT,
                        "key": TEXT,
                    },
                },
            }
        },
    },
}
"""The specs of KEDA's objects: what its custom resources of 2.14 and newer have of them. KEDA's own checks beyond that
(a minimum above the maximum is refused) are in the tests."""


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    return filled_in()


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_api_would_take_every_object(example: str) -> None:
    validator = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    for item in built(example):
        if item["apiVersion"].startswith("keda.sh/"):
            jsonschema_rs.validate(KEDA[item["kind"]], item["spec"])
        else:
            validator.validate(item, validator.latest_version(), strict=True)


def test_the_validation_refuses_what_the_api_would_not_take() -> None:
    validator = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    wrong = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "x"}, "spec": {"min": 1}}
    with pytest.raises(validator.ValidationError):
        validator.validate(wrong, validator.latest_version(), strict=True)


@pytest.mark.parametrize("component", SETTINGS)
def test_no_container_may_do_more_than_it_must(cluster: Cluster, component: str) -> None:
    deployment = cluster.deployment(component)
    pod, container = pod_of(deployment), container_of(deployment)
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["runAsUser"] == 10001  # the image's own
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["automountServiceAccountToken"] is False
    assert not cluster.get("ServiceAccount", pod["serviceAccountName"])["automountServiceAccountToken"]
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    assert "/tmp" in {mount["mountPath"] for mount in container["volumeMounts"]}  # noqa: S108 # not this machine's
    (namespace,) = cluster.of("Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert {item["metadata"]["namespace"] for item in cluster.objects if item is not namespace} == {"congrad"}


@pytest.mark.parametrize("component", SETTINGS)
def test_every_container_says_what_it_needs_and_which_version_it_is(cluster: Cluster, component: str) -> None:
    container = container_of(cluster.deployment(component))
    for kind in ("requests", "limits"):
        assert {"cpu", "memory"} <= container["resources"][kind].keys()
    assert ("nvidia.com/gpu" in container["resources"]["limits"]) == (component == "gradients")
    name, _, tag = container["image"].rpartition(":")
    assert name.startswith("registry.example/")
    assert tag not in ("", "latest")


def test_a_worker_that_is_meant_for_a_gpu_does_not_take_the_cpu_in_its_place(cluster: Cluster) -> None:
    assert environment_of(cluster, cluster.deployment("gradients"))["CONGRAD_DEVICE"] == "cuda"


def test_the_service_is_probed_where_no_token_is_asked_for_and_workers_by_their_announcement(cluster: Cluster) -> None:
    service = container_of(cluster.deployment("service"))
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert service[probe]["httpGet"]["path"] == "/livez"
        assert service[probe]["httpGet"]["port"] in {port["name"] for port in service["ports"]}
    for component in ("decide", "gradients"):
        worker = container_of(cluster.deployment(component))
        assert worker["command"] == ["python", "-m", "congrad_worker", component]
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert worker[probe]["exec"]["command"] == ["python", "-m", "congrad_worker", "health"]
            assert worker[probe]["timeoutSeconds"] > 1  # the default, in which a busy node starts no Python
    startup = container_of(cluster.deployment("gradients"))["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= LOAD_TIMEOUT_S


def test_every_part_has_the_time_to_stop_in_order(cluster: Cluster) -> None:
    service = cluster.deployment("service")
    pause = container_of(service)["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod_of(service)["terminationGracePeriodSeconds"] > pause + DRAIN_S
    for component in ("decide", "gradients"):
        pod = pod_of(cluster.deployment(component))
        assert pod["terminationGracePeriodSeconds"] > 2 * SOFT_SHUTDOWN_S
        assert pod["shareProcessNamespace"]  # a process 1 does not hear SIGTERM before it handles it
    assert cluster.deployment("gradients")["spec"]["progressDeadlineSeconds"] >= LOAD_TIMEOUT_S


def test_every_selector_selects_what_it_is_named_for(cluster: Cluster) -> None:
    for deployment in cluster.of("Deployment"):
        assert cluster.matched(deployment["spec"]["selector"]["matchLabels"]) == {component_of(deployment)}
    for budget in cluster.of("PodDisruptionBudget"):
        (component,) = cluster.matched(budget["spec"]["selector"]["matchLabels"])
        assert component in budget["metadata"]["name"]
    assert len(cluster.of("PodDisruptionBudget")) == len(SETTINGS)
    (service,) = cluster.of("Service")
    assert cluster.matched(service["spec"]["selector"]) == {"service"}
    assert service["spec"]["ports"][0]["targetPort"] in {
        port["name"] for port in container_of(cluster.deployment("service"))["ports"]
    }


def test_no_budget_keeps_a_node_from_being_drained(cluster: Cluster) -> None:
    (scaler,) = cluster.of("HorizontalPodAutoscaler")
    least = {"service": scaler["spec"]["minReplicas"], "decide": cluster.deployment("decide")["spec"]["replicas"]}
    for budget in cluster.of("PodDisruptionBudget"):
        (component,) = cluster.matched(budget["spec"]["selector"]["matchLabels"])
        if "minAvailable" in budget["spec"]:
            assert budget["spec"]["minAvailable"] < least[component]
        else:
            assert budget["spec"]["maxUnavailable"] >= 1


def test_what_is_scaled_is_there_and_has_no_number_of_its_own(cluster: Cluster) -> None:
    scalers = [*cluster.of("HorizontalPodAutoscaler"), *cluster.of("ScaledObject")]
    targets = [cluster.get("Deployment", scaler["spec"]["scaleTargetRef"]["name"]) for scaler in scalers]
    assert [component_of(target) for target in targets] == ["service", "gradients"]
    assert all("replicas" not in target["spec"] for target in targets)


def test_workers_are_scaled_by_the_queue_that_they_work_on(cluster: Cluster) -> None:
    (scaler,) = cluster.of("ScaledObject")
    assert 0 == scaler["spec"]["minReplicaCount"] < scaler["spec"]["maxReplicaCount"]
    # From zero there is only what the service takes for a checkpoint that nobody serves.
    assert environment_of(cluster, cluster.deployment("service"))["CONGRAD_SCALE_FROM_ZERO"] == "true"
    startup = container_of(cluster.deployment("gradients"))["startupProbe"]
    loading = startup["periodSeconds"] * startup["failureThreshold"]
    assert scaler["spec"]["initialCooldownPeriod"] >= loading, "the first worker says its fingerprint"
    (trigger,) = scaler["spec"]["triggers"]
    assert trigger["metadata"]["listName"] == keys.unfinished("0123456789abcdef")
    reference = cluster.get("TriggerAuthentication", trigger["authenticationRef"]["name"])
    for wanted in reference["spec"]["secretTargetRef"]:
        assert wanted["key"] in cluster.get("Secret", wanted["name"])["data"]


@pytest.mark.parametrize("component", SETTINGS)
def test_every_variable_is_a_setting_with_a_value_that_the_program_takes(
    cluster: Cluster, component: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = environment_of(cluster, cluster.deployment(component))
    known = {f"CONGRAD_{name.upper()}" for name in SETTINGS[component].model_fields}
    assert {name for name in environment if name.startswith("CONGRAD_")} <= known
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    SETTINGS[component]()


@pytest.mark.parametrize("component", SETTINGS)
def test_volumes_are_of_secrets_and_claims_that_are_there(cluster: Cluster, component: str) -> None:
    pod = pod_of(cluster.deployment(component))
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert {mount["name"] for mount in container_of(cluster.deployment(component))["volumeMounts"]} == volumes.keys()
    for volume in volumes.values():
        if "secret" in volume:
            held = cluster.get("Secret", volume["secret"]["secretName"])["data"]
            assert {item["key"] for item in volume["secret"]["items"]} <= held.keys()
        elif "persistentVolumeClaim" in volume:
            assert cluster.get("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"])
            assert volume["persistentVolumeClaim"]["readOnly"]
        else:
            assert volume["emptyDir"]["sizeLimit"]


@pytest.mark.parametrize("component", SETTINGS)
def test_no_pod_is_told_of_services_as_if_they_were_settings(cluster: Cluster, component: str) -> None:
    """Of the Service `congrad` Kubernetes would make CONGRAD_PORT=tcp://…, which is no port."""
    assert pod_of(cluster.deployment(component))["enableServiceLinks"] is False


def test_nothing_goes_in_or_out_but_requests_metrics_names_redis_and_traces(cluster: Cluster) -> None:
    everything = [policy["spec"] for policy in cluster.of("NetworkPolicy") if policy["spec"]["podSelector"] == {}]
    assert everything == [{"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}]
    for component in SETTINGS:
        inward, outward = (list(cluster.rules(component, way)) for way in ("Ingress", "Egress"))
        assert all(rule["from"] for rule in inward)
        assert all(rule["to"] for rule in outward)
        open_ports = [port["port"] for rule in inward for port in rule["ports"]]
        assert open_ports == [port["name"] for port in container_of(cluster.deployment(component))["ports"]]
        assert sorted(port["port"] for rule in outward for port in rule["ports"]) == [53, 53, 4318, 6379]
        # Kustomize adds the label of our own pods wherever it finds `matchLabels`, and no name would be resolved.
        (names,) = (peer for rule in outward for peer in rule["to"] if "podSelector" in peer)
        wanted = {"key": "k8s-app", "operator": "In", "values": ["kube-dns"]}
        assert names["podSelector"] == {"matchExpressions": [wanted]}
        asked = next(rule["to"] for rule in outward if names in rule["to"])
        assert {"ipBlock": {"cidr": "169.254.20.10/32"}} in asked, "NodeLocal DNSCache is no pod"


def test_secrets_are_nowhere_but_in_files_that_git_does_not_keep() -> None:
    ignored = (FOLDER / ".gitignore").read_text(encoding="utf-8").splitlines()
    for template in FOLDER.rglob("*.env.example"):
        assert template.with_suffix("").name in ignored
    assert "redis-ca.crt" in ignored
    assert not [path for path in FOLDER.rglob("*.yaml") if "kind: Secret\n" in path.read_text(encoding="utf-8")]
