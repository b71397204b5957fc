"""From pods of Kubernetes to requests."""

import json

import pytest
import yaml

from rootless.container.request import ContainerRequest
from rootless.errors import UsageError
from rootless.kube.documents import Document
from rootless.kube.sources import Sources
from rootless.kube.translate import PlayOptions, PodPlan, plan_pod
from rootless.kube.variables import expand


class _NoHost:
    """Nothing of the host is asked for here."""


def plan(text: str, options: PlayOptions | None = None) -> PodPlan:
    documents = [Document(raw, "f") for raw in yaml.safe_load_all(text)]
    sources = Sources(_NoHost(), documents)  # type: ignore[arg-type]  # see there
    (pod,) = (one for one in documents if one.kind not in ("ConfigMap", "Secret"))
    return plan_pod(pod, sources, options or PlayOptions())


def one(text: str, **spec: object) -> ContainerRequest:
    """Return the request of the only container, whose fields are the YAML text."""
    container = {"name": "c", "image": "i:1", **(yaml.safe_load(text) or {})}
    raw = {"kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [container], **spec}}
    (request,) = plan(yaml.safe_dump(raw)).containers
    return request


@pytest.mark.parametrize(
    ("options", "address"),
    [
        (PlayOptions(), "10.0.2.100"),
        (PlayOptions(networks=("slirp4netns:cidr=10.9.0.0/24",)), "10.9.0.100"),
        (PlayOptions(networks=("mine",), ips=("10.89.0.7",)), "10.89.0.7"),
    ],
    ids=["default", "cidr", "ip"],
)
def test_pod_ip_is_told_where_it_is_known(options: PlayOptions, address: str) -> None:
    env = "[{name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}]"
    head = "kind: Pod, metadata: {name: p}"
    text = f"{{{head}, spec: {{containers: [{{name: c, image: i, env: {env}}}]}}}}"
    (request,) = plan(text, options).containers
    assert request.env == (f"IP={address}",)
    with pytest.raises(UsageError, match=r"status\.podIP: not known before the pod runs"):
        plan(text, PlayOptions(networks=("mine",)))


def test_seccomp_profile_is_looked_up_below_its_root() -> None:
    text = (
        "{kind: Pod, metadata: {name: p}, spec: {containers: [{name: c, image: i, securityContext:"
        " {seccompProfile: {type: Localhost, localhostProfile: p/x.json}}}]}}"
    )
    (request,) = plan(text, PlayOptions(seccomp_root="/profiles")).containers
    assert request.security_opt == ("seccomp=/profiles/p/x.json",)


def test_names_and_labels() -> None:
    text = """
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  template:
    metadata: {labels: {app: x}}
    spec: {containers: [{name: c, image: "i:1"}]}
"""
    found = plan(text)
    assert (found.pod.name, found.pod.labels, found.pod.exit_policy) == (
        "web-pod",
        {"app": "x"},
        "stop",
    )
    assert [request.name for request in found.containers] == ["web-pod-c"]
    assert found.containers[0].label == ("app=x",)
    assert "one pod instead of 3" in found.notes[0]


def test_command_and_arguments_with_variables() -> None:
    request = one(
        "{command: [sh, -c], args: ['echo $(A) $$(A) $(B)'],"
        " env: [{name: A, value: x}, {name: C, value: '$(A)y'}]}"
    )
    assert json.loads(str(request.entrypoint)) == ["sh", "-c"]
    assert request.command == ("echo x $(A) $(B)",)
    assert request.env == ("A=x", "C=xy")


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("$(A)", "1"),
        ("$$(A)", "$(A)"),
        ("$(B)", "$(B)"),
        ("$", "$"),
        ("$(A", "$(A"),
        ("a$b", "a$b"),
    ],
)
def test_expansion(text: str, result: str) -> None:
    assert expand(text, {"A": "1"}) == result


def test_environment_from_config_maps_and_fields() -> None:
    text = """
kind: ConfigMap
metadata: {name: m}
data: {k: v}
---
kind: Pod
metadata: {name: p, labels: {l: one}}
spec:
  containers:
  - name: c
    image: i:1
    envFrom: [{prefix: X_, configMapRef: {name: m}}, {configMapRef: {name: n, optional: true}}]
    env:
    - {name: K, valueFrom: {configMapKeyRef: {name: m, key: k}}}
    - {name: N, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: L, valueFrom: {fieldRef: {fieldPath: "metadata.labels['l']"}}}
    - {name: R, valueFrom: {resourceFieldRef: {resource: limits.memory}}}
    - {name: O, valueFrom: {configMapKeyRef: {name: m, key: z, optional: true}}}
    resources: {limits: {memory: 1Mi}}
"""
    (request,) = plan(text).containers
    assert request.env == ("X_k=v", "K=v", "N=p", "L=one", "R=1Mi")


def test_resources() -> None:
    request = one("{resources: {limits: {memory: 100Mi, cpu: 500m}, requests: {memory: 1k}}}")
    assert (request.memory, request.cpus, request.memory_reservation) == (
        "104857600",
        "0.5",
        "1000",
    )


def test_security_context_of_the_container_wins() -> None:
    request = one(
        "{securityContext: {runAsUser: 5, readOnlyRootFilesystem: true,"
        " allowPrivilegeEscalation: false, capabilities: {add: [NET_ADMIN], drop: [ALL]}}}",
        securityContext={"runAsUser": 1, "runAsGroup": 7, "fsGroup": 9},
    )
    assert (request.user, request.group_add) == ("5:7", ("9",))
    assert (request.read_only, request.security_opt) == (True, ("no-new-privileges",))
    assert (request.cap_add, request.cap_drop) == (("NET_ADMIN",), ("ALL",))


def test_probes_become_health_checks() -> None:
    request = one(
        "{ports: [{name: web, containerPort: 80}],"
        " livenessProbe: {httpGet: {path: /ok, port: web}, periodSeconds: 3, timeoutSeconds: 2,"
        " failureThreshold: 5, initialDelaySeconds: 4},"
        " startupProbe: {exec: {command: [test, -e, /x]}}}"
    )
    assert "http://localhost:80/ok" in str(request.health_cmd)
    found = (request.health_interval, request.health_timeout, request.health_retries)
    assert (*found, request.health_start_period, request.health_on_failure) == (
        "3s", "2s", 5, "4s", "restart",
    )  # fmt: skip
    assert json.loads(str(request.health_startup_cmd)) == ["CMD", "test", "-e", "/x"]


@pytest.mark.parametrize(
    ("policy", "restart"), [("Always", "always"), ("OnFailure", "on-failure"), ("Never", "no")]
)
def test_restart_policy(policy: str, restart: str) -> None:
    assert one("{}", restartPolicy=policy).restart == restart


def test_network_of_the_pod() -> None:
    text = """
kind: Pod
metadata: {name: p}
spec:
  hostname: h
  shareProcessNamespace: true
  hostAliases: [{ip: 1.2.3.4, hostnames: [a, b]}]
  dnsConfig: {nameservers: [9.9.9.9], searches: [x.y], options: [{name: ndots, value: "2"}]}
  securityContext: {sysctls: [{name: net.core.somaxconn, value: "99"}]}
  containers:
  - name: c
    image: i:1
    ports: [{containerPort: 80, hostPort: 8080, hostIP: "::1"}, {containerPort: 53, protocol: UDP}]
"""
    found = plan(text, PlayOptions(networks=("back",), ips=("10.1.1.1",), publish_all=True))
    infra = found.pod.infra_request
    assert (found.pod.hostname, found.pod.share) == ("h", "ipc,net,uts,pid")
    assert infra.publish == ("[::1]:8080:80/tcp", "53:53/udp")
    assert infra.add_host == ("a:1.2.3.4", "b:1.2.3.4")
    assert (infra.network, infra.ip) == (("back",), "10.1.1.1")
    assert (infra.dns, infra.dns_search, infra.dns_option) == (("9.9.9.9",), ("x.y",), ("ndots:2",))
    assert infra.sysctl == ("net.core.somaxconn=99",)


def test_volumes_of_the_host_and_of_the_pod() -> None:
    text = """
kind: ConfigMap
metadata: {name: m}
data: {one: "1", two: "2"}
---
kind: Pod
metadata: {name: p}
spec:
  containers:
  - name: c
    image: i:1
    volumeMounts:
    - {name: h, mountPath: /h, readOnly: true, subPath: usr}
    - {name: e, mountPath: /e}
    - {name: m, mountPath: /m}
    - {name: t, mountPath: /t}
    - {name: v, mountPath: /v}
  volumes:
  - {name: h, hostPath: {path: /, type: Directory}}
  - {name: e, emptyDir: {}}
  - {name: t, emptyDir: {medium: Memory}}
  - {name: m, configMap: {name: m, items: [{key: two, path: sub/file}], defaultMode: 0600}}
  - {name: v, persistentVolumeClaim: {claimName: claim}}
"""
    found = plan(text)
    (request,) = found.containers
    assert request.volume == ("//usr:/h:ro", "p-e:/e:rw", "p-m:/m:ro", "claim:/v:rw")
    assert request.tmpfs == ("/t",)
    assert found.volumes == [("p-e", {}, 0o644), ("p-m", {"sub/file": b"2"}, 0o600)]


@pytest.mark.parametrize(
    ("container", "said"),
    [
        ("{env: [{name: A, value: 1}]}", "put it in quotes|text was expected"),
        ("{env: [{name: A=B, value: x}]}", "no name of a variable"),
        ("{env: [{name: A, valueFrom: {configMapKeyRef: {name: m, key: k}}}]}", "no config map m"),
        (
            "{env: [{name: A, valueFrom: {fieldRef: {fieldPath: status.hostIP}}}]}",
            "not known before",
        ),
        ("{volumeMounts: [{name: x, mountPath: /x}]}", "the pod has no volume x"),
        ("{volumeMounts: [{name: x, mountPath: x}]}", "the pod has no volume x"),
        ("{ports: [{containerPort: 99999}]}", "99999 is no port"),
        ("{ports: [{hostPort: 80}]}", "containerPort is missing"),
        ("{ports: [{containerPort: 80, hostPort: 70000}]}", "70000 is no port"),
        ("{resources: {limits: {memory: lots}}}", "'lots' is no amount"),
        ("{livenessProbe: {}}", "no probe"),
        ("{livenessProbe: {grpc: {port: 1}}}", "no probe"),
        ("{livenessProbe: {tcpSocket: {port: nope}}}", "no port of the container"),
        ("{livenessProbe: {tcpSocket: {host: 'a;id', port: 1}}}", "no host name"),
        ("{livenessProbe: {httpGet: {path: \"/'; id '\", port: 1}}}", "no address"),
        ("{startupProbe: {exec: {command: [x]}}}", "needs a livenessProbe"),
        ("{imagePullPolicy: Sometimes}", "Sometimes is not known"),
        ("{securityContext: {runAsUser: 0, runAsNonRoot: true}}", "runAsNonRoot"),
        ("{image: ''}", "image is missing"),
        ("{name: ''}", "name is missing"),
    ],
)
def test_bad_containers_are_refused(container: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        one(container)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"restartPolicy": "Maybe"}, "Maybe is not known"),
        ({"containers": []}, "it has no containers"),
        ({"containers": [{"name": "c", "image": "i"}] * 2}, "the same name"),
        ({"volumes": [{"name": "v", "nfs": {"server": "x"}}]}, "not a kind of volume"),
        ({"volumes": [{"name": "v", "hostPath": {"path": "rel"}}]}, "not an absolute path"),
        ({"volumes": [{"name": "v", "hostPath": {"path": "/", "type": "X"}}]}, "no such type"),
        (
            {"volumes": [{"name": "v", "configMap": {"name": "m", "optional": True,
                          "items": [{"key": "k", "path": "../x"}]}}]},
            "",
        ),
    ],
)  # fmt: skip
def test_bad_pods_are_refused(spec: dict[str, object], said: str) -> None:
    if said:
        with pytest.raises(UsageError, match=said):
            one("{}", **spec)
    else:
        assert one("{}", **spec).volume == ()


def test_config_map_cannot_write_outside_of_its_volume() -> None:
    text = """
kind: ConfigMap
metadata: {name: m}
data: {k: v}
---
kind: Pod
metadata: {name: p}
spec:
  containers: [{name: c, image: "i:1"}]
  volumes: [{name: m, configMap: {name: m, items: [{key: k, path: a/../../x}]}}]
"""
    with pytest.raises(UsageError, match="not a path below the volume"):
        plan(text)
