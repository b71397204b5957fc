"""Services as requests for containers, and what belongs to their hashes."""

import json
from pathlib import Path

import pytest

from rootless.compose import identity
from rootless.compose.building import BuildOptions, build_order, make_build_request
from rootless.compose.errors import ComposeError
from rootless.compose.given import Given
from rootless.compose.translate import make_request
from rootless.container.request import ContainerRequest
from tests.unit.rootless.compose.loading import load

NOTHING = Given({}, {}, {})


def request(directory: Path, text: str, more: str = "", given: Given = NOTHING) -> ContainerRequest:
    project = load(directory, f"name: p\nservices: {{web: {{image: i, {text}}}}}\n{more}")
    return make_request(project, "web", given)


@pytest.mark.parametrize(
    ("text", "field", "expected"),
    [
        ("command: a 'b c'", "command", ("a", "b c")),
        ("entrypoint: [a, b]", "entrypoint", '["a", "b"]'),
        ("entrypoint: []", "entrypoint", ""),
        ("environment: {A: 1}", "env", ("A=1",)),
        ("hostname: h, domainname: d.e", "hostname", "h.d.e"),
        ("restart: 'no'", "restart", ""),
        ("restart: on-failure:3", "restart", "on-failure:3"),
        ("deploy: {restart_policy: {}}", "restart", ""),
        ("deploy: {restart_policy: {condition: any}}", "restart", "always"),
        ("deploy: {restart_policy: {condition: on-failure, max_attempts: 2}}", "restart",
         "on-failure:2"),
        ("stop_grace_period: 1m500ms", "stop_timeout", 61),
        ("healthcheck: {test: [CMD, a, b]}", "health_cmd", '["CMD", "a", "b"]'),
        ("healthcheck: {test: a b}", "health_cmd", '["CMD-SHELL", "a b"]'),
        ("healthcheck: {disable: true}", "no_healthcheck", True),
        ("healthcheck: {test: [NONE]}", "no_healthcheck", True),
        ("healthcheck: {start_interval: 1s}", "health_start_interval", "1s"),
        ("healthcheck: {timeout: 10ms}", "health_timeout", "1s"),
        ("healthcheck: {interval: 0s}", "health_interval", None),
        ("mem_limit: 1g", "memory", "1073741824"),
        ("deploy: {resources: {limits: {memory: 1.5k, cpus: 0.5, pids: 9}}}", "memory", "1536"),
        ("deploy: {resources: {limits: {memory: 1.5k, cpus: 0.5, pids: 9}}}", "cpus", "0.5"),
        ("deploy: {resources: {limits: {memory: 1.5k, cpus: 0.5, pids: 9}}}", "pids_limit", 9),
        ("deploy: {resources: {reservations: {memory: 1k}}}", "memory_reservation", "1024"),
        ("cpu_period: 10ms", "cpu_period", 10000),
        ("ulimits: {nofile: 5, nproc: {soft: 1, hard: 2}}", "ulimit", ("nofile=5:5", "nproc=1:2")),
        ("blkio_config: {weight: 10, device_read_bps: [{path: /dev/x, rate: 1m}]}",
         "device_read_bps", ("/dev/x:1048576",)),
        ("gpus: all", "gpus", "all"),
        ("deploy: {resources: {reservations: {devices: [{capabilities: [gpu], count: 2}]}}}",
         "gpus", "2"),
        ("extra_hosts: {a: [1.1.1.1, '::1']}", "add_host", ("a:1.1.1.1", "a:::1")),
        ("security_opt: ['seccomp:unconfined', 'no-new-privileges:true']", "security_opt",
         ("seccomp=unconfined", "no-new-privileges:true")),
        ("ports: ['1:2', '3', '127.0.0.1::4', '[::1]:5:6/udp']", "publish",
         ("1:2/tcp", "3/tcp", "127.0.0.1::4/tcp", "[::1]:5:6/udp")),
        ("network_mode: none", "network", ("none",)),
        ("network_mode: bridge", "network", ("bridge",)),
        ("networks: {default: {aliases: [x], ipv4_address: 10.1.1.1}}", "network",
         ("p_default:alias=web,alias=x,ip=10.1.1.1",)),
        ("logging: {driver: local, options: {max-size: 1m}}", "log_opt", ("max-size=1m",)),
        ("tmpfs: /a, volumes: [{type: tmpfs, target: /b, tmpfs: {size: 1k, mode: 0700}}]", "tmpfs",
         ("/a", "/b:size=1024,mode=700")),
        ("devices: ['/dev/a:/dev/b', {source: /dev/c, permissions: r}]", "device",
         ("/dev/a:/dev/b", "/dev/c:/dev/c:r")),
    ],
)  # fmt: skip
def test_key_becomes_a_field(tmp_path: Path, text: str, field: str, expected: object) -> None:
    assert getattr(request(tmp_path, text), field) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("logging: {driver: syslog}", "there is no driver 'syslog' here"),
        ("logging: {options: {labels: a}}", "there is no option 'labels' here"),
        ("gpus: [{capabilities: [tpu]}]", "only those with the capability gpu"),
        ("cpu_quota: x", "services.web.cpu_quota: 'x' is neither"),
        ("networks: {default: {link_local_ips: [a]}}", "the kernel gives addresses of a link"),
    ],
)
def test_what_cannot_work_says_why(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ComposeError, match=words):
        request(tmp_path, text)


def test_bind_makes_the_directory_unless_told_otherwise(tmp_path: Path) -> None:
    found = request(tmp_path, "volumes: [./made:/a:ro]")
    assert found.volume == (f"{tmp_path}/made:/a:ro",)
    assert (tmp_path / "made").is_dir()
    bind = "{type: bind, source: ./no, target: /a, bind: {create_host_path: false}}"
    request(tmp_path, f"volumes: [{bind}]")
    assert not (tmp_path / "no").exists()


def test_volumes_have_the_names_of_the_store(tmp_path: Path) -> None:
    text = "volumes: [v:/a, /own, {type: volume, source: v, target: /b, volume: {subpath: s}}]"
    given = Given({}, {"/own": "f00"}, {})
    found = request(tmp_path, text, "volumes: {v: }", given)
    assert found.volume == ("p_v:/a", "f00:/own")
    assert found.mount == ("type=volume,source=p_v,target=/b,subpath=s",)


def test_namespaces_of_a_service_are_its_containers(tmp_path: Path) -> None:
    text = "network_mode: service:db, pid: service:db"
    more = "  db: {image: i}\n"
    project = load(tmp_path, f"services:\n  web: {{image: i, {text}}}\n{more}")
    found = make_request(project, "web", Given({"db": "abc"}, {}, {}))
    assert (found.network, found.pid) == (("container:abc",), "container:abc")
    with pytest.raises(ComposeError, match="service 'db' has no container"):
        make_request(project, "web", NOTHING)


def hash_of(directory: Path, text: str, **environ: str) -> str:
    project = load(directory, f"name: p\nservices: {{web: {{image: i, {text}}}}}", **environ)
    return identity.config_hash(project, "web")


@pytest.mark.parametrize(
    "text",
    ["scale: 3", "deploy: {replicas: 3}", "pull_policy: always", "profiles: []", "attach: no"],
)
def test_hash_leaves_out_what_changes_no_container(tmp_path: Path, text: str) -> None:
    base = "deploy: {}" if "deploy" in text else "tty: false"
    other = f"tty: false, {text}" if "deploy" not in text else text
    assert hash_of(tmp_path, base) == hash_of(tmp_path, other)


def test_hash_is_of_values_not_of_their_form(tmp_path: Path) -> None:
    assert hash_of(tmp_path, "environment: [A=1, B=2]") == hash_of(
        tmp_path, "environment: {B: 2, A: 1}"
    )
    assert hash_of(tmp_path, "environment: {A: $X}", X="1") != hash_of(
        tmp_path, "environment: {A: $X}", X="2"
    )


def test_hash_knows_what_a_secret_says(tmp_path: Path) -> None:
    text = "services: {web: {image: i, secrets: [s]}}\nsecrets: {s: {file: ./s}}"
    (tmp_path / "s").write_text("one")
    before = identity.config_hash(load(tmp_path, text), "web")
    (tmp_path / "s").write_text("two")
    assert identity.config_hash(load(tmp_path, text), "web") != before


def test_labels_are_docker_composes(tmp_path: Path) -> None:
    text = "name: p\nservices: {a: {image: i, depends_on: [b]}, b: {image: i}}"
    labels = identity.labels_of(load(tmp_path, text), "a", 2, oneoff=False)
    assert labels["com.docker.compose.project"] == "p"
    assert labels["com.docker.compose.service"] == "a"
    assert labels["com.docker.compose.container-number"] == "2"
    assert labels["com.docker.compose.oneoff"] == "False"
    assert labels["com.docker.compose.depends_on"] == "b:service_started:false"
    assert labels["com.docker.compose.project.working_dir"] == str(tmp_path)


def test_build_request(tmp_path: Path) -> None:
    text = """
name: p
services:
  web:
    build:
      context: app
      dockerfile: sub/Dockerfile
      args: [A=1, FROM_ENV, NOWHERE]
      target: t
      tags: [extra:1]
      labels: {l: m}
      additional_contexts: {base: "service:base", dir: ./d}
      secrets: [s, {source: e, target: named}]
      platforms: [linux/amd64]
  base: {build: .}
secrets: {s: {file: ./s}, e: {environment: E}}
"""
    project = load(tmp_path, text, FROM_ENV="env")
    found = make_build_request(project, "web", BuildOptions(arguments={"B": "2"}), "/made")
    assert found.context == f"{tmp_path}/app"
    assert found.files == (f"{tmp_path}/app/sub/Dockerfile",)
    assert found.build_args == {"A": "1", "FROM_ENV": "env", "B": "2"}
    assert found.tags == ("p-web", "extra:1")
    assert "l=m" in found.labels
    assert found.build_contexts == {"base": "docker-image://p-base", "dir": f"{tmp_path}/d"}
    assert found.secrets == (f"id=s,src={tmp_path}/s", "id=named,src=/made/secret.e")
    assert (found.target, found.platforms) == ("t", ("linux/amd64",))
    assert build_order(project, ["web", "base"]) == ["base", "web"]


def test_config_can_be_read_again(tmp_path: Path) -> None:
    from rootless.compose.show import as_text, document

    text = """
name: p
services:
  web:
    image: i
    build: {context: ., args: [A=1]}
    command: echo $$x
    ports: ["1:2", "3-4:5-6/udp"]
    volumes: ["./a:/a", "v:/v:ro", /anon]
    environment: {MONEY: "$$5"}
    ulimits: {nproc: 5, nofile: {soft: 1, hard: 2}}
    extra_hosts: [a=1.1.1.1]
    depends_on: {db: {condition: service_healthy}}
    deploy: {replicas: 2, resources: {limits: {cpus: 0.5, memory: 1g}}}
    secrets: [s]
  db: {image: i, network_mode: none, healthcheck: {test: a}}
volumes: {v: }
secrets: {s: {file: ./s}}
"""
    first = load(tmp_path, text)
    for form in ("yaml", "json"):
        second = load(tmp_path, as_text(first, form))
        assert document(second) == document(first)
    assert json.loads(as_text(first, "json"))["services"]["web"]["command"] == ["echo", "$$x"]
