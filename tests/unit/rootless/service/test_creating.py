"""docker's document of a container becomes the request that the same options make."""

from types import SimpleNamespace
from typing import cast

import pytest

from rootless.container.request import ContainerRequest
from rootless.host.paths import Host
from rootless.service.creating import make_request
from rootless.service.fields import Fields
from rootless.service.http import HttpError

HOST = cast(Host, SimpleNamespace(config=SimpleNamespace(stop_timeout=10, userns="")))


def made(**document: object) -> ContainerRequest:
    return make_request(HOST, Fields({"Image": "i", **document}))


@pytest.mark.parametrize(
    ("document", "field", "expected"),
    [
        ({"Cmd": ["a", "b"]}, "command", ("a", "b")),
        ({"Cmd": "a b"}, "command", ("a b",)),
        ({"Entrypoint": ["a", "b"]}, "entrypoint", '["a", "b"]'),
        ({"Entrypoint": []}, "entrypoint", None),
        ({"Entrypoint": [""]}, "entrypoint", ""),
        ({"Env": ["A=1", "B=", "C"]}, "env", ("A=1", "B=")),
        ({"Env": ["A=1", "B=", "C"]}, "unsetenv", ("C",)),
        ({"User": "1:2"}, "user", "1:2"),
        ({"Tty": True}, "tty", True),
        ({"OpenStdin": True}, "interactive", True),
        ({"StopTimeout": 3}, "stop_timeout", 3),
        ({"Labels": {"a": "b=c"}}, "label", ("a=b=c",)),
        ({"ExposedPorts": {"80/tcp": {}}}, "expose", ("80/tcp",)),
        ({"Volumes": {"/data": {}}}, "volume", ("/data",)),
        ({"NetworkDisabled": True}, "network", ("none",)),
        ({"Healthcheck": {"Test": ["NONE"]}}, "no_healthcheck", True),
        ({"Healthcheck": {"Test": ["CMD", "x"]}}, "health_cmd", '["CMD", "x"]'),
        ({"Healthcheck": {"Interval": 2000000000}}, "health_interval", "2000000000ns"),
    ],
)
def test_field_of_the_document(document: dict[str, object], field: str, expected: object) -> None:
    assert getattr(made(**document), field) == expected


@pytest.mark.parametrize(
    ("config", "field", "expected"),
    [
        ({"Binds": ["vol:/v:ro", "/:/r"]}, "volume", ("vol:/v:ro", "/:/r")),
        ({"NetworkMode": "default"}, "network", ()),
        ({"NetworkMode": "bridge"}, "network", ("podman",)),
        ({"NetworkMode": "host"}, "network", ("host",)),
        ({"NetworkMode": "container:x"}, "network", ("container:x",)),
        ({"PortBindings": {"80/tcp": [{"HostPort": "8080"}]}}, "publish", ("8080:80/tcp",)),
        ({"PortBindings": {"80/tcp": [{"HostIp": "::1", "HostPort": ""}]}}, "publish",
         ("[::1]::80/tcp",)),
        ({"PortBindings": {"80/tcp": None}}, "publish", ("80/tcp",)),
        ({"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3}}, "restart",
         "on-failure:3"),
        ({"RestartPolicy": {"Name": "no"}}, "restart", ""),
        ({"AutoRemove": True}, "rm", True),
        ({"Memory": 1 << 20}, "memory", "1048576"),
        ({"MemorySwap": -1}, "memory_swap", "-1"),
        ({"MemorySwappiness": -1}, "memory_swappiness", None),
        ({"MemorySwappiness": 0}, "memory_swappiness", 0),
        ({"NanoCpus": 1500000000}, "cpus", "1.5"),
        ({"PidsLimit": 0}, "pids_limit", None),
        ({"PidsLimit": -1}, "pids_limit", -1),
        ({"Ulimits": [{"Name": "nofile", "Soft": 1, "Hard": 2}]}, "ulimit", ("nofile=1:2",)),
        ({"BlkioDeviceReadBps": [{"Path": "/dev/x", "Rate": 5}]}, "device_read_bps",
         ("/dev/x:5",)),
        ({"Devices": [{"PathOnHost": "/dev/a"}]}, "device", ("/dev/a:/dev/a:rwm",)),
        ({"DeviceRequests": [{"Count": -1}]}, "gpus", "all"),
        ({"DeviceRequests": [{"Driver": "cdi", "DeviceIDs": ["v.com/c=n"]}]}, "device",
         ("v.com/c=n",)),
        ({"IpcMode": "shareable"}, "ipc", "private"),
        ({"PidMode": "host"}, "pid", "host"),
        ({"MaskedPaths": []}, "security_opt", ("unmask=ALL",)),
        ({"SecurityOpt": ["no-new-privileges:true"]}, "security_opt",
         ("no-new-privileges=true",)),
        ({"Tmpfs": {"/t": "size=1m", "/u": ""}}, "tmpfs", ("/t:size=1m", "/u")),
        ({"Sysctls": {"net.x": "1"}}, "sysctl", ("net.x=1",)),
        ({"ReadonlyRootfs": True}, "read_only_tmpfs", False),
        ({"LogConfig": {"Type": "local", "Config": {"max-size": "1m"}}}, "log_driver",
         "k8s-file"),
        ({"LogConfig": {"Type": "", "Config": {"max-size": "1m"}}}, "log_opt", ("max-size=1m",)),
        ({"Mounts": [{"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": 5}}]},
         "mount", ("type=tmpfs,dst=/t,tmpfs-size=5",)),
        ({"Mounts": [{"Type": "bind", "Source": "/", "Target": "/r", "ReadOnly": True}]},
         "mount", ("type=bind,dst=/r,ro,src=/",)),
    ],
)  # fmt: skip
def test_field_of_the_host_config(config: dict[str, object], field: str, expected: object) -> None:
    assert getattr(made(HostConfig=config), field) == expected


def test_networks_have_their_endpoints() -> None:
    endpoints = {
        "a": {"Aliases": ["x"], "IPAMConfig": {"IPv4Address": "10.0.0.5"}},
        "b": None,
    }
    request = made(HostConfig={"NetworkMode": "a"}, NetworkingConfig={"EndpointsConfig": endpoints})
    assert request.network == ("a:alias=x,ip=10.0.0.5", "b")


@pytest.mark.parametrize(
    ("document", "place"),
    [
        ({"Domainname": "d"}, "Domainname"),
        ({"HostConfig": {"StorageOpt": {"size": "1"}}}, "StorageOpt"),
        ({"HostConfig": {"VolumeDriver": "nfs"}}, "VolumeDriver"),
        ({"HostConfig": {"Runtime": "nvidia"}}, "Runtime"),
        ({"HostConfig": {"Isolation": "hyperv"}}, "Isolation"),
        ({"HostConfig": {"MaskedPaths": ["/x"]}}, "MaskedPaths"),
        ({"HostConfig": {"ShmSize": -1}}, "SHM"),
        ({"HostConfig": {"Mounts": [{"Type": "npipe"}]}}, "mount type"),
        ({"HostConfig": {"Mounts": [{"Type": "tmpfs", "Target": "/a,U"}]}}, "comma"),
        ({"HostConfig": {"Mounts": [{"Type": "bind", "Source": "/", "Target": "/a",
                                     "BindOptions": {"Propagation": "private,U"}}]}}, "comma"),
        ({"HostConfig": {"Devices": [{"PathOnHost": "/dev/a:/b"}]}}, "colons"),
        ({"HostConfig": {"DeviceRequests": [{"Driver": "x"}]}}, "driver"),
        ({"Env": ["A=\ud800"]}, "Env"),
        ({"Cmd": ["\0"]}, "Cmd"),
        ({"Image": ""}, "image"),
    ],
)  # fmt: skip
def test_what_cannot_be_given_is_refused(document: dict[str, object], place: str) -> None:
    with pytest.raises(HttpError) as caught:
        made(**document)
    assert place in caught.value.message
    assert caught.value.status in (400, 501)
