"""Quadlet files: reading them, the services that they become, what is refused."""

from pathlib import Path

import pytest

from rootless.container.quadlet import make_unit, parse, quadlet_files
from rootless.errors import UsageError


def service(text: str, name: str = "/q/web.container") -> str:
    return make_unit(name, text, "/bin/rpod").text


def line(text: str, key: str) -> str:
    return next(one.partition("=")[2] for one in text.splitlines() if one.startswith(f"{key}="))


def test_continued_lines_and_comments() -> None:
    sections = parse("# x\n[A]\nB=one \\\n# no\n two\nB=three\n; y\n", "f")
    assert sections == {"A": [("B", "one   two"), ("B", "three")]}


def test_container_becomes_a_run() -> None:
    text = service(
        '[Unit]\nDescription=x\n[Container]\nImage=img\nExec=sh -c "a b"\nPublishPort=80:80\n'
        'Environment=A=1 "B=2 3"\nReadOnly=yes\nUser=1\nGroup=2\nAutoUpdate=registry\n'
        "[Service]\nRestart=always\n[Install]\nWantedBy=default.target\n"
    )
    assert line(text, "ExecStart") == (
        "/bin/rpod run --rm --replace --name systemd-web --cgroups=split --sdnotify=conmon"
        ' --publish 80:80 --env A=1 --env "B=2 3" --read-only=true --user 1:2'
        ' --label io.containers.autoupdate=registry img sh -c "a b"'
    )
    assert "Restart=always" in text
    assert "Description=x" in text
    assert make_unit("/q/a.container", text.replace("[X-C", "[C"), "r").wanted_by == [
        "default.target"
    ]


def test_references_become_requirements(tmp_path: Path) -> None:
    (tmp_path / "data.volume").write_text("[Volume]\nVolumeName=store\n")
    path = f"{tmp_path}/web.container"
    text = service("[Container]\nImage=i\nVolume=data.volume:/data:ro\n", path)
    assert "--volume store:/data:ro" in text
    assert "Requires=data-volume.service" in text
    volume = make_unit(f"{tmp_path}/data.volume", "[Volume]\nVolumeName=store\nLabel=a=b\n", "r")
    assert volume.name == "data-volume.service"
    assert line(volume.text, "ExecStart") == "r volume create --ignore --label a=b store"


@pytest.mark.parametrize(
    "text",
    [
        "[Container]\n",
        "[Other]\nA=b\n",
        "Image=i\n",
        "[Container]\nImage=i\nBogus=1\n",
        "[Container]\nImage=i\nReadOnly=perhaps\n",
        '[Container]\nImage=i\nExec="open\n',
        "[Container]\nImage=i\nVolume=absent.volume:/x\n",
    ],
)
def test_wrong_file_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        service(text)


def test_pod_becomes_a_service_that_its_containers_belong_to(tmp_path: Path) -> None:
    (tmp_path / "app.pod").write_text("[Pod]\nPodName=app\n")
    (tmp_path / "web.container").write_text("[Container]\nImage=i\nPod=app.pod\n")
    (tmp_path / "other.container").write_text("[Container]\nImage=i\n")
    text = "[Pod]\nPodName=app\nPublishPort=8080:80\nVolume=/a:/b\nLabel=x=1 y=2\n"
    pod = make_unit(f"{tmp_path}/app.pod", text, "r")
    assert pod.name == "app-pod.service"
    assert line(pod.text, "ExecStartPre") == (
        "r pod create --replace --infra-name app-infra --name app --exit-policy stop"
        " --publish 8080:80 --volume /a:/b --label x=1 --label y=2"
    )
    assert line(pod.text, "ExecStart") == "r start --attach app-infra"
    assert line(pod.text, "ExecStop") == "r pod stop --ignore --time 10 app"
    assert "Wants=web.service\nBefore=web.service\n" in pod.text
    assert "other.service" not in pod.text
    web = service("[Container]\nImage=i\nPod=app.pod\n", f"{tmp_path}/web.container")
    assert "--pod app i" in line(web, "ExecStart")
    assert "BindsTo=app-pod.service\nAfter=app-pod.service\n" in web


def test_kube_is_played_and_taken_down() -> None:
    text = "[Kube]\nYaml=app.yaml\nConfigMap=maps.yaml\nKubeDownForce=yes\nNetwork=host\n"
    unit = make_unit("/q/app.kube", text, "r")
    assert unit.name == "app.service"
    assert line(unit.text, "ExecStart") == (
        "r kube play --replace --configmap /q/maps.yaml --network host /q/app.yaml"
    )
    assert line(unit.text, "ExecStop") == "r kube down --force /q/app.yaml"
    assert line(unit.text, "RemainAfterExit") == "yes"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("/q/a.pod", "[Pod]\nBogus=1\n"),
        ("/q/a.pod", "[Kube]\nYaml=x\n"),
        ("/q/a.kube", "[Kube]\n"),
        ("/q/a.kube", "[Kube]\nYaml=x\nBogus=1\n"),
        ("/q/a.kube", "[Kube]\nYaml=x\nKubeDownForce=perhaps\n"),
        ("/q/a.container", "[Container]\nImage=i\nPod=app\n"),
        ("/q/a.container", "[Container]\nImage=i\nPod=absent.pod\n"),
    ],
)
def test_wrong_pod_and_kube_files_are_refused(name: str, text: str) -> None:
    with pytest.raises(UsageError):
        service(text, name)


@pytest.mark.parametrize("name", ["/q/a.pods", "/q/a"])
def test_unknown_kind_is_refused(name: str) -> None:
    with pytest.raises(UsageError):
        service("[Container]\nImage=i\n", name)


def test_first_directory_wins(tmp_path: Path) -> None:
    for directory in ("a", "b"):
        (tmp_path / directory).mkdir()
        (tmp_path / directory / "x.container").write_text("")
    (tmp_path / "b" / "y.volume").write_text("")
    (tmp_path / "b" / "z.txt").write_text("")
    found = quadlet_files([f"{tmp_path}/a", f"{tmp_path}/b", f"{tmp_path}/none"])
    assert found == [f"{tmp_path}/a/x.container", f"{tmp_path}/b/y.volume"]


def test_readiness_by_health() -> None:
    text = service("[Container]\nImage=i\nNotify=healthy\nHealthCmd=true\nHealthStartupCmd=x\n")
    assert "--sdnotify=healthy" in line(text, "ExecStart")
    assert "--health-startup-cmd x" in line(text, "ExecStart")
