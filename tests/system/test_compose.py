"""`compose`: applications of several containers, as docker compose's users write them."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import Command, Done, is_podman
from tests.support.registry import Registry, free_port
from tests.system.test_network import talk

pytestmark = pytest.mark.skipif(is_podman(), reason="podman calls another program")

APP = """
name: app
x-quick: &quick {stop_grace_period: 0s, image: IMAGE}
services:
  web:
    <<: *quick
    command: [sh, -c, "while :; do cat /data/note; cat /run/secrets/key; sleep 0.1; done"]
    depends_on:
      db: {condition: service_healthy}
      setup: {condition: service_completed_successfully}
    volumes: ["data:/data:ro"]
    secrets: [key]
    configs: [{source: conf, target: /etc/conf}]
  setup:
    image: IMAGE
    command: [sh, -c, "echo prepared >/data/note"]
    volumes: ["data:/data"]
  db:
    <<: *quick
    command: [sh, -c, "sleep 0.5; touch /ready; exec sleep 1000"]
    healthcheck: {test: [CMD, test, -e, /ready], interval: 1s}
    networks: {default: {aliases: [database]}}
volumes: {data: }
secrets: {key: {environment: KEY}}
configs: {conf: {content: "greeting=$GREETING"}}
"""


class Compose:
    """`compose` in the directory of a file."""

    def __init__(self, command: Command, directory: str, image: str) -> None:
        self.command = command
        self.directory = directory
        self.image = image

    def write(self, text: str, name: str = "compose.yaml") -> None:
        path = Path(self.directory, name)
        path.write_text(text.replace("IMAGE", self.image))
        path.chmod(0o644)

    def __call__(self, *argv: str, check: bool = True, env: dict[str, str] | None = None) -> Done:
        return self.command("compose", *argv, check=check, cwd=self.directory, env=env)

    def ids(self) -> dict[str, str]:
        """Return the ids of the containers, by name."""
        lines = self("ps", "--all", "--format", "json").lines
        return {one["Name"]: one["ID"] for one in map(json.loads, lines)}


@pytest.fixture
def compose(rpod: Command, image: str, account_dir: str) -> Iterator[Compose]:
    """The command in a directory of its own; what a test makes is removed after it."""
    directory = f"{account_dir}/project"
    os.makedirs(directory)
    os.chown(directory, rpod.account.uid, rpod.account.gid)
    yield Compose(rpod, directory, image)
    rpod("rm", "--force", "--all", "--time", "0", check=False)
    for name in rpod("network", "ls", "-q").lines:
        rpod("network", "rm", name, check=False)
    for name in rpod("secret", "ls", "-q").lines:
        rpod("secret", "rm", name)


def test_application(compose: Compose, rpod: Command) -> None:
    compose.write(APP)
    variables = {"KEY": "hunter2\n", "GREETING": "hello"}
    done = compose("up", "-d", env=variables)
    at = {line.strip(): number for number, line in enumerate(done.err.splitlines())}
    assert at["Container app-db-1  Healthy"] < at["Container app-web-1  Starting"]
    assert at["Container app-setup-1  Exited"] < at["Container app-web-1  Starting"]
    shown = compose("ps").lines
    assert shown[0].split() == ["NAME", "IMAGE", "COMMAND", "SERVICE", "CREATED", "STATUS", "PORTS"]
    assert [line.split()[0] for line in shown[1:]] == ["app-db-1", "app-web-1"]
    assert "(healthy)" in shown[1]
    look = "cat /etc/conf; echo; nslookup database >/dev/null && echo found"
    assert rpod("exec", "app-web-1", "sh", "-c", look).lines == ["greeting=hello", "found"]
    assert "hunter2" not in rpod("inspect", "app-web-1").out
    lines = compose("logs", "--tail", "2", "web").lines
    assert sorted(lines) == ["web-1  | hunter2", "web-1  | prepared"]
    assert json.loads(compose("ls", "--format", "json").out)[0]["Name"] == "app"

    before = compose.ids()
    again = compose("up", "-d", env=variables)
    assert compose.ids() == before
    assert "Container app-db-1  Running" in again.err

    compose.write(APP.replace("sleep 1000", "sleep 2000"))
    compose("up", "-d", env={**variables, "GREETING": "bye"})
    after = compose.ids()
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"app-db-1", "app-web-1"}

    # Without the file the labels are enough.
    rpod("compose", "-p", "app", "down", "--volumes", cwd="/")
    assert compose.ids() == {}
    assert rpod("network", "ls", "-q").lines == ["podman"]
    assert rpod("volume", "ls", "-q").lines == []
    assert rpod("secret", "ls", "-q").lines == []


def test_scale_and_orphans(compose: Compose) -> None:
    text = "services: {a: {image: IMAGE, command: sleep 1000, stop_grace_period: 0s}}"
    compose.write(text.replace("}}", "}, b: {image: IMAGE, command: sleep 1000, init: true}}"))
    compose("up", "-d", "--scale", "a=3")
    assert sorted(compose.ids()) == [f"project-{n}" for n in ("a-1", "a-2", "a-3", "b-1")]
    compose.write(text)
    done = compose("up", "-d", "--scale", "a=2")
    assert "orphan containers ([project-b-1])" in done.err
    compose("up", "-d", "--remove-orphans")
    assert sorted(compose.ids()) == ["project-a-1"]
    compose("down")


def test_attached_ends_with_the_exit_code_of_a_service(compose: Compose) -> None:
    compose.write("""
services:
  job: {image: IMAGE, command: [sh, -c, "echo out; echo err >&2; exit 3"]}
  longer-name: {image: IMAGE, command: sleep 1000, init: true}
""")
    done = compose("up", "--exit-code-from", "job", check=False)
    assert done.code == 3
    assert "job-1          | out" in done.lines
    assert "job-1          | err" in done.err.splitlines()
    assert "job-1 exited with code 3" in done.lines
    assert "Aborting on container exit..." in done.err
    assert compose("ps", "-q").lines == []
    compose("down")


def test_interrupted_up_stops_the_services(compose: Compose) -> None:
    compose.write(
        "services: {a: {image: IMAGE, command: [sh, -c, 'echo up; sleep 9'], init: true}}"
    )
    process = compose.command.spawn("compose", "up", cwd=compose.directory)
    assert process.stdout is not None
    assert process.stdout.readline() == b"a-1  | up\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 0
    assert b"Gracefully Stopping" in err
    assert b"a-1 exited with code 143" in out
    assert compose("ps", "-q").lines == []
    compose("down")


def test_failed_dependency_is_told(compose: Compose) -> None:
    compose.write("""
services:
  web: {image: IMAGE, command: sleep 1000, depends_on: {db: {condition: service_healthy}}}
  db:
    image: IMAGE
    command: sleep 1000
    init: true
    healthcheck: {test: "false", interval: 1s, retries: 1}
""")
    done = compose("up", "-d", check=False)
    assert done.code == 1
    assert "dependency failed to start: container project-db-1 is unhealthy" in done.err
    assert [line.split()[-2] for line in compose("ps", "-a").lines[1:] if "web" in line] != []
    compose("down")


@pytest.mark.parametrize("after_s", [0.15, 0.3, 0.5])
def test_killed_up_is_completed_by_the_next(
    compose: Compose, rpod: Command, after_s: float
) -> None:
    text = "".join(
        f"  s{n}: {{image: IMAGE, command: sleep 1000, stop_grace_period: 0s,"
        " volumes: [v:/v, /w]}\n"
        for n in range(4)
    )
    compose.write(f"services:\n{text}volumes: {{v: }}\n")
    if after_s > 0.2:
        compose("up", "-d")
        rpod("exec", "project-s0-1", "touch", "/w/kept")
    process = compose.command.spawn(
        "compose", "up", "-d", "--force-recreate", cwd=compose.directory
    )
    time.sleep(after_s)
    process.kill()
    process.wait()
    for one in (process.stdout, process.stderr):
        assert one is not None
        one.close()
    compose("up", "-d")
    assert sorted(compose.ids()) == [f"project-s{n}-1" for n in range(4)]
    assert len(compose("ps", "-q").lines) == 4
    if after_s > 0.2:
        assert rpod("exec", "project-s0-1", "ls", "/w").lines == ["kept"]
    compose("down", "-v")
    assert rpod("volume", "ls", "-q").lines == []
    assert rpod("ps", "-aq").lines == []


def test_config_shows_what_is_understood(compose: Compose) -> None:
    compose.write(APP)
    shown = compose("config", "--format", "json", env={"KEY": "k", "GREETING": "$x"}).out
    read = json.loads(shown)
    assert read["name"] == "app"
    assert read["configs"]["conf"] == {"content": "greeting=$$x", "name": "app_conf"}
    assert compose("config", "--services").lines == ["db", "setup", "web"]
    compose.write(compose("config", env={"KEY": "k", "GREETING": "$x"}).out)
    assert json.loads(compose("config", "--format", "json").out) == read


def test_link_named_docker_compose(compose: Compose, account_dir: str) -> None:
    link = f"{account_dir}/docker-compose"
    os.symlink(compose.command.prefix[-1], link)
    argv = [*compose.command.dropping(), link, "--version"]
    done = subprocess.run(argv, capture_output=True, check=True, env=compose.command.environment)
    assert done.stdout.startswith(b"rpod compose version ")


def test_name_of_a_project_leads_nowhere(rpod: Command) -> None:
    for name in ("../../x", "a/b", "A", "-a"):
        done = rpod("compose", f"--project-name={name}", "down", check=False, cwd="/")
        assert done.code == 1
        assert "invalid project name" in done.err


def test_wrong_file_makes_nothing(compose: Compose, rpod: Command) -> None:
    assert compose("up", "-d", check=False).code == 14
    compose.write("services: {web: {image: IMAGE, foo: 1}}")
    done = compose("up", "-d", check=False)
    assert done.code == 15
    assert "services.web additional properties 'foo' not allowed" in done.err
    compose.write("services: {web: {image: localhost/no-such-image}}")
    assert compose("up", "-d", "--pull", "never", check=False).code == 1
    assert rpod("network", "ls", "-q").lines == ["podman"]


SMALL = """
services:
  web:
    build:
      dockerfile_inline: |
        FROM IMAGE
        ARG word
        RUN echo built $$word >/built
      args: {word: here}
    command: [sh, -c, "while :; do echo served | nc -l -p 80; done"]
    init: true
    ports: ["127.0.0.1:PORT:80"]
    volumes: ["./made:/made"]
    depends_on: [db]
  db: {image: IMAGE, command: sleep 1000, init: true}
"""


def test_built_service_and_what_is_done_to_it(compose: Compose, rpod: Command) -> None:
    port = free_port()
    compose.write(SMALL.replace("PORT", str(port)))
    compose("up", "-d", "--quiet-build")
    assert talk(port) == b"served\n"
    assert compose("port", "web", "80").lines == [f"127.0.0.1:{port}"]
    assert compose("exec", "web", "cat", "/built").lines == ["built here"]
    assert compose("exec", "web", "sh", "-c", "exit 7", check=False).code == 7
    assert "nc -l -p 80" in compose("top", "web").out
    assert "localhost/project-web" in compose("images").out
    assert os.path.isdir(f"{compose.directory}/made")

    done = compose("run", "--rm", "-e", "A=b", "web", "sh", "-c", "echo $A; exit 4", check=False)
    assert (done.code, done.lines) == (4, ["b"])
    assert "orphan" not in done.err
    assert compose("run", "-d", "--name", "apart", "db", "sleep", "1000").lines == ["apart"]
    assert "apart" not in compose("ps", "-a").out

    compose.write("copied\n", "file")
    compose("cp", "file", "web:/tmp/file")
    assert compose("exec", "web", "cat", "/tmp/file").lines == ["copied"]

    before = compose.ids()
    compose("restart", "-t", "0", "web")
    compose("stop", "-t", "0", "db")
    assert compose("ps", "--services").lines == ["web"]
    assert compose("ps", "--status", "exited", "--services").lines == ["db"]
    compose("start", "db")
    assert compose.ids() == before
    compose("scale", "db=2")
    compose("kill", "db")
    assert compose("ps", "-q", "db").lines == []
    compose("rm", "-f", "db")
    assert set(compose.ids()) == {"project-web-1"}
    assert compose("exec", "db", "true", check=False).code == 1
    said = compose("events", "--json", "--since", "1m", "--until", "0s", "db").lines
    assert {json.loads(line)["Name"] for line in said} >= {"project-db-1", "project-db-2", "apart"}
    compose("down", "-t", "0", "--rmi", "local")
    assert "project-web" not in rpod("images").out
    assert rpod("ps", "-aq").lines == []


def test_build_with_secrets_and_changed_files(compose: Compose) -> None:
    compose.write("FROM IMAGE\nCOPY file /\nRUN --mount=type=secret,id=s cp /run/secrets/s /s\n",
                  "Dockerfile")  # fmt: skip
    compose.write("one\n", "file")
    compose.write("WORD=hidden\n", ".env")
    compose.write("""
services: {a: {build: {context: ., secrets: [s]}, command: sleep 1000, init: true}}
secrets: {s: {environment: WORD}}
""")
    compose("up", "-d", "--quiet-build")
    before = compose.ids()
    assert compose("exec", "a", "cat", "/file").lines == ["one"]
    assert compose("exec", "a", "cat", "/s").out == "hidden"
    compose.write("two\n", "file")
    compose("up", "-d")
    assert compose.ids() == before
    compose("up", "-d", "--build", "--quiet-build")
    assert compose.ids() != before
    assert compose("exec", "a", "cat", "/file").lines == ["two"]
    compose("down", "-t", "0", "--rmi", "all")


def test_failed_build_and_fetch_have_docker_composes_codes(compose: Compose) -> None:
    compose.write('services: {a: {build: {dockerfile_inline: "FROM IMAGE\\nRUN false"}}}')
    done = compose("build", check=False)
    assert done.code == 17
    assert "failed to build service a" in done.err
    compose.write("services: {a: {image: 127.0.0.1:1/no/such}}")
    done = compose("pull", check=False)
    assert done.code == 18
    assert "Error: service a: " in done.err


def test_images_go_to_a_registry_and_come_back(
    compose: Compose, rpod: Command, registry: Registry, account_dir: str
) -> None:
    Path(account_dir, "registries.conf").write_text(
        f'[[registry]]\nlocation = "{registry.host}"\ninsecure = true\n'
    )
    env = {"CONTAINERS_REGISTRIES_CONF": f"{account_dir}/registries.conf"}
    text = "services: {a: {image: NAME, command: sleep 1000, init: true, build: {context: .}}}"
    name = f"{registry.host}/of-compose:1"
    compose.write("FROM IMAGE\nRUN echo made >/made\n", "Dockerfile")
    compose.write(text.replace("NAME", name))
    compose("build", "--quiet", env=env)
    compose("push", "--quiet", env=env)
    rpod("rmi", name)
    compose.write(text.replace("NAME", name).replace(", build: {context: .}", ""))
    done = compose("up", "-d", env=env)
    assert f"Image {name}  Pulled" in done.err
    assert compose("exec", "a", "cat", "/made").lines == ["made"]
    compose("down", "-t", "0", "--rmi", "all", env=env)


def test_attach_shows_some_services(compose: Compose) -> None:
    compose.write("""
services:
  a: {image: IMAGE, command: echo from a}
  b: {image: IMAGE, command: echo from b}
""")
    done = compose("up", "--attach", "a", "--no-log-prefix")
    assert done.lines == ["from a", "a-1 exited with code 0"]
    lines = compose("logs", "--no-log-prefix").lines
    assert sorted(lines) == ["from a", "from b"]
    assert compose("wait", "b").lines == ["0"]
    compose("down")


def test_namespaces_of_another_service(compose: Compose) -> None:
    text = """
services:
  web: {image: IMAGE, command: sleep 1000, init: true, stop_grace_period: 0s}
  beside: {image: IMAGE, command: sleep 1000, init: true, network_mode: "service:web"}
"""
    compose.write(text)
    compose("up", "-d")

    def address(service: str) -> str:
        return compose("exec", service, "ip", "-4", "addr", "show", "dev", "eth0").out

    assert address("web") == address("beside") != ""
    compose.write(text.replace("sleep 1000", "sleep 2000", 1))
    compose("up", "-d")
    assert address("web") == address("beside") != ""
    compose("down", "-t", "0")


KEYS = """
services:
  all:
    image: IMAGE
    command: sleep 1000
    init: true
    hostname: inside
    domainname: example.org
    user: "1000:1000"
    working_dir: /srv
    group_add: [audio]
    labels: [a=b]
    read_only: true
    shm_size: 32m
    cap_drop: [ALL]
    security_opt: ["no-new-privileges:true", "seccomp:unconfined"]
    sysctls: {net.core.somaxconn: 1024}
    ulimits: {nofile: {soft: 100, hard: 200}}
    extra_hosts: ["outside=192.0.2.7", "gate:host-gateway"]
    dns_search: example.com
    tmpfs: ["/scratch:size=1m"]
    oom_score_adj: 500
    stop_grace_period: 500ms
    logging: {driver: json-file, options: {max-size: 10m}}
    secrets: [{source: key, target: mine, uid: "1000", mode: 0400}]
    volumes: ["data:/data:ro", "/own", {type: tmpfs, target: /third, tmpfs: {size: 2m}}]
    networks: {front: {ipv4_address: 10.177.3.10, aliases: [www], priority: 10}, back: }
    healthcheck: {test: "true", interval: 1h, start_interval: 300ms, start_period: 1m}
    post_start: [{command: "sh -c 'echo ran >/data2/hook'"}]
    pre_stop: [{command: "sh -c 'echo stopping >>/data2/hook'"}]
    deploy: {restart_policy: {condition: on-failure, max_attempts: 2}}
  other: {image: IMAGE, command: sleep 1000, init: true, networks: [back]}
networks:
  front: {ipam: {config: [{subnet: 10.177.3.0/24}]}, labels: {n: m}}
  back: {internal: true, name: exactly}
volumes: {data: {labels: {v: w}}}
secrets: {key: {file: ./key}}
"""


def test_keys_of_a_service_reach_the_container(compose: Compose, rpod: Command) -> None:
    compose.write("word\n", "key")
    compose.write(KEYS.replace('"/own"', '"/own", "./shown:/data2"'))
    os.makedirs(f"{compose.directory}/shown")
    os.chmod(f"{compose.directory}/shown", 0o777)
    compose("up", "-d", "--wait")
    look = """
hostname; id; pwd; ulimit -n; cat /run/secrets/mine /proc/sys/net/core/somaxconn
grep -c example.com /etc/resolv.conf; grep 192.0.2.7 /etc/hosts | tr '\\t' ' '
grep -cw gate /etc/hosts; cat /proc/1/oom_score_adj; ip -4 addr | grep -c 10.177.3.10/24
touch /scratch/a /third/b && echo writable; touch /data/a 2>/dev/null || echo read-only
df -k /dev/shm | tail -1 | tr -s ' ' | cut -d ' ' -f 2; grep -c 'NoNewPrivs:.1' /proc/self/status
ping -c 1 other 2>/dev/null | grep -c "^PING other"
"""
    assert compose("exec", "all", "sh", "-c", look).lines == [
        "inside.example.org",
        "uid=1000(alice) gid=1000(alice) groups=29(audio),1000(alice)",
        "/srv", "100", "word", "1024", "1", "192.0.2.7 outside", "1", "500", "1", "writable",
        "read-only", "32768", "1", "1",
    ]  # fmt: skip
    labels = json.loads(rpod("volume", "inspect", "project_data").out)[0]["Labels"]
    assert labels["v"] == "w"
    network = json.loads(rpod("network", "inspect", "exactly").out)[0]
    assert network["internal"]
    compose("down", "-v")
    assert Path(compose.directory, "shown/hook").read_text() == "ran\nstopping\n"


def test_external_objects_are_used_and_stay(compose: Compose, rpod: Command) -> None:
    text = """
services:
  a:
    image: IMAGE
    command: sleep 1000
    init: true
    networks: [theirs]
    volumes: ["kept:/v"]
    secrets: [outside]
networks: {theirs: {external: true}}
volumes: {kept: {external: true, name: theirs-too}}
secrets: {outside: {external: true}}
"""
    compose.write(text)
    done = compose("up", "-d", check=False)
    assert done.code == 1
    assert "network theirs declared as external, but could not be found" in done.err
    compose.write(text.replace("sleep 1000", "sleep 1000\n    logging: {driver: syslog}"))
    assert "there is no driver 'syslog' here" in compose("up", "-d", check=False).err
    assert rpod("network", "ls", "-q").lines == ["podman"]
    compose.write(text)
    rpod("network", "create", "theirs")
    rpod("volume", "create", "theirs-too")
    rpod("secret", "create", "outside", "-", input=b"word")
    compose("up", "-d")
    assert compose("exec", "a", "cat", "/run/secrets/outside").out == "word"
    compose("down", "-v", "-t", "0")
    assert "theirs" in rpod("network", "ls", "-q").lines
    assert rpod("volume", "ls", "-q").lines == ["theirs-too"]
    assert rpod("secret", "ls", "-q").lines != []


def test_profiles_and_several_files(compose: Compose) -> None:
    compose.write("services: {a: {image: IMAGE, command: sleep 1000, init: true}}")
    compose.write(
        "services: {a: {environment: [X=1]},"
        " tool: {image: IMAGE, command: echo ran, profiles: [t]}}",
        "compose.override.yaml",
    )
    compose("up", "-d")
    assert set(compose.ids()) == {"project-a-1"}
    assert compose("exec", "a", "sh", "-c", "echo $X").lines == ["1"]
    assert compose("run", "--rm", "tool").lines == ["ran"]
    compose("--profile", "t", "up", "-d")
    assert set(compose.ids()) == {"project-a-1", "project-tool-1"}
    assert compose("-f", "compose.yaml", "-p", "other", "config", "--services").lines == ["a"]
    compose("--profile", "t", "down", "-t", "0")
    assert compose.ids() == {}
