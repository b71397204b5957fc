"""Filters of `ps`, and what a list of containers shows."""

import pytest

from rootless.container.query import filter_views, ports_text
from rootless.errors import UsageError
from storage.containers import ContainerState, ContainerView
from storage.layout import ContainerPaths
from tests.unit.storage.containers import make_record

PORT: dict[str, object] = {
    "host_ip": "127.0.0.1",
    "host_port": 8080,
    "container_port": 80,
    "protocol": "tcp",
}


def found(
    name: str, status: str = "running", exit_code: int | None = None, **changes: object
) -> ContainerView:
    record = make_record(name, **changes)
    state = ContainerState(started_at="x", exit_code=exit_code, pid=5)
    return ContainerView(record, state, status, ContainerPaths("/d", "/r"))


VIEWS = [
    found(
        "web",
        id="a" * 64,
        labels={"tier": "front", "empty": ""},
        network="slirp4netns:mtu=1500",
        created_at="2024-01-03T00:00:00.000000000+00:00",
        mounts=({"Type": "volume", "Name": "data", "Destination": "/srv"},),
        command=("nginx", "-g"),
    ),
    found(
        "db",
        "exited",
        3,
        id="ab" * 32,
        labels={"tier": "back"},
        network="none",
        created_at="2024-01-02T00:00:00.000000000+00:00",
        image_name="docker.io/library/postgres:16",
        image_id="5" * 64,
    ),
    found(
        "web-old",
        "created",
        id="b" * 64,
        created_at="2024-01-01T00:00:00.000000000+00:00",
        network="host",
    ),
]


def names(*filters: str) -> list[str]:
    return [view.record.name for view in filter_views(VIEWS, filters)]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ([], ["web", "db", "web-old"]),
        (["name=web"], ["web", "web-old"]),
        (["name=^web$"], ["web"]),
        (["name=db", "name=old"], ["db", "web-old"]),
        (["id=a"], ["web", "db"]),
        (["id=aa"], ["web"]),
        (["label=tier"], ["web", "db"]),
        (["label=tier=front"], ["web"]),
        (["label=empty="], ["web"]),
        (["label=tier", "label=empty"], ["web"]),
        (["label!=tier"], ["web-old"]),
        (["label!=tier=front"], ["db", "web-old"]),
        (["status=running"], ["web"]),
        (["status=exited", "status=created"], ["db", "web-old"]),
        (["status=stopped"], ["db"]),
        (["status=restarting"], []),
        (["exited=3"], ["db"]),
        (["exited=0"], []),
        (["ancestor=postgres"], ["db"]),
        (["ancestor=docker.io/library/postgres"], ["db"]),
        (["ancestor=docker.io/library/postgres:16"], ["db"]),
        (["ancestor=" + "5" * 12], ["db"]),
        (["ancestor=mysql"], []),
        (["before=db"], ["web-old"]),
        (["since=db"], ["web"]),
        (["since=web-old", "before=web"], ["db"]),
        (["volume=data"], ["web"]),
        (["volume=/srv"], ["web"]),
        (["network=slirp4netns"], ["web"]),
        (["network=host"], ["web-old"]),
        (["until=2024-01-02T12:00:00Z"], ["db", "web-old"]),
        (["command=nginx"], ["web"]),
        (["name=web", "status=running"], ["web"]),
    ],
)
def test_filters_keep_what_matches(filters: list[str], expected: list[str]) -> None:
    assert names(*filters) == expected


@pytest.mark.parametrize(
    "text",
    ["", "name", "bogus=1", "label", "status=bogus", "before=absent", "since=absent", "name=[",
     "until=yesterday", "=x"],
)  # fmt: skip
def test_wrong_filters_are_usage_errors(text: str) -> None:
    with pytest.raises(UsageError, match=r"filter|state"):
        names(text)


@pytest.mark.parametrize("ports_of", ["record", "state"])
def test_ports_are_those_in_use_while_it_runs(ports_of: str) -> None:
    wanted = {**PORT, "host_port": 0}
    view = found("web", ports=(wanted,))
    view = view._replace(state=view.state._replace(ports=(PORT,)))
    if ports_of == "record":
        view = view._replace(status="exited")
        assert "8080" not in ports_text(view)
    else:
        assert ports_text(view) == "127.0.0.1:8080->80/tcp"


def test_without_ports_there_is_no_text() -> None:
    assert ports_text(found("web")) == ""
