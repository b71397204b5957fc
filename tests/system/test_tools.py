"""Programs that drive podman, used unchanged with the command under test in its place."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.support.command import Command, Done, is_podman
from tests.support.registry import free_port
from tests.system.test_network import talk

COMPOSE = """
services:
  db:
    image: {image}
    command: ["sh", "-c", "while :; do cat /data/text | nc -l -p 5432; done"]
    volumes: ["data:/data"]
    healthcheck: {{test: ["CMD-SHELL", "test -e /data/text"], interval: 1s, retries: 30,
                  start_period: 9s, start_interval: 100ms}}
  fill:
    image: {image}
    command: ["sh", "-c", "echo $$WORDS >/data/text"]
    environment: {{WORDS: kept in a volume}}
    volumes: ["data:/data"]
  api:
    build: ./api
    depends_on: {{db: {{condition: service_healthy}}}}
    networks: [default, back]
    tmpfs: /scratch
    ulimits: {{nofile: 512}}
  web:
    image: {image}
    command:
      - sh
      - -c
      - |
        while :; do
          until nc api 8080 </dev/null >/tmp/answer && [ -s /tmp/answer ]; do sleep 0.1; done
          nc -l -p 80 </tmp/answer
        done
    depends_on: [api]
    env_file: web.env
    ports: ["127.0.0.1:{port}:80"]
volumes:
  data: {{}}
networks:
  default: {{}}
  back: {{}}
"""
CONTAINERFILE = """
FROM {image}
RUN mkdir -p /app && echo built >/app/version
WORKDIR /app
COPY serve /app/
CMD ["sh", "/app/serve"]
"""
SERVE = """
while :; do
    until nc db 5432 </dev/null >answer && [ -s answer ]; do sleep 0.1; done
    (cat answer version; ulimit -n) | nc -l -p 8080
done
"""

Tool = Callable[..., Done]


@pytest.fixture
def compose(rpod: Command, account_dir: str) -> Tool:
    """podman-compose, which finds the command as `podman`."""
    program = os.path.join(os.path.dirname(sys.executable), "podman-compose")
    rpod.shell(f"mkdir {account_dir}/bin && ln -s $(command -v $RPOD) {account_dir}/bin/podman")
    path = f"{account_dir}/bin:{rpod.environment['PATH']}"

    def call(*words: str) -> Done:
        return rpod.shell(
            f"cd {account_dir} && exec {sys.executable} {program} {' '.join(words)}",
            # The name of the directory may not do for an image.
            env={"PATH": path, "COMPOSE_PROJECT_NAME": "composed"},
        )

    return call


@pytest.mark.time_limit(180)
def test_compose_runs_an_application(
    rpod: Command, image: str, account_dir: str, compose: Tool
) -> None:
    port = free_port()
    for name, text in (
        ("compose.yaml", COMPOSE.format(image=image, port=port)),
        ("api/Dockerfile", CONTAINERFILE.format(image=image)),
        ("api/serve", SERVE),
        ("web.env", "FROM_FILE=yes\n"),
    ):
        path = f"{account_dir}/{name}"
        rpod.shell(f"mkdir -p $(dirname {path}); cat >{path} <<'END'\n{text}\nEND")

    compose("up", "-d")
    assert talk(port) == b"kept in a volume\nbuilt\n512\n"
    assert "FROM_FILE='yes'" in compose("exec", "-T", "web", "sh", "-c", "set").lines
    running = rpod("ps", "--format", "{{.Names}} {{.Status}}").out
    assert "db_1 Up" in running
    assert is_podman() or "(healthy)" in running  # podman's checks need a systemd session
    compose("restart", "-t", "0", "web")
    assert talk(port).startswith(b"kept")
    compose("down", "-v", "-t", "0")
    assert rpod("ps", "-aq").out == ""
    assert rpod("volume", "ls", "-q").out == ""
    assert "back" not in rpod("network", "ls", "-q").out
    rpod("rmi", "composed_api")


# What distrobox would otherwise install, the same way, in the first minutes of a box.
BOX_PACKAGES = (
    "apt-utils,bash-completion,bc,curl,diffutils,findutils,gnupg,less,locales,man-db,mount,"
    "ncurses-base,passwd,procps,sudo,time,tree,unzip,util-linux,vim-tiny,wget"
)


@pytest.mark.full
@pytest.mark.time_limit(600)
def test_distrobox_makes_a_box_that_is_home(
    fresh_rpod: Command, account_dir: str, shared_dir: str
) -> None:
    for program in ("distrobox-create", "mmdebstrap"):
        if shutil.which(program) is None:
            pytest.skip(f"not installed: {program}")
    archive = f"{shared_dir}/box.tar"
    subprocess.run(
        ["mmdebstrap", "--variant=minbase", "--quiet", f"--include={BOX_PACKAGES}", "bookworm",
         archive], check=True, capture_output=True,
    )  # fmt: skip
    os.chmod(archive, 0o644)
    fresh_rpod("import", "-q", archive, "box", timeout_s=300)
    fresh_rpod.shell(
        f"mkdir {account_dir}/bin && ln -s $(command -v $RPOD) {account_dir}/bin/podman"
    )
    name = fresh_rpod.account.name
    env = {"PATH": f"{account_dir}/bin:{fresh_rpod.environment['PATH']}", "SHELL": "/bin/bash",
           "USER": name}  # fmt: skip
    fresh_rpod.shell("distrobox-create --yes --image localhost/box --name box", env=env)
    script = "id -un; pwd; touch here; sudo -n id -u"
    enter = f"cd {account_dir} && distrobox-enter --name box --no-tty -- sh -c '{script}'"
    assert fresh_rpod.shell(enter, env=env).lines[-3:] == [name, account_dir, "0"]
    assert os.stat(f"{account_dir}/here").st_uid == fresh_rpod.account.uid


DEV_CONTAINER = {
    "build": {"dockerfile": "Dockerfile"},
    "features": {"./feature": {"greeting": "moin"}},
    "remoteUser": "dev",
    "mounts": ["source=cache,target=/cache,type=volume"],
    "containerEnv": {"INSIDE": "yes"},
    "postCreateCommand": "id -un >/tmp/created",
}
DEV_FILES = {
    "devcontainer.json": json.dumps(DEV_CONTAINER),
    "Dockerfile": "FROM {image}\nRUN echo dev:x:1000:1000::/tmp:/bin/sh >>/etc/passwd\n",
    "feature/devcontainer-feature.json": json.dumps(
        {"id": "feature", "version": "1.0.0", "options": {"greeting": {"type": "string"}}}
    ),
    "feature/install.sh": '#!/bin/sh\necho "$GREETING $_REMOTE_USER" >/etc/greeting\n',
}


@pytest.mark.full
@pytest.mark.time_limit(180)
def test_dev_container_tool_makes_a_place_to_work(
    rpod: Command, image: str, account_dir: str
) -> None:
    program = shutil.which("devcontainer")
    if program is None:
        pytest.skip("not installed: devcontainer (npm install -g @devcontainers/cli)")
    for name, text in DEV_FILES.items():
        path = f"{account_dir}/app/.devcontainer/{name}"
        words = text.replace("{image}", image)
        rpod.shell(f"mkdir -p $(dirname {path}); cat >{path} <<'END'\n{words}\nEND")
    rpod.shell(f"mkdir {account_dir}/bin && ln -s $(command -v $RPOD) {account_dir}/bin/podman")

    def tool(*words: str) -> Done:
        options = f"--docker-path {account_dir}/bin/podman --workspace-folder {account_dir}/app"
        return rpod.shell(f"{program} {words[0]} {options} {' '.join(words[1:])}")

    assert '"outcome":"success"' in tool("up").out
    script = "'cat /etc/greeting /tmp/created; echo $INSIDE; touch here; ls -d /cache'"
    assert tool("exec", "sh", "-c", script).lines == ["moin dev", "dev", "yes", "/cache"]
    assert os.stat(f"{account_dir}/app/here").st_uid == rpod.account.uid
    assert '"outcome":"success"' in tool("build", "--image-name", "made:1").out
    rpod("rm", "-fat", "0")
