"""`kube play`, `kube down`, `kube generate`: pods as documents of Kubernetes."""

import json
import os
import time
from collections.abc import Callable, Iterator

import pytest

from tests.support.command import Command, is_podman
from tests.support.registry import free_port
from tests.system.test_network import talk

rpod_only = pytest.mark.skipif(is_podman(), reason="rpod's own")

APP = """
apiVersion: v1
kind: ConfigMap
metadata: {name: conf}
data: {greeting: hello, file.txt: "line\\n"}
---
apiVersion: v1
kind: Secret
metadata: {name: vault}
stringData: {password: hunter2}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: claim}
spec: {accessModes: [ReadWriteOnce]}
---
apiVersion: v1
kind: Pod
metadata: {name: app, labels: {tier: front}}
spec:
  restartPolicy: Never
  initContainers:
  - name: setup
    image: IMAGE
    command: [sh, -c, "echo prepared >/empty/note"]
    volumeMounts: [{name: empty, mountPath: /empty}]
  containers:
  - name: main
    image: IMAGE
    command: [sh, -c]
    args: ["while :; do echo served | nc -l -p 8080; done"]
    env:
    - {name: GREETING, valueFrom: {configMapKeyRef: {name: conf, key: greeting}}}
    - {name: PASSWORD, valueFrom: {secretKeyRef: {name: vault, key: password}}}
    ports: [{containerPort: 8080, hostPort: PORT}]
    securityContext: {runAsUser: 1000}
    livenessProbe: {exec: {command: ["true"]}, periodSeconds: 1}
    volumeMounts:
    - {name: conf, mountPath: /conf}
    - {name: vault, mountPath: /vault}
    - {name: empty, mountPath: /empty}
    - {name: claim, mountPath: /claim}
    - {name: host, mountPath: /host}
  - name: side
    image: IMAGE
    command: [sleep, "1000"]
    volumeMounts: [{name: empty, mountPath: /shared}]
  terminationGracePeriodSeconds: 0
  volumes:
  - {name: conf, configMap: {name: conf}}
  - {name: vault, secret: {secretName: vault}}
  - {name: empty, emptyDir: {}}
  - {name: claim, persistentVolumeClaim: {claimName: claim}}
  - {name: host, hostPath: {path: DIRECTORY, type: Directory}}
"""
SMALL = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: small}
spec:
  replicas: 1
  selector: {matchLabels: {app: small}}
  template:
    metadata: {labels: {app: small}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: c, image: IMAGE, command: [sh, -c, "echo said; exec sleep 1000"]}]
"""


@pytest.fixture
def kube(rpod: Command) -> Iterator[Command]:
    """The command; what a test makes is removed after it."""
    yield rpod
    rpod("pod", "rm", "--force", "--all", "--time", "0", check=False)
    for name in rpod("secret", "ls", "-q", check=False).lines:
        rpod("secret", "rm", name, check=False)


def wait_for(test: Callable[[], bool], timeout_s: float = 10) -> None:
    end_s = time.monotonic() + timeout_s
    while not test():
        assert time.monotonic() < end_s, "not within the time"
        time.sleep(0.05)


def document(text: str, image: str, directory: str, port: int = 1) -> bytes:
    places = {"IMAGE": image, "PORT": str(port), "DIRECTORY": directory}
    for name, value in places.items():
        text = text.replace(name, value)
    return text.encode()


@rpod_only  # podman 4.3 panics at a volume of a secret that the file has
def test_pod_with_everything(kube: Command, image: str, account_dir: str) -> None:
    port = free_port()
    os.makedirs(f"{account_dir}/shown")
    data = document(APP, image, f"{account_dir}/shown", port)
    done = kube("kube", "play", "-", input=data)
    pod = json.loads(kube("pod", "inspect", "app").out)
    assert f"Pod:\n{pod['Id']}\nContainers:\n" in done.out
    assert done.out.startswith("Volumes:\nclaim\n")
    assert pod["ExitPolicy"] == "stop"
    assert talk(port) == b"served\n"
    look = "id -u; echo $GREETING $PASSWORD; cat /conf/file.txt /empty/note"
    lines = kube("exec", "app-main", "sh", "-c", look).lines
    assert lines == ["1000", "hello hunter2", "line", "prepared"]
    assert kube("exec", "app-main", "cat", "/vault/password").out == "hunter2"
    assert kube("exec", "app-side", "cat", "/shared/note").out == "prepared\n"
    assert "hunter2" not in kube("inspect", "app-main").out
    form = "{{.State.Health.Status}}"
    wait_for(lambda: kube("inspect", "-f", form, "app-main").out == "healthy\n")
    assert kube("kube", "play", "-", input=data, check=False).code == 125
    down = kube("kube", "down", "-", input=data)
    assert down.lines[:4] == ["Pods stopped:", pod["Id"], "Pods removed:", pod["Id"]]
    assert kube("ps", "-aq").out == ""
    assert kube("volume", "ls", "-q").lines == ["claim"]
    assert kube("secret", "ls", "-q").out == ""


def test_deployment_is_replaced_and_taken_down(kube: Command, image: str) -> None:
    data = document(SMALL, image, "")
    kube("play", "kube", "-", input=data)
    (name,) = kube("pod", "ps", "--format", "{{.Name}}").lines
    if not is_podman():
        assert name == "small-pod"
    first = kube("pod", "ps", "-q").out
    kube("kube", "play", "--replace", "--start=false", "-", input=data)
    assert kube("pod", "ps", "-q").out != first
    assert kube("pod", "ps", "--format", "{{.Status}}").out == "Created\n"
    kube("kube", "play", "--down", "-", input=data)
    assert kube("pod", "ps", "-q").out == ""


@rpod_only
def test_what_is_generated_can_be_played(kube: Command, image: str, account_dir: str) -> None:
    os.makedirs(f"{account_dir}/data")
    kube("pod", "create", "--name", "orig", "-p", f"{free_port()}:80", "--share", "net,ipc,uts,pid")
    kube("run", "-d", "--pod", "orig", "--name", "one", "-e", "A=b", "-u", "1000", "-w", "/tmp",
         "-v", f"{account_dir}/data:/data:ro", "-v", "vol:/vol", "--health-cmd", "true",
         "--cap-drop", "CHOWN", "--stop-timeout", "0", image, "sleep", "1000")  # fmt: skip
    path = f"{account_dir}/orig.yaml"
    text = kube("kube", "generate", "orig").out
    assert text.startswith("# Save the output of this file")
    kube("kube", "generate", "orig", "-f", path)
    assert kube("kube", "generate", "orig", "-f", path, check=False).code == 125
    kube("pod", "rm", "-f", "-t", "0", "orig")
    kube("kube", "play", path)
    look = "id -u; pwd; echo $A; grep -c ' /data ' /proc/self/mounts; grep -c ' /vol ' /proc/mounts"
    assert kube("exec", "orig-one", "sh", "-c", look).lines == ["1000", "/tmp", "b", "1", "1"]
    again = kube("kube", "generate", "orig").out
    assert again.replace("name: orig-one", "name: one") == text.replace("- one", "- orig-one")


@rpod_only
def test_container_and_volume_are_described(kube: Command, image: str) -> None:
    kube("create", "--name", "alone", "-p", "8088:80", image, "true")
    kube("volume", "create", "kept")
    text = kube("generate", "kube", "--service", "--type", "deployment", "alone").out
    for line in ("kind: Service", "kind: Deployment", "nodePort", "containerPort: 80"):
        assert (line in text) is (line != "nodePort")
    assert "kind: PersistentVolumeClaim" in kube("kube", "generate", "kept").out
    kube("volume", "rm", "kept")
    done = kube("kube", "generate", "nothing", check=False)
    assert (done.code, "nothing" in done.err) == (125, True)


@rpod_only
def test_exit_of_all_containers_stops_the_pod(kube: Command, image: str) -> None:
    data = document(SMALL, image, "").replace(b"exec sleep 1000", b"true")
    data = data.replace(b"kind: Deployment", b"kind: Job")
    kube("kube", "play", "-", input=data)
    wait_for(lambda: kube("pod", "ps", "--format", "{{.Status}}").out == "Exited\n")
    assert "said" in kube("pod", "logs", "small-pod").out


@rpod_only
@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("name: conf, key: greeting", "name: other, key: greeting", "no config map other"),
        ("{secretName: vault}", "{secretName: other}", "no secret other"),
        ("type: Directory", "type: File", "is not a file that is there"),
        ("image: IMAGE\n    command: [sleep", "image: localhost/no/such\n    command: [sleep", ""),
        ('command: [sh, -c, "echo prepared', 'command: [sh, -c, "exit 3; echo', "code 3"),
        ("command: [sleep, ", "command: [/nowhere, ", "not found"),
        ("kind: Pod", "kind: Gadget", ""),
    ],
    ids=["config-map", "secret", "host-path", "image", "init", "command", "kind"],
)
def test_nothing_stays_of_what_cannot_be_played(
    kube: Command, image: str, account_dir: str, old: str, new: str, said: str
) -> None:
    os.makedirs(f"{account_dir}/shown", exist_ok=True)
    text = APP.replace(old, new)
    assert text != APP
    data = document(text, image, f"{account_dir}/shown", free_port())
    done = kube("kube", "play", "-", input=data, check=False)
    if "Gadget" in new:
        assert kube("pod", "ps", "-q").out == ""
        return
    assert done.code in (125, 127), done.told
    assert said in done.err
    assert kube("pod", "ps", "-q").out == ""
    assert kube("ps", "-aq").out == ""
    assert kube("volume", "ls", "-q").out == ""
    assert kube("secret", "ls", "-q").out == ""


@rpod_only
def test_killed_play_can_be_replaced(kube: Command, image: str, account_dir: str) -> None:
    path = f"{account_dir}/small.yaml"
    with open(path, "wb") as file:
        file.write(document(SMALL, image, ""))
    for delay_s in (0.1, 0.2, 0.3):
        process = kube.spawn("kube", "play", "--replace", path)
        time.sleep(delay_s)
        process.kill()
        process.communicate()
    kube("kube", "play", "--replace", path)
    assert kube("pod", "ps", "--format", "{{.Name}} {{.Status}}").out == "small-pod Running\n"
    kube("kube", "down", path)
    assert kube("ps", "-aq").out == ""


@pytest.mark.rpod_only  # podman drops it silently where there is no controller
def test_memory_request_does_not_keep_a_pod_from_running(rpod: Command, image: str) -> None:
    text = (
        "{kind: Pod, apiVersion: v1, metadata: {name: asks}, spec: {restartPolicy: Never,"
        f" containers: [{{name: c, image: '{image}', command: [sleep, '100'],"
        " resources: {requests: {memory: 1Mi}}}]}}"
    )
    rpod("kube", "play", "--log-opt", "max-size=1m", "-", input=text.encode())
    try:
        assert rpod("ps", "--format", "{{.Names}}", "--filter", "name=asks-c").lines == ["asks-c"]
    finally:
        rpod("kube", "down", "-", input=text.encode())


BUILT = """
apiVersion: v1
kind: Pod
metadata: {name: built}
spec:
  restartPolicy: Never
  containers:
  - {name: a, image: "NAME", command: [cat, /made]}
"""


@rpod_only  # podman 4.3 finds the directories of some names only
@pytest.mark.parametrize("name", ["localhost/own", "own"])
def test_images_are_built_from_directories_with_their_names(
    kube: Command, image: str, account_dir: str, name: str
) -> None:
    base = "own"
    text = BUILT.replace("NAME", name)
    kube.shell(f"mkdir -p {account_dir}/{base}; cat >{account_dir}/pod.yaml <<'A'\n{text}\nA")

    def logs(made: str, *words: str) -> str:
        file = f"FROM {image}\\nRUN echo {made} >/made\\n"
        kube.shell(f"printf '{file}' >{account_dir}/{base}/Containerfile")
        kube("kube", "play", "-q", "--replace", *words, "pod.yaml", cwd=account_dir)
        kube("wait", "built-a")
        return kube("logs", "built-a").out.strip()

    try:
        assert logs("first") == "first"
        assert logs("second") == "first"
        assert logs("third", "--build") == "third"
        kube.shell(
            f"mkdir {account_dir}/elsewhere; mv {account_dir}/{base} {account_dir}/elsewhere"
        )
        context = ("--build", "--context-dir", f"{account_dir}/elsewhere")
        kube("kube", "play", "-q", "--replace", *context, f"{account_dir}/pod.yaml")
        done = kube("kube", "play", *context[1:], f"{account_dir}/pod.yaml", check=False)
        assert done.code == 125 and "--build must be specified" in done.err
    finally:
        kube("kube", "down", f"{account_dir}/pod.yaml")
        kube("rmi", "-f", "localhost/own")


@rpod_only  # podman leaves the pod
def test_no_image_is_built_unasked_or_from_elsewhere(kube: Command, account_dir: str) -> None:
    text = BUILT.replace("NAME", "localhost/../own")
    kube.shell(f"mkdir {account_dir}/own; cat >{account_dir}/pod.yaml <<'A'\n{text}\nA")
    kube.shell(f"echo FROM scratch >{account_dir}/own/Containerfile")
    assert kube("kube", "play", "--build", "pod.yaml", check=False, cwd=account_dir).code == 125
    kube.shell(f"sed -i 's|localhost/../own|localhost/own|' {account_dir}/pod.yaml")
    done = kube("kube", "play", "--build=false", "pod.yaml", check=False, cwd=account_dir)
    assert done.code == 125 and "STEP" not in done.out
    absent = ("--build", "--context-dir", "/absent")
    done = kube("kube", "play", *absent, f"{account_dir}/pod.yaml", check=False)
    assert done.code == 125
    assert kube("pod", "ps", "-q").out == ""


def test_several_things_are_generated_together(kube: Command, image: str) -> None:
    for name in ("pod1", "pod2"):
        kube("pod", "create", "--name", name)
        kube("create", "--pod", name, "--name", f"{name}-a", image, "true")
    for name in ("one", "two"):
        kube("create", "--name", name, image, "true")
    kube("volume", "create", "kept")
    text = kube("kube", "generate", "one", "pod1", "kept", "two", "pod2").out
    kinds = [line.split()[1] for line in text.splitlines() if line.startswith("kind:")]
    assert kinds == ["PersistentVolumeClaim", "Pod", "Pod", "Pod"]
    assert text.count("image: ") == 4
    done = kube("kube", "generate", "one", "pod1-a", check=False)
    assert done.code == 125 and "use" in done.err
