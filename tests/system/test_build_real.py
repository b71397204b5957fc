"""`build` of what people build: Debian below, packages by apt, pip and npm, a compiler, stages.

Debian's packages are fetched once, by the first step that wants them; everything else is in the
context, and the cache mounts serve the next builds without a network.
"""

import io
import json
import os
import shutil
import tarfile
import zipfile
from collections.abc import Iterator

import pytest

from tests.support.command import Command, Done

pytestmark = [pytest.mark.full, pytest.mark.rpod_only, pytest.mark.time_limit(900)]

APT = """\
RUN rm -f /etc/apt/apt.conf.d/docker-clean
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked \\
    --mount=type=cache,target=/var/lib/apt,sharing=locked \\
    {update} apt-get install -y --no-install-recommends {packages}
"""
COMPILED = """\
# syntax=docker/dockerfile:1
FROM debian AS build
{apt}
WORKDIR /src
COPY main.c .
RUN gcc -O2 -static -o /hello main.c
FROM build AS test
RUN /hello | grep -q compiled
FROM scratch
COPY --from=build /hello /hello
ENTRYPOINT ["/hello"]
"""
PYTHON = """\
# syntax=docker/dockerfile:1
ARG BASE=debian
FROM ${{BASE}} AS wheels
{apt}
ENV PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python3 -m venv /venv
RUN --mount=type=cache,target=/root/.cache/pip \\
    --mount=type=bind,source=wheels,target=/wheels \\
    /venv/bin/pip install --no-index --find-links=/wheels greeting
FROM wheels
RUN useradd --create-home app
USER app
WORKDIR /home/app
COPY --chown=app:app <<EOF app.py
import greeting, os
print(greeting.TEXT, os.getuid(), os.stat("app.py").st_uid)
EOF
CMD ["/venv/bin/python", "app.py"]
"""
NODE = """\
# syntax=docker/dockerfile:1
FROM debian
{apt}
COPY --from=node node /usr/local/bin/node
COPY --from=modules npm /usr/local/lib/node_modules/npm
RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm
WORKDIR /app
COPY package.json greeting.tgz ./
RUN --mount=type=cache,target=/root/.npm npm install --offline --no-audit --no-fund
COPY index.js .
CMD ["node", "index.js"]
"""


@pytest.fixture(scope="module")
def debian(session_command: Command, debian_rootfs: str) -> Iterator[Command]:
    """The command with an image `debian` in its store."""
    session_command("import", debian_rootfs, "debian", timeout_s=120)
    yield session_command
    session_command("rmi", "--force", "debian", check=False)
    session_command("system", "prune", "--force", "--build", check=False)


def build(
    rpod: Command, account_dir: str, source: str, files: dict[str, bytes], *options: str
) -> Done:
    where = f"{account_dir}/context"
    for name, data in {"Dockerfile": source.encode(), **files}.items():
        os.makedirs(os.path.dirname(f"{where}/{name}"), exist_ok=True)
        with open(f"{where}/{name}", "wb") as file:
            file.write(data)
    for path, _, _ in os.walk(where):
        os.chmod(path, 0o755)
    return rpod("build", "-t", "localhost/real", *options, where, timeout_s=600)


def apt(*packages: str, update: bool = True) -> str:
    return APT.format(packages=" ".join(packages), update="apt-get update &&" if update else "")


def test_compiler_and_stages(debian: Command, rpod: Command, account_dir: str) -> None:
    files = {"main.c": b'#include <stdio.h>\nint main(void) { puts("compiled"); return 0; }\n'}
    packages = ("gcc", "libc6-dev")
    first = build(rpod, account_dir, COMPILED.format(apt=apt(*packages)), files)
    assert "[test]" not in first.out
    assert rpod("run", "--rm", "localhost/real").out == "compiled\n"
    # The packages lie in the cache mounts: the same without a network, another order of words.
    source = COMPILED.format(apt=apt(*reversed(packages), update=False))
    again = build(rpod, account_dir, source, files, "--network=none", "--explain-cache")
    assert "Not in the cache" in again.out
    files["main.c"] = files["main.c"].replace(b"compiled", b"compiled anew")
    changed = build(rpod, account_dir, source, files, "--network=none", "--explain-cache")
    assert "--> Not in the cache: changed: files" in changed.out
    assert "apt-get install -y" not in changed.err
    assert rpod("run", "--rm", "localhost/real").out == "compiled anew\n"
    build(rpod, account_dir, source, files, "--target=test")


def test_python_packages(debian: Command, rpod: Command, account_dir: str) -> None:
    wheel = io.BytesIO()
    info = "greeting-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("greeting.py", "TEXT = 'hello'\n")
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: greeting\nVersion: 1.0\n"
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    files = {"wheels/greeting-1.0-py3-none-any.whl": wheel.getvalue()}
    source = PYTHON.format(apt=apt("python3", "python3-venv"))
    build(rpod, account_dir, source, files)
    words = rpod("run", "--rm", "localhost/real").out.split()
    assert (words[0], words[1]) == ("hello", words[2])
    found = json.loads(rpod("inspect", "localhost/real").out)[0]["Config"]
    assert found["User"] == "app"
    assert "PIP_DISABLE_PIP_VERSION_CHECK=1" in found["Env"]
    ids = {build(rpod, account_dir, source, files).lines[-1] for _ in range(2)}
    assert len(ids) == 1


@pytest.mark.skipif(
    not os.path.isdir("/usr/lib/node_modules/npm") or shutil.which("node") is None,
    reason="missing: node and npm in /usr/lib/node_modules",
)
def test_node_packages(debian: Command, rpod: Command, account_dir: str) -> None:
    package = io.BytesIO()
    with tarfile.open(fileobj=package, mode="w:gz") as archive:
        for name, data in (
            ("package.json", b'{"name": "greeting", "version": "1.0.0", "main": "index.js"}'),
            ("index.js", b'module.exports = "hello";'),
        ):
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    wanted = {"name": "app", "version": "1.0.0", "dependencies": {"greeting": "file:greeting.tgz"}}
    files = {
        "greeting.tgz": package.getvalue(),
        "package.json": json.dumps(wanted).encode(),
        "index.js": b'console.log(require("greeting"));\n',
    }
    node = os.path.dirname(os.path.realpath(shutil.which("node") or ""))
    build(
        rpod, account_dir, NODE.format(apt=apt("libstdc++6")), files,
        f"--build-context=node={filtered(account_dir, node)}",
        "--build-context=modules=/usr/lib/node_modules",
    )  # fmt: skip
    assert rpod("run", "--rm", "localhost/real").out == "hello\n"


def filtered(account_dir: str, directory: str) -> str:
    """Return a directory with nothing but the program node."""
    path = f"{account_dir}/node"
    os.makedirs(path, 0o755)
    shutil.copy(f"{directory}/node", f"{path}/node")
    return path
