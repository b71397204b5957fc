"""`--change` of commit and import."""

import pytest

from rootless.build.changes import parse_changes
from rootless.errors import RootlessError


def test_instructions_are_applied_in_order() -> None:
    changes = (
        "CMD=/bin/serve -p 80", "ENV A=1 B='x y'", "ENV C=${A}2", "LABEL a=b", "EXPOSE 80",
        "ONBUILD RUN one", "ONBUILD RUN two", "WORKDIR /a", "WORKDIR b",
        "HEALTHCHECK --interval=5s CMD true",
    )  # fmt: skip
    assert parse_changes(changes)({"Env": ["P=q"]}) == {
        "Cmd": ["/bin/sh", "-c", "/bin/serve -p 80"],
        "Env": ["P=q", "A=1", "B=x y", "C=12"],
        "Labels": {"a": "b"},
        "ExposedPorts": {"80/tcp": {}},
        "OnBuild": ["RUN one", "RUN two"],
        "WorkingDir": "/a/b",
        "Healthcheck": {"Test": ["CMD-SHELL", "true"], "Interval": 5_000_000_000},
    }


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("RUN x", "RUN cannot be applied"),
        ("COPY a b", "COPY cannot be applied"),
        ("FROM x", "FROM is not possible here"),
        ("NONE x", "unknown instruction NONE"),
        ("CMD", "CMD needs at least one argument"),
        ("EXPOSE http", "EXPOSE http: PORT"),
        ("ENV =x", "has no name before ="),
        ("LABEL a='b", "a single quote has no end"),
    ],
)
def test_what_cannot_be_applied_is_refused(change: str, why: str) -> None:
    with pytest.raises(RootlessError) as caught:
        parse_changes([change])({})
    assert why in caught.value.message


def test_all_forms_are_read() -> None:
    changes = ["ENTRYPOINT /bin/run it", "ENV C the rest", "EXPOSE 80 53/udp", "USER 7:8",
               "VOLUME /a /b", 'VOLUME ["/c"]', "WORKDIR /w", "STOPSIGNAL SIGINT"]  # fmt: skip
    config = parse_changes(changes)({})
    assert config["Entrypoint"] == ["/bin/sh", "-c", "/bin/run it"]
    assert config["Env"] == ["C=the rest"]
    assert config["Volumes"] == {"/a": {}, "/b": {}, "/c": {}}
    assert (config["User"], config["StopSignal"]) == ("7:8", "SIGINT")
