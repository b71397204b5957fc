"""Quadlet files: reading them, the services that they become, what is refused."""

from pathlib import Path

import pytest

from rootless.container import quadlet
from rootless.container.quadlet_files import QuadletFiles, parse
from rootless.errors import UsageError


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the directory of the files the current one."""
    monkeypatch.chdir(tmp_path)


def make_unit(name: str, text: str, program: str = "r") -> quadlet.Unit:
    """Write a file in the current directory, and make its service."""
    Path(name).write_text(text)
    path = f"{Path.cwd()}/{name}"
    return quadlet.make_unit(path, program, QuadletFiles([str(Path.cwd())]))


def service(text: str, name: str = "web.container") -> str:
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
    assert make_unit("a.container", text.replace("[X-C", "[C"), "r").wanted_by == ["default.target"]


def test_references_become_requirements(tmp_path: Path) -> None:
    (tmp_path / "data.volume").write_text("[Volume]\nVolumeName=store\n")
    path = "web.container"
    text = service("[Container]\nImage=i\nVolume=data.volume:/data:ro\n", path)
    assert "--volume store:/data:ro" in text
    assert "Requires=data-volume.service" in text
    volume = make_unit("data.volume", "[Volume]\nVolumeName=store\nLabel=a=b\n", "r")
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
    pod = make_unit("app.pod", text, "r")
    assert pod.name == "app-pod.service"
    assert line(pod.text, "ExecStartPre") == (
        "r pod create --replace --infra-name app-infra --name app --exit-policy stop"
        " --publish 8080:80 --volume /a:/b --label x=1 --label y=2"
    )
    assert line(pod.text, "ExecStart") == "r start --attach app-infra"
    assert line(pod.text, "ExecStop") == "r pod stop --ignore --time 10 app"
    assert "Wants=web.service\nBefore=web.service\n" in pod.text
    assert "other.service" not in pod.text
    web = service("[Container]\nImage=i\nPod=app.pod\n", "web.container")
    assert "--pod app i" in line(web, "ExecStart")
    assert "BindsTo=app-pod.service\nAfter=app-pod.service\n" in web


def test_kube_is_played_and_taken_down(tmp_path: Path) -> None:
    text = "[Kube]\nYaml=app.yaml\nConfigMap=maps.yaml\nKubeDownForce=yes\nNetwork=host\n"
    unit = make_unit("app.kube", text, "r")
    assert unit.name == "app.service"
    assert line(unit.text, "ExecStart") == (
        f"r kube play --replace --configmap {tmp_path}/maps.yaml --network host {tmp_path}/app.yaml"
    )
    assert line(unit.text, "ExecStop") == f"r kube down --force {tmp_path}/app.yaml"
    assert line(unit.text, "RemainAfterExit") == "yes"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.pod", "[Pod]\nBogus=1\n"),
        ("a.pod", "[Kube]\nYaml=x\n"),
        ("a.kube", "[Kube]\n"),
        ("a.kube", "[Kube]\nYaml=x\nBogus=1\n"),
        ("a.kube", "[Kube]\nYaml=x\nKubeDownForce=perhaps\n"),
        ("a.container", "[Container]\nImage=i\nPod=app\n"),
        ("a.container", "[Container]\nImage=i\nPod=absent.pod\n"),
    ],
)
def test_wrong_pod_and_kube_files_are_refused(name: str, text: str) -> None:
    with pytest.raises(UsageError):
        service(text, name)


@pytest.mark.parametrize("name", ["a.pods", "a"])
def test_unknown_kind_is_refused(name: str) -> None:
    with pytest.raises(UsageError):
        service("[Container]\nImage=i\n", name)


def test_first_directory_wins(tmp_path: Path) -> None:
    for directory in ("a", "b"):
        (tmp_path / directory).mkdir()
        (tmp_path / directory / "x.container").write_text("")
    (tmp_path / "b" / "circle").symlink_to(tmp_path / "b")
    (tmp_path / "b" / "inner").mkdir()
    (tmp_path / "b" / "inner" / "i.image").write_text("")
    (tmp_path / "b" / "y.volume").write_text("")
    (tmp_path / "b" / "z.txt").write_text("")
    found = QuadletFiles([f"{tmp_path}/a", f"{tmp_path}/b", f"{tmp_path}/none"]).paths()
    assert found == [
        f"{tmp_path}/a/x.container", f"{tmp_path}/b/inner/i.image", f"{tmp_path}/b/y.volume",
    ]  # fmt: skip


def test_readiness_by_health() -> None:
    text = service("[Container]\nImage=i\nNotify=healthy\nHealthCmd=true\nHealthStartupCmd=x\n")
    assert "--sdnotify=healthy" in line(text, "ExecStart")
    assert "--health-startup-cmd x" in line(text, "ExecStart")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("SetWorkingDirectory=unit\nFile=c/Containerfile", "--file HERE/c/Containerfile HERE"),
        ("SetWorkingDirectory=file\nFile=c/Containerfile", "--file HERE/c/Containerfile HERE/c"),
        ("SetWorkingDirectory=sub", "HERE/sub"),
        ("SetWorkingDirectory=/srv/x\nFile=Other", "--file /srv/x/Other /srv/x"),
        ("SetWorkingDirectory=https://host/repo.git", "https://host/repo.git"),
        ("File=/srv/Containerfile", "--file /srv/Containerfile %h"),
        ("File=Other\n[Service]\nWorkingDirectory=%h/app", "--file %h/app/Other %h/app"),
        ("BuildArg=A=1 B=2\nSetWorkingDirectory=unit", "--build-arg A=1 --build-arg B=2 HERE"),
    ],
)
def test_build_has_its_directory(tmp_path: Path, text: str, words: str) -> None:
    unit = make_unit("x.build", f"[Build]\nImageTag=x\n{text}\n")
    found = line(unit.text, "ExecStart")
    assert found == f"r build --tag x {words.replace('HERE', str(tmp_path))}"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.build", "[Build]\nImageTag=x\nFile=relative\n"),
        ("x.build", "[Build]\nSetWorkingDirectory=unit\n"),
        ("x.image", "[Image]\n"),
        ("x.volume", "[Volume]\nDriver=image\n"),
        ("x.container", "[Container]\nImage=i\nRootfs=/r\n"),
        ("x.container", "[Container]\nImage=i\nReloadCmd=a\nReloadSignal=HUP\n"),
        ("x.network", "[Network]\nNetworkDeleteOnStop=perhaps\n"),
    ],
)
def test_what_contradicts_itself_is_refused(name: str, text: str) -> None:
    with pytest.raises(UsageError):
        make_unit(name, text)


def test_volume_and_network_options() -> None:
    volume = make_unit("d.volume", "[Volume]\nUser=1\nGroup=2\nOptions=size=1g\nType=tmpfs\n")
    assert line(volume.text, "ExecStart") == (
        "r volume create --ignore --opt type=tmpfs --opt o=uid=1,gid=2,size=1g systemd-d"
    )
    Path("base.image").write_text("[Image]\nImage=docker-archive:/x.tar\nImageTag=base:1\n")
    volume = make_unit("i.volume", "[Volume]\nDriver=image\nImage=base.image\n")
    assert "--driver image --opt image=base:1 systemd-i" in line(volume.text, "ExecStart")
    assert "Requires=base-image.service" in volume.text
    network = make_unit("n.network", "[Network]\nNetworkDeleteOnStop=yes\nNetworkName=net\n")
    assert line(network.text, "ExecStopPost") == "r network rm --force net"


def test_what_is_beside_the_file_and_what_others_make(tmp_path: Path) -> None:
    Path("base.container").write_text("[Container]\nImage=i\nServiceName=base-one\n")
    Path("data.volume").write_text("[Volume]\n")
    text = service(
        "[Container]\nImage=i\nNetwork=base.container\nVolume=./conf:/conf:ro\n"
        "EnvironmentFile=env\nMount=type=volume,source=data.volume,target=/d\n"
        "AddDevice=-/dev/absent\nAddDevice=-/dev/null\nReloadSignal=HUP\n"
        "[Quadlet]\nDefaultDependencies=no\n"
    )
    assert line(text, "ExecStart") == (
        "/bin/rpod run --rm --replace --name systemd-web --cgroups=split --sdnotify=conmon"
        f" --network container:systemd-base --volume {tmp_path}/conf:/conf:ro"
        f" --env-file {tmp_path}/env --mount type=volume,source=systemd-data,target=/d"
        " --device /dev/null i"
    )
    assert line(text, "ExecReload") == "/bin/rpod kill --signal HUP systemd-web"
    assert "Requires=base-one.service" in text
    assert "Requires=data-volume.service" in text
    assert "network-online" not in text


def test_service_name_and_template() -> None:
    assert make_unit("a.volume", "[Volume]\nServiceName=other\n").name == "other.service"
    unit = make_unit("a@.container", "[Container]\nImage=i\nExec=echo %i\n")
    assert unit.name == "a@.service"
    assert "--name systemd-%p_%i" in line(unit.text, "ExecStart")


def test_drop_ins_add_and_take_back(tmp_path: Path) -> None:
    for path, text in {
        "container.d/10-all.conf": "[Container]\nLabel=all=1\n",
        "web-.container.d/20-group.conf": "[Container]\nLabel=group=1\n",
        "web-a.container.d/20-group.conf": "[Container]\nEnvironment=\nEnvironment=NEW=1\n",
        "web-a.container.d/ignored": "[Container]\nLabel=never=1\n",
        "web-a.container.d/30-service.conf": "[Service]\nExecStartPre=\nRestart=always\n",
    }.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    text = service("[Container]\nImage=i\nEnvironment=OLD=1\n", "web-a.container")
    assert line(text, "ExecStart").endswith("--label all=1 --env NEW=1 i")
    assert "ExecStartPre=\nRestart=always" in text
    other = service("[Container]\nImage=i\n", "web-b.container")
    assert line(other, "ExecStart").endswith("--label all=1 --label group=1 i")
