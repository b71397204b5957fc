"""Files that are none: one line that names the file and the place, and nothing is loaded."""

from pathlib import Path

import pytest

from rootless.compose.errors import ComposeError, InvalidFile, NoFile
from tests.unit.rootless.compose.loading import load

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
SERVICE = "services: {web: {image: i, %s}}"
CASES: list[tuple[str, str | bytes, str]] = [
    ("binary", b"\x7fELF\x02\x01\0\0", "a binary file"),
    ("no-utf8", b"services: {web: {image: \xff\xfe}}", "parsing"),
    ("large", b"#" * (10 << 20), "larger than 1 MiB"),
    ("bomb", "x-b:\n" + "".join(f"  {line}\n" for line in BOMB.splitlines()), "aliases expanded"),
    ("anchor-in-itself", "x-a: &a [*a]", "parsing"),
    ("deep", "x-a: " + "[" * 300 + "]" * 300, "nested too deeply"),
    ("very-deep", "x-a: " + "[" * 20000, "parsing"),
    ("no-yaml", "services: {web: [", "parsing"),
    ("tabs", "services:\n\tweb: {}", "parsing"),
    ("a-list", "- a", "top-level object must be a mapping"),
    ("a-text", "hello", "top-level object must be a mapping"),
    ("unknown-tag", "services: !python/object:os.system {}", "unknown tag"),
    ("twice", "services: {web: {image: a}, web: {image: b}}", '"web" already defined'),
    ("key-list", "? [a]\n: b", "a key has to be text"),
    ("unknown-top", "service: {}", "additional properties 'service' not allowed"),
    ("unknown-key", SERVICE % "foo: 1", "services.web additional properties 'foo' not allowed"),
    ("bad-name", "services: {'we b': {image: i}}", "additional properties 'we b' not allowed"),
    ("services-list", "services: [web]", "services must be a mapping"),
    ("service-text", "services: {web: i}", "services.web must be a mapping"),
    ("image-number", "services: {web: {image: 1}}", "services.web.image must be a string"),
    ("image-map", "services: {web: {image: {a: b}}}", "services.web.image must be a string"),
    ("ports-map", SERVICE % "ports: {a: b}", "services.web.ports must be a list"),
    ("port-word", SERVICE % "ports: [http]", "services.web.ports.0 invalid port 'http'"),
    ("port-large", SERVICE % "ports: [70000]", "services.web.ports.0 invalid port '70000'"),
    ("port-ranges", SERVICE % "ports: ['1-3:1-2']", "ports.0 .*different lengths"),
    ("port-proto", SERVICE % "ports: ['1:1/x']", "ports.0 .*tcp or udp"),
    ("volume-four", SERVICE % "volumes: ['a:/b:ro:x']", "volumes.0 invalid spec"),
    ("volume-option", SERVICE % "volumes: ['a:/b:rx']", "volumes.0 .*unknown option 'rx'"),
    ("volume-type", SERVICE % "volumes: [{type: x, target: /a}]", "volumes.0.type must be one of"),
    ("volume-undefined", SERVICE % "volumes: ['a:/b']", "refers to undefined volume a"),
    ("network-undefined", SERVICE % "networks: [n]", "refers to undefined network n"),
    ("secret-undefined", SERVICE % "secrets: [s]", "refers to undefined secret s"),
    ("config-undefined", SERVICE % "configs: [c]", "refers to undefined config c"),
    ("depends-undefined", SERVICE % "depends_on: [db]", 'undefined service "db"'),
    ("condition", SERVICE % "depends_on: {web: {condition: x}}", "condition must be one of"),
    ("depends-itself", SERVICE % "depends_on: [web]", "dependency cycle detected: web -> web"),
    (
        "depends-cycle",
        "services: {a: {image: i, depends_on: [b]}, b: {image: i, depends_on: [a]}}",
        "dependency cycle detected: ",
    ),
    ("no-image", "services: {web: {command: a}}", "neither an image nor a build context"),
    ("extends-itself", SERVICE % "extends: web", "circular reference"),
    ("extends-nothing", SERVICE % "extends: db", 'service "db" not found'),
    ("extends-no-file", SERVICE % "extends: {service: a, file: x}", "x: no such file"),
    ("include-itself", "include: [file0.yaml]", "include cycle detected"),
    ("include-remote", "include: ['https://example.com/a']", "only files of this host"),
    ("include-oci", "include: ['oci://example.com/a']", "only files of this host"),
    ("boolean", SERVICE % "tty: maybe", "services.web.tty must be a boolean"),
    ("size", SERVICE % "mem_limit: much", "services.web.mem_limit must be a size"),
    ("duration", SERVICE % "stop_grace_period: soon", "must be a duration"),
    ("restart", SERVICE % "restart: sometimes", "invalid restart policy 'sometimes'"),
    ("health", SERVICE % "healthcheck: {test: [echo]}", "must begin with NONE, CMD or CMD-SHELL"),
    ("quote", SERVICE % 'command: "a \'b"', "services.web.command is no command line"),
    ("environment", SERVICE % "environment: {A: {b: c}}", "environment.A must be a string"),
    ("env-file", SERVICE % "env_file: nowhere.env", "nowhere.env not found"),
    ("both-networks", SERVICE % "network_mode: host, networks: [default]", "mutually exclusive"),
    ("windows", SERVICE % "isolation: hyperv", "'isolation' cannot be used here"),
    ("replicas", SERVICE % "deploy: {replicas: -1}", "deploy.replicas must not be negative"),
    ("ulimit", SERVICE % "ulimits: {nofile: {soft: 1}}", "soft and hard are required"),
    ("external", "volumes: {v: {external: true, driver: x}}", "conflicting parameters"),
    ("secret-two", "secrets: {s: {file: a, environment: B}}", "do not go together"),
    ("interpolation", SERVICE % 'command: "${"', "services.web.command"),
    ("required", SERVICE % 'command: "${X:?y}"', "required variable X is missing a value: y"),
]


@pytest.mark.parametrize(
    ("text", "words"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_bad_file_is_one_clear_line(tmp_path: Path, text: str | bytes, words: str) -> None:
    with pytest.raises(ComposeError, match=words) as caught:
        load(tmp_path, text)
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 600


def test_invalid_file_ends_with_docker_composes_code(tmp_path: Path) -> None:
    with pytest.raises(InvalidFile) as caught:
        load(tmp_path, "nothing: 1")
    assert caught.value.exit_code == 15
    assert str(tmp_path / "file0.yaml") in caught.value.message


def test_no_file_ends_with_docker_composes_code(tmp_path: Path) -> None:
    from rootless.compose.project import load_project
    from rootless.compose.settings import Options

    with pytest.raises(NoFile, match="no configuration file provided: not found") as caught:
        load_project(Options(), {}, str(tmp_path))
    assert caught.value.exit_code == 14


def test_close_key_is_suggested(tmp_path: Path) -> None:
    with pytest.raises(InvalidFile) as caught:
        load(tmp_path, SERVICE % "enviroment: []")
    assert caught.value.remedy == "did you mean environment?"


def test_cycle_of_includes_is_named(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("include: [file0.yaml]")
    with pytest.raises(InvalidFile, match=r"file0.yaml includes .*other.yaml includes .*file0"):
        load(tmp_path, "include: [other.yaml]")


def test_cycle_of_extends_is_named(tmp_path: Path) -> None:
    text = "services: {a: {extends: b}, b: {extends: c}, c: {extends: a}}"
    with pytest.raises(InvalidFile, match="extends: a extends b extends c extends a"):
        load(tmp_path, text)
