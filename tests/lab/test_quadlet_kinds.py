"""Quadlet's other kinds of file, as units that need each other: volume, network, image, build."""

import os
import sys
from collections.abc import Iterator

import pytest

from tests import registries
from tests.lab.test_services import QUADLET, publish, rpod, systemctl
from tests.support.command import Command

__all__ = ["rpod"]
ENVIRONMENT = {"XDG_CONFIG_HOME": os.path.expanduser("~/.config")}


@pytest.fixture(scope="module")
def registry_host() -> Iterator[str]:
    with registries.docker_registry() as running:
        yield running.host


@pytest.mark.time_limit(200)
def test_container_brings_up_what_it_names(rpod: Command, image: str, registry_host: str) -> None:
    fetched, context = f"{registry_host}/fetched:1", f"{QUADLET}/context"
    publish(rpod, image, fetched, "sleep 1000")
    rpod("rmi", "--force", fetched)
    os.makedirs(context, exist_ok=True)
    files = {
        "data.volume": "[Volume]\nLabel=kind=data\n",
        "inner.network": "[Network]\nSubnet=10.77.3.0/24\nInternal=true\n",
        "fetched.image": f"[Image]\nImage={fetched}\nTLSVerify=false\n",
        "made.build": "[Build]\nImageTag=localhost/made:1\nSetWorkingDirectory=unit\n"
        "File=context/Containerfile\n",
        "context/Containerfile": f"FROM {image}\nRUN echo built >/built\n",
        "first.container": "[Container]\nImage=fetched.image\nNetwork=inner.network\n"
        "Volume=data.volume:/data\nExec=sh -c 'echo kept >/data/file; sleep 1000'\n",
        "second.container": "[Container]\nImage=made.build\nNetwork=inner.network\n"
        "Volume=data.volume:/data\nExec=sleep 1000\n[Unit]\nAfter=first.service\n",
    }
    for name, text in files.items():
        with open(f"{QUADLET}/{name}", "w", encoding="utf-8") as file:
            file.write(text)
    rpod("quadlet", env=ENVIRONMENT)
    systemctl("daemon-reload")
    units = ("first.service", "second.service")
    try:
        systemctl("start", *units)
        assert rpod("exec", "systemd-second", "cat", "/built", "/data/file").lines == [
            "built", "kept",
        ]  # fmt: skip
        address = rpod("exec", "systemd-second", "ip", "-4", "addr").out
        assert "inet 10.77.3." in address
        found = rpod("exec", "systemd-second", "nslookup", "systemd-first", check=False)
        assert "10.77.3." in found.out, found.told
        labels = rpod("volume", "inspect", "--format", "{{.Labels.kind}}", "systemd-data").out
        assert labels == "data\n"
        assert rpod("image", "exists", fetched).code == 0
    except AssertionError:
        sys.stderr.write(systemctl("status", "-n", "30", "made-build.service", *units, check=False))
        raise
    finally:
        systemctl("stop", *units, check=False)
        for name in files:
            os.unlink(f"{QUADLET}/{name}")
        os.rmdir(context)
        rpod("quadlet", env=ENVIRONMENT)
        systemctl("stop", "inner-network.service", "data-volume.service", check=False)
        rpod("network", "rm", "systemd-inner", check=False)
        rpod("volume", "rm", "systemd-data", check=False)
