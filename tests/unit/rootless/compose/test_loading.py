"""What files mean: forms, merging, files that belong together, names."""

from pathlib import Path

import pytest

from rootless.compose.errors import ComposeError, InvalidFile
from rootless.compose.project import load_project
from rootless.compose.settings import Options
from tests.unit.rootless.compose.loading import load, web

APP = "services: {web: {image: i}}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("'80'", [{"target": 80}]),
        ("8080:80", [{"target": 80, "published": "8080"}]),
        ("22:22", [{"target": 22, "published": "22"}]),
        ("127.0.0.1:1:2/udp", [{"target": 2, "published": "1", "host_ip": "127.0.0.1"}]),
        ("'[::1]:1:2'", [{"target": 2, "published": "1", "host_ip": "::1"}]),
        ("127.0.0.1::2", [{"target": 2, "host_ip": "127.0.0.1"}]),
        ("1-2", [{"target": 1}, {"target": 2}]),
        ("11-12:1-2", [{"target": 1, "published": "11"}, {"target": 2, "published": "12"}]),
        ("11-12:1", [{"target": 1, "published": "11-12"}]),
        ("{target: 1, published: 2}", [{"target": 1, "published": "2"}]),
    ],
)
def test_ports(tmp_path: Path, text: str, expected: list[dict[str, object]]) -> None:
    found = [one.raw for one in web(tmp_path, f"ports: [{text}]").parts("ports")]
    protocol = "udp" if "udp" in text else "tcp"
    assert found == [{"mode": "ingress", "protocol": protocol, **one} for one in expected]


def test_volumes(tmp_path: Path) -> None:
    text = "volumes: [./a:/a:ro, /b, 'd:/d:nocopy', ~/c:/c:z]"
    text = f"services: {{web: {{image: i, {text}}}}}\nvolumes: {{d: }}"
    found = load(tmp_path, text).services["web"].parts("volumes")
    bind = {"create_host_path": True}
    assert [one.raw for one in found[:3]] == [
        {"type": "bind", "source": f"{tmp_path}/a", "target": "/a", "read_only": True,
         "bind": bind},
        {"type": "volume", "target": "/b"},
        {"type": "volume", "source": "d", "target": "/d", "volume": {"nocopy": True}},
    ]  # fmt: skip
    assert found[3].part("bind").text("selinux") == "z"
    assert found[3].text("source").endswith("/c")


def test_scalars_are_those_of_yaml_1_2(tmp_path: Path) -> None:
    text = "environment: {A: on, B: 1e3, C: 0x10, D: '1', E: 2001-01-01, F: true, G: 1.50, H: ~}"
    found = web(tmp_path, text).words("environment")
    expected = {"A": "on", "B": "1e3", "C": "16", "D": "1", "E": "2001-01-01", "F": "true"}
    assert {key: found[key] for key in expected} == expected
    assert "H" not in found


def test_environment_without_a_value_is_the_callers(tmp_path: Path) -> None:
    found = web(tmp_path, "environment: [A, B, C=]", A="a").words("environment")
    assert found == {"A": "a", "C": ""}


def test_env_files_lie_below_environment(tmp_path: Path) -> None:
    (tmp_path / "a.env").write_text("A=1\nB=1\nC=1\n")
    (tmp_path / "b.env").write_text("B=2\nC=2\n")
    text = "env_file: [a.env, b.env, {path: c.env, required: false}]\nenvironment: {C: 3}"
    assert web(tmp_path, text).words("environment") == {"A": "1", "B": "2", "C": "3"}


def test_dot_env_fills_variables_and_the_environment_wins(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("TAG=file\nOTHER=file\n")
    text = "command: $TAG-$OTHER"
    assert web(tmp_path, text, TAG="env").texts("command") == ("env-file",)


@pytest.mark.parametrize(
    ("base", "over", "key", "expected"),
    [
        ("command: a b", "command: c", "command", ["c"]),
        ("entrypoint: [a]", "entrypoint: [b]", "entrypoint", ["b"]),
        ("dns: 1.1.1.1", "dns: [8.8.8.8]", "dns", ["1.1.1.1", "8.8.8.8"]),
        ("cap_add: [A, B]", "cap_add: [B, C]", "cap_add", ["A", "B", "C"]),
        ("environment: [A=1, B=1]", "environment: {B: 2}", "environment", {"A": "1", "B": "2"}),
        ("labels: {a: b}", "labels: [c=d]", "labels", {"a": "b", "c": "d"}),
        ("tty: true", "tty: false", "tty", False),
        ("build: .", "build: {target: t}", "build", None),
        ("volumes: [/a:/x, /b:/y]", "volumes: [/c:/x]", "volumes", None),
        ("ports: ['1:1']", "ports: ['1:1', '2:2']", "ports", None),
        ("command: a", "command: !reset null", "command", "gone"),
        ("environment: {A: 1, B: 2}", "environment: {A: !reset null}", "environment", {"B": "2"}),
        ("ports: ['1:1']", "ports: !override ['2:2']", "ports", None),
        ("dns: [1.1.1.1]", "dns: !override [8.8.8.8]", "dns", ["8.8.8.8"]),
    ],
)
def test_merge(tmp_path: Path, base: str, over: str, key: str, expected: object) -> None:
    found = web(tmp_path, base, over)
    if expected == "gone":
        assert key not in found
    elif expected is not None:
        assert found.raw[key] == expected
    elif key == "build":
        assert found.part("build").raw == {"context": str(tmp_path), "target": "t"}
    elif key == "volumes":
        assert [one.text("source") for one in found.parts(key)] == ["/c", "/b"]
    else:
        ports = [one.text("published") for one in found.parts(key)]
        assert ports == (["2"] if "!override" in over else ["1", "2"])


def test_extends_of_another_file_keeps_its_paths(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below/base.yaml").write_text(
        "services: {base: {image: b, volumes: [./d:/d], environment: {A: 1, B: 1}}}"
    )
    text = "extends: {file: below/base.yaml, service: base}\nenvironment: {B: 2}"
    found = load(tmp_path, f"services:\n  web:\n    {text.replace(chr(10), chr(10) + '    ')}\n")
    service = found.services["web"]
    assert service.text("image") == "b"
    assert service.words("environment") == {"A": "1", "B": "2"}
    assert service.parts("volumes")[0].text("source") == f"{tmp_path}/below/d"


def test_include_has_its_own_directory_and_variables(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below/.env").write_text("TAG=below\n")
    (tmp_path / "below/compose.yaml").write_text(
        "services: {db: {image: 'db:$TAG', volumes: [./d:/d]}}\nvolumes: {v: }"
    )
    project = load(tmp_path, f"include: [below/compose.yaml]\n{APP}")
    assert sorted(project.services) == ["db", "web"]
    assert project.services["db"].text("image") == "db:below"
    assert project.services["db"].parts("volumes")[0].text("source") == f"{tmp_path}/below/d"
    assert project.volumes["v"].text("name") == f"{project.name}_v"


def test_include_does_not_replace(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("services: {web: {image: other}}")
    project = load(tmp_path, f"include: [other.yaml]\n{APP}")
    assert project.services["web"].text("image") == "i"
    both = "include: [other.yaml, third.yaml]"
    (tmp_path / "third.yaml").write_text("services: {web: {image: third}}")
    with pytest.raises(InvalidFile, match=r"services.web conflicts with imported resource"):
        load(tmp_path, both)


def test_anchors_merge_keys_and_extensions(tmp_path: Path) -> None:
    text = """
x-base: &base {image: b, environment: &env {A: 1}}
services:
  web:
    <<: *base
    environment: {<<: *env, B: 2}
    x-own: {any: thing}
"""
    service = load(tmp_path, text).services["web"]
    assert service.text("image") == "b"
    assert service.words("environment") == {"A": "1", "B": "2"}


def test_profiles(tmp_path: Path) -> None:
    text = "services: {web: {image: i}, debug: {image: i, profiles: [dev]}}"
    assert sorted(load(tmp_path, text).services) == ["web"]
    assert sorted(load(tmp_path, text, COMPOSE_PROFILES="x,dev").services) == ["debug", "web"]
    assert sorted(load(tmp_path, text, COMPOSE_PROFILES="*").services) == ["debug", "web"]
    assert sorted(load(tmp_path, text).chosen(["debug"]).services) == ["debug"]


def test_dependency_in_an_inactive_profile_is_refused(tmp_path: Path) -> None:
    text = "services: {web: {image: i, depends_on: [db]}, db: {image: i, profiles: [p]}}"
    with pytest.raises(InvalidFile, match='depends on inactive service "db"'):
        load(tmp_path, text)
    optional = text.replace("[db]", "{db: {required: false}}")
    assert load(tmp_path, optional).order() == ["web"]


def test_order_follows_dependencies(tmp_path: Path) -> None:
    text = "services: {a: {image: i, depends_on: [b]}, b: {image: i, links: [c]}, c: {image: i}}"
    assert load(tmp_path, text).order() == ["c", "b", "a"]


def test_long_chain_of_dependencies(tmp_path: Path) -> None:
    lines = [f"  s{n}: {{image: i, depends_on: [s{n + 1}]}}" for n in range(1500)]
    text = "services:\n" + "\n".join(lines) + "\n  s1500: {image: i}\n"
    assert load(tmp_path, text).chosen(["s1400"]).order()[0] == "s1500"


def test_chosen_takes_dependencies_along(tmp_path: Path) -> None:
    text = "services: {a: {image: i, depends_on: [b]}, b: {image: i}, c: {image: i}}"
    project = load(tmp_path, text)
    assert sorted(project.chosen(["a"]).services) == ["a", "b"]
    assert sorted(project.chosen(["a"], dependencies=False).services) == ["a"]
    with pytest.raises(ComposeError, match="no such service: x"):
        project.chosen(["x"])


def find(directory: Path, cwd: Path, **environ: str) -> tuple[str, list[str]]:
    project = load_project(Options(), environ, str(cwd))
    return project.name, [Path(one).relative_to(directory).as_posix() for one in project.files]


def test_file_is_found_above_with_its_override(tmp_path: Path) -> None:
    below = tmp_path / "Pro.Ject/a/b"
    below.mkdir(parents=True)
    (tmp_path / "Pro.Ject/docker-compose.yml").write_text(APP)
    assert find(tmp_path, below) == ("project", ["Pro.Ject/docker-compose.yml"])
    (tmp_path / "Pro.Ject/compose.yaml").write_text(APP)
    (tmp_path / "Pro.Ject/compose.override.yaml").write_text(APP)
    files = ["Pro.Ject/compose.yaml", "Pro.Ject/compose.override.yaml"]
    assert find(tmp_path, below) == ("project", files)


def test_variables_choose_files_and_name(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(APP + "\nname: own")
    (tmp_path / "b.yaml").write_text("services: {other: {image: i}}")
    environ = {"COMPOSE_FILE": "a.yaml:b.yaml"}
    assert find(tmp_path, tmp_path, **environ) == ("own", ["a.yaml", "b.yaml"])
    environ["COMPOSE_PROJECT_NAME"] = "given"
    assert find(tmp_path, tmp_path, **environ)[0] == "given"
    (tmp_path / ".env").write_text("COMPOSE_FILE=b.yaml\nCOMPOSE_PROJECT_NAME=of-env\n")
    assert find(tmp_path, tmp_path) == ("of-env", ["b.yaml"])


@pytest.mark.parametrize("name", ["Upper", "-a", "a b", "a.b", "é"])
def test_bad_project_name(tmp_path: Path, name: str) -> None:
    (tmp_path / "compose.yaml").write_text(APP)
    with pytest.raises(ComposeError, match="must consist only of lowercase"):
        load_project(Options(project_name=name), {}, str(tmp_path))


def test_values_may_refer_to_the_name(tmp_path: Path) -> None:
    text = "name: own${X}\nservices: {web: {image: '${COMPOSE_PROJECT_NAME}:1'}}"
    assert load(tmp_path, text, X="ed").services["web"].text("image") == "owned:1"


def test_names_of_networks_and_volumes(tmp_path: Path) -> None:
    text = """
name: app
services: {web: {image: i, networks: [own, out, given]}}
networks: {own: , out: {external: true}, given: {name: exact}}
volumes: {own: , out: {external: true, name: theirs}}
"""
    project = load(tmp_path, text)
    names = {key: one.text("name") for key, one in project.networks.items()}
    assert names == {"own": "app_own", "out": "out", "given": "exact", "default": "app_default"}
    assert {key: one.text("name") for key, one in project.volumes.items()} == {
        "own": "app_own",
        "out": "theirs",
    }
