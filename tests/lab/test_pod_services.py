"""Pods and files of Kubernetes as services of a real user session."""

import os

import pytest

from tests.lab.test_services import QUADLET, rpod, systemctl
from tests.support.command import Command

__all__ = ["rpod"]
ENVIRONMENT = {"XDG_CONFIG_HOME": os.path.expanduser("~/.config")}


@pytest.mark.parametrize("unit", ["app-pod.service"])
def test_pod_starts_and_stops_with_its_containers(rpod: Command, image: str, unit: str) -> None:
    files = {
        "app.pod": "[Pod]\nPodName=app\n[Install]\nWantedBy=default.target\n",
        # It ends by itself: a kill after the grace time (137) is a failure to systemd.
        "member.container": f"[Container]\nImage={image}\nPull=never\nPod=app.pod\n"
        "Exec=sh -c 'trap \"exit 0\" TERM; while :; do sleep 0.2; done'\nStopTimeout=60\n",
    }
    for name, text in files.items():
        with open(f"{QUADLET}/{name}", "w", encoding="utf-8") as file:
            file.write(text)
    rpod("quadlet", env=ENVIRONMENT)
    systemctl("daemon-reload")
    try:
        systemctl("start", unit)
        # It wants its containers; starting one by hand waits for it.
        systemctl("start", "member.service")
        assert systemctl("is-active", unit, "member.service") == "active\nactive"
        assert rpod("pod", "ps", "--format", "{{.Name}} {{.Status}}").out == "app Running\n"
        assert rpod("exec", "systemd-member", "hostname").out == "app\n"
        infra = rpod("inspect", "--format", "{{.State.Pid}}", "app-infra").out.strip()
        with open(f"/proc/{infra}/cgroup", encoding="ascii") as file:
            assert f"/{unit}/" in file.read()
        systemctl("stop", unit)
        assert systemctl("is-active", unit, "member.service", check=False) == "inactive\ninactive"
        assert rpod("pod", "ps", "-q").out == ""
        assert rpod("ps", "-aq").out == ""
    finally:
        systemctl("stop", unit, check=False)
        for name in files:
            os.unlink(f"{QUADLET}/{name}")
        rpod("quadlet", env=ENVIRONMENT)


def test_kube_file_is_played_by_a_service(rpod: Command, image: str) -> None:
    pod = (
        "apiVersion: v1\nkind: Pod\nmetadata: {name: played}\nspec:\n"
        "  terminationGracePeriodSeconds: 1\n"
        f"  containers: [{{name: c, image: {image}, command: [sleep, '1000']}}]\n"
    )
    files = {"played.yaml": pod, "played.kube": "[Kube]\nYaml=played.yaml\n"}
    for name, text in files.items():
        with open(f"{QUADLET}/{name}", "w", encoding="utf-8") as file:
            file.write(text)
    rpod("quadlet", env=ENVIRONMENT)
    systemctl("daemon-reload")
    try:
        systemctl("start", "played.service")
        assert rpod("pod", "ps", "--format", "{{.Name}} {{.Status}}").out == "played Running\n"
        systemctl("stop", "played.service")
        assert rpod("pod", "ps", "-q").out == ""
    finally:
        systemctl("stop", "played.service", check=False)
        for name in files:
            os.unlink(f"{QUADLET}/{name}")
        rpod("quadlet", env=ENVIRONMENT)
