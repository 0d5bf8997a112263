"""The manifests of docker/k8s: against the published schemas, and against each other."""

import copy
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from glet.cli import backend as backend_command
from glet.cli import frontend as frontend_command
from glet.config.cluster import backend_name, load_cluster

yaml = pytest.importorskip("yaml")
K8S = Path(__file__).resolve().parents[2] / "docker" / "k8s"
BASE = K8S / "base"
VERSION = "1.31"
# Not of Kubernetes itself: kustomize's own, and the Prometheus operator's.
OTHERS = ("Kustomization", "ServiceMonitor")
MONITOR_ENDPOINT = {"port": str, "path": str, "interval": str}
GUARDED_ENDPOINT = {"scheme": str, "tlsConfig": dict, "authorization": dict}
Document = dict[str, Any]


def kustomization(folder: Path) -> Document:
    found: Document = yaml.safe_load((folder / "kustomization.yaml").read_text())
    return found


def base() -> list[Document]:
    names = kustomization(BASE)["resources"]
    return [each for file in names for each in yaml.safe_load_all((BASE / file).read_text())]


def patched(document: Document, patch: list[Document]) -> Document:
    """RFC 6902, of it `add` to objects and at the end of arrays, and `replace`."""
    result = copy.deepcopy(document)
    for step in patch:
        *way, key = step["path"].lstrip("/").split("/")
        at: Any = result
        for part in way:
            at = at[int(part)] if isinstance(at, list) else at[part]
        if isinstance(at, list):
            assert (step["op"], key) == ("add", "-")
            at.append(step["value"])
        else:
            assert step["op"] == ("replace" if key in at else "add")
            at[key] = step["value"]
    return result


def overlay(name: str) -> list[Document]:
    """The base with the patches of an overlay."""
    folder = K8S / "overlays" / name
    wanted = kustomization(folder)
    assert [(folder / each).resolve() for each in wanted["resources"]] == [BASE]
    documents = base()
    for patch in wanted["patches"]:
        target = patch["target"]
        [at] = [
            number
            for number, each in enumerate(documents)
            if (each["kind"], each["metadata"]["name"]) == (target["kind"], target["name"])
        ]
        documents[at] = patched(documents[at], yaml.safe_load((folder / patch["path"]).read_text()))
    return documents


ALL = {"base": base(), **{name: overlay(name) for name in ("green", "mps", "tls")}}


@pytest.fixture(params=sorted(ALL))
def documents(request: pytest.FixtureRequest) -> list[Document]:
    return ALL[request.param]


def one(documents: list[Document], kind: str, name: str) -> Document:
    [found] = [d for d in documents if (d["kind"], d["metadata"]["name"]) == (kind, name)]
    return found


def container(documents: list[Document], kind: str, name: str) -> Document:
    [found] = one(documents, kind, name)["spec"]["template"]["spec"]["containers"]
    result: Document = found
    return result


def environment(of: Document) -> dict[str, str]:
    return {each["name"]: each.get("value", "") for each in of.get("env", [])}


def test_manifests_keep_to_the_schemas_of_kubernetes(documents: list[Document]) -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    checked = [each for each in documents if each["kind"] not in OTHERS]
    assert len(checked) >= 7
    for each in checked:
        kubernetes_validate.validate(each, VERSION, strict=True)


def test_service_monitors_have_what_the_operator_reads(documents: list[Document]) -> None:
    monitors = [each for each in documents if each["kind"] == "ServiceMonitor"]
    services = [each for each in documents if each["kind"] == "Service"]
    assert len(monitors) == 2
    for monitor in monitors:
        assert monitor["apiVersion"] == "monitoring.coreos.com/v1"
        assert set(monitor["spec"]) == {"jobLabel", "selector", "endpoints"}
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        [service] = [s for s in services if wanted <= s["metadata"]["labels"].items()]
        ports = {port["name"] for port in service["spec"]["ports"]}
        for endpoint in monitor["spec"]["endpoints"]:
            got = {key: type(value) for key, value in endpoint.items()}
            assert got in (MONITOR_ENDPOINT, MONITOR_ENDPOINT | GUARDED_ENDPOINT)
            assert endpoint["port"] in ports


def test_services_budgets_and_policies_select_pods_that_there_are(
    documents: list[Document],
) -> None:
    pods = [
        each["spec"]["template"]["metadata"]["labels"].items()
        for each in documents
        if each["kind"] in ("Deployment", "StatefulSet")
    ]
    selectors = [each["spec"]["selector"] for each in documents if each["kind"] == "Service"]
    for kind, key in (("PodDisruptionBudget", "selector"), ("NetworkPolicy", "podSelector")):
        selectors += [d["spec"][key]["matchLabels"] for d in documents if d["kind"] == kind]
    assert len(selectors) == 5
    for selector in selectors:
        assert any(selector.items() <= labels for labels in pods)


def test_pods_have_no_rights_that_they_do_not_need(documents: list[Document]) -> None:
    for kind, name in (("Deployment", "glet-frontend"), ("StatefulSet", "glet-backend")):
        pod = one(documents, kind, name)["spec"]["template"]["spec"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        of = container(documents, kind, name)
        assert of["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"startupProbe", "livenessProbe", "readinessProbe"} <= set(of)
        mounted = {each["name"] for each in of["volumeMounts"]}
        claims = one(documents, kind, name)["spec"].get("volumeClaimTemplates", [])
        there = {each["name"] for each in pod["volumes"]}
        assert mounted == there | {each["metadata"]["name"] for each in claims}


def test_the_cluster_has_a_backend_for_every_replica_under_its_name() -> None:
    cluster = load_cluster(BASE / "cluster.toml")
    stateful = one(ALL["base"], "StatefulSet", "glet-backend")["spec"]
    service = one(ALL["base"], "Service", stateful["serviceName"])
    assert service["spec"]["clusterIP"] == "None"
    names = [f"glet-backend-{number}" for number in range(stateful["replicas"])]
    assert [backend_name(each) for each in cluster.backend] == names
    port = service["spec"]["ports"][0]["port"]
    for name, each in zip(names, cluster.backend, strict=True):
        assert each.control == f"tcp://{name}.{stateful['serviceName']}:{port}"
        assert each.gpu == "0"


def test_the_daemons_take_the_arguments_that_they_are_given(documents: list[Document]) -> None:
    of = container(documents, "StatefulSet", "glet-backend")
    values = environment(of) | {"POD_NAME": "glet-backend-1", "POD_IP": "10.0.0.7"}
    words = list(of["args"])
    for name, value in values.items():
        words = [word.replace(f"$({name})", value) for word in words]
    args = backend_command.parser().parse_args(words)
    assert (args.name, args.data) == ("glet-backend-1", "tcp://10.0.0.7:*")
    assert args.partition == values["PARTITION"]
    assert "$" not in "".join(words)
    frontend = container(documents, "Deployment", "glet-frontend")
    assert frontend_command.parser().parse_args(frontend["args"]).cluster is not None


def test_ports_of_the_pods_are_those_of_the_configuration() -> None:
    cluster = load_cluster(BASE / "cluster.toml")
    frontend = container(ALL["base"], "Deployment", "glet-frontend")["ports"]
    assert {each["name"]: each["containerPort"] for each in frontend} == {
        "zmq": urlsplit(cluster.listen).port,
        "http": int(cluster.http.rpartition(":")[2]),
        "grpc": int(cluster.grpc.rpartition(":")[2]),
    }
    backend = container(ALL["base"], "StatefulSet", "glet-backend")["ports"]
    assert {each["name"]: each["containerPort"] for each in backend} == {
        "control": urlsplit(cluster.backend[0].control).port,
        "metrics": int(cluster.backend[0].metrics.rpartition(":")[2]),
    }


def test_overlays_choose_the_partition_and_mps_shares_what_it_needs() -> None:
    chosen = {
        name: environment(container(each, "StatefulSet", "glet-backend"))["PARTITION"]
        for name, each in ALL.items()
    }
    assert chosen == {"base": "auto", "green": "green", "mps": "mps", "tls": "auto"}
    pod = one(ALL["mps"], "StatefulSet", "glet-backend")["spec"]["template"]["spec"]
    of = container(ALL["mps"], "StatefulSet", "glet-backend")
    pipes = environment(of)["CUDA_MPS_PIPE_DIRECTORY"]
    assert pod["hostIPC"] is True
    [volume] = [each for each in pod["volumes"] if "hostPath" in each]
    assert volume["hostPath"]["path"] == pipes
    assert {"name": volume["name"], "mountPath": pipes} in of["volumeMounts"]


def test_the_tls_overlay_mounts_what_its_configuration_names() -> None:
    folder = K8S / "overlays" / "tls"
    cluster, open_one = load_cluster(folder / "cluster.toml"), load_cluster(BASE / "cluster.toml")
    assert cluster.security.web_guarded
    assert not cluster.insecure
    assert msgspec.structs.replace(cluster, security=open_one.security, insecure=True) == open_one
    assert kustomization(folder)["configMapGenerator"] == [
        {"name": "glet-cluster", "behavior": "replace", "files": ["cluster.toml"]}
    ]
    security = cluster.security
    files = [security.tls_cert, security.tls_key, security.tokens_file, security.server_key]
    for kind, name in (("Deployment", "glet-frontend"), ("StatefulSet", "glet-backend")):
        pod = one(ALL["tls"], kind, name)["spec"]["template"]["spec"]
        assert pod["securityContext"]["fsGroup"] == 10001
        of = container(ALL["tls"], kind, name)
        at = {each["mountPath"]: each["name"] for each in of["volumeMounts"]}
        secrets = {v["name"]: v["secret"] for v in pod["volumes"] if "secret" in v}
        for file in files:
            # Readable by its group at most, or the tokens are refused.
            assert secrets[at[str(Path(file).parent)]]["defaultMode"] == 0o440
        probes = [of[probe] for probe in ("startupProbe", "livenessProbe", "readinessProbe")]
        assert all(p.get("httpGet", {}).get("scheme", "HTTPS") == "HTTPS" for p in probes)
    frontend = container(ALL["tls"], "Deployment", "glet-frontend")
    assert frontend["livenessProbe"]["httpGet"]["path"] == "/v2/health/live"


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl")
@pytest.mark.parametrize("name", sorted(ALL))
def test_kustomize_makes_of_them_what_is_checked_here(name: str) -> None:
    folder = BASE if name == "base" else K8S / "overlays" / name
    command = ["kubectl", "kustomize", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    made = {(d["kind"], d["metadata"]["name"]): d for d in yaml.safe_load_all(done.stdout)}
    [config] = [key for key in made if key[0] == "ConfigMap"]
    source = folder if (folder / "cluster.toml").exists() else BASE
    assert made.pop(config)["data"] == {"cluster.toml": (source / "cluster.toml").read_text()}
    assert len(made) == len(ALL[name])
    for document in ALL[name]:
        # What kustomize puts in: the image's tag, and a name that changes with the content.
        text = json.dumps(document["spec"], sort_keys=True)
        text = text.replace('"image": "glet"', '"image": "glet:cuda"')
        text = text.replace('{"name": "glet-cluster"}', json.dumps({"name": config[1]}))
        found = made[document["kind"], document["metadata"]["name"]]
        assert json.dumps(found["spec"], sort_keys=True) == text
        assert found["metadata"]["labels"]["app.kubernetes.io/part-of"] == "glet"
