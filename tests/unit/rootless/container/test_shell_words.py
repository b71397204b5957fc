"""Images and commands of `rpod shell` in a project."""

import pytest

from rootless.container.shell_words import names_image


@pytest.mark.parametrize(
    "word",
    ["debian:12", "localhost/tools", "example.org/a/b", "host:5000/a", "a/b:1", "a@sha256:00",
     "tools.sqfs", "./tools.sif", "/site/tools.sqfs", "oci:dir"],
)  # fmt: skip
def test_what_can_only_be_an_image(word: str) -> None:
    assert names_image(word)


@pytest.mark.parametrize(
    "word", ["python", "make", "bin/test", "./a:b", "/usr/bin/env", "../x.y/z", "-v", "dd", "g++"]
)
def test_what_is_a_command(word: str) -> None:
    assert not names_image(word)
