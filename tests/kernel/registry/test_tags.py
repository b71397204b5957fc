"""Listing tags: pages, nonsense, repositories that are not there."""

import json
from urllib.parse import parse_qs, urlsplit

import pytest

from storage.errors import ManifestUnknown, RegistryProtocolError
from storage.reference import parse_reference
from storage.registry.client import RegistryClient
from tests.kernel.registry.pulling import QUICK
from tests.registries import DockerRegistry, FakeHandler, FakeRegistry
from tests.support.oci import make_image


def _tags(name: str) -> list[str]:
    return RegistryClient(parse_reference(name), QUICK, {}).list_tags()


def test_tags_of_docker_registry_are_listed(plain_registry: DockerRegistry) -> None:
    for tag in ("1.0", "1.1", "latest"):
        plain_registry.push("tags/app", make_image([]), tag=tag)
    assert sorted(_tags(f"{plain_registry.host}/tags/app")) == ["1.0", "1.1", "latest"]


def test_an_unknown_repository_has_no_tags(plain_registry: DockerRegistry) -> None:
    with pytest.raises(ManifestUnknown, match="has no such repository"):
        _tags(f"{plain_registry.host}/tags/none")


def test_every_page_is_asked_for(fake: FakeRegistry) -> None:
    pages = {"": ["a", "b"], "b": ["c d", "e"], "e": []}

    def answer(handler: FakeHandler) -> None:
        last = parse_qs(urlsplit(handler.path).query).get("last", [""])[0]
        body = json.dumps({"name": "x", "tags": pages[last]}).encode()
        handler.send(200, body, {"Link": '</v2/x>; rel="next"'})

    fake.fault("/tags/list", answer)
    assert _tags(f"{fake.host}/x") == ["a", "b", "c d", "e"]


def test_pages_that_never_end_are_left(fake: FakeRegistry) -> None:
    body = json.dumps({"tags": ["same"]}).encode()
    headers = {"Link": '</v2/x>; rel="next"'}
    fake.fault("/tags/list", lambda handler: handler.send(200, body, headers))
    assert _tags(f"{fake.host}/x") == ["same", "same"]


@pytest.mark.parametrize("body", [b"<html>", b'{"tags":[1]}', b'{"tags":"all"}'])
def test_what_is_no_list_of_tags_is_refused(body: bytes, fake: FakeRegistry) -> None:
    fake.fault("/tags/list", lambda handler: handler.send(200, body))
    with pytest.raises(RegistryProtocolError, match="list the tags of"):
        _tags(f"{fake.host}/x")
