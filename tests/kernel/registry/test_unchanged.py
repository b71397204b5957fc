"""The light question whether anything has changed, as `rpod pull` asks it first."""

import os
import shutil
import subprocess
import sys

import pytest

from rootless.host.paths import open_host
from storage.layers import map_key
from storage.platform import parse_platform
from storage.reference import parse_reference
from storage.registry.options import PullOptions
from storage.registry.unchanged import find_unchanged
from tests.conftest import InAccount
from tests.kernel.registry.pulling import QUICK, layout_of, pull
from tests.registries import DockerRegistry, FakeRegistry
from tests.support.images import File, tar
from tests.support.oci import make_image, make_index

_HEAVY = {"urllib3", "http.client", "ssl", "subprocess", "logging", "email", "threading"}
_SCRIPT = """
import sys
from rootless.images import PullSettings, pull
from rootless.host.paths import open_host
print(pull(open_host(root=sys.argv[1]), sys.argv[2], PullSettings()).manifest_digest)
print(*sys.modules, sep="\\n")
"""


def _unchanged(
    store: str, name: str, options: PullOptions = QUICK, platform: str | None = None
) -> str | None:
    """Return the manifest of an image that has not changed."""
    maps = open_host(root=store).id_maps()
    found = find_unchanged(
        layout_of(store),
        parse_reference(name),
        map_key=map_key(maps.uids, maps.gids),
        platform=parse_platform(platform) if platform else None,
        options=options,
        environment=os.environ,
    )
    return found.manifest_digest if found else None


def _layer(text: str) -> bytes:
    return tar([File("file", text.encode())])


def test_an_unchanged_tag_costs_one_head_and_no_library(
    plain_registry: DockerRegistry, in_account: InAccount, account_dir: str
) -> None:
    image = make_image([_layer("same")])
    name = plain_registry.push("unchanged/same", image)
    in_account(lambda: pull(account_dir, name))
    before = len(plain_registry.requests())

    def body() -> str:
        command = [sys.executable, "-c", _SCRIPT, account_dir, name]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    lines = in_account(body).splitlines()
    assert lines[0] == image.digest
    assert set(lines[1:]) & _HEAVY == set()
    assert plain_registry.requests(before) == [("HEAD", "/v2/unchanged/same/manifests/latest", 200)]


def test_an_index_counts_for_the_platform_that_was_pulled(
    plain_registry: DockerRegistry, in_account: InAccount, account_dir: str
) -> None:
    arm = make_image([_layer("arm")], architecture="arm64")
    amd = make_image([_layer("amd")], architecture="amd64")
    index = make_index({"linux/amd64": amd, "linux/arm64": arm})
    name = plain_registry.push("unchanged/index", index)

    def body() -> list[str | None]:
        pull(account_dir, name, platform="linux/arm64")
        return [
            _unchanged(account_dir, name, platform=f"linux/{machine}")
            for machine in ("arm64", "amd64")
        ]

    assert in_account(body) == [arm.digest, None]


def test_a_moved_tag_has_changed(
    plain_registry: DockerRegistry, in_account: InAccount, account_dir: str
) -> None:
    name = plain_registry.push("unchanged/moved", make_image([_layer("one")]))
    in_account(lambda: pull(account_dir, name))
    plain_registry.push("unchanged/moved", make_image([_layer("two")]))
    assert in_account(lambda: _unchanged(account_dir, name)) is None


@pytest.mark.parametrize("part", ["blob", "layer", "name"])
def test_what_is_not_whole_is_pulled(
    part: str, plain_registry: DockerRegistry, in_account: InAccount, account_dir: str
) -> None:
    image = make_image([_layer(f"part {part}")])
    name = plain_registry.push(f"unchanged/{part}", image)

    def body() -> str | None:
        pull(account_dir, name)
        layout = layout_of(account_dir)
        if part == "blob":
            os.unlink(layout.blob(image.layers[0]))
        elif part == "layer":
            shutil.rmtree(layout.all_layers_dir)
        else:
            shutil.rmtree(layout.names_dir)
        return _unchanged(account_dir, name)

    assert in_account(body) is None


def test_a_digest_asks_nobody(fake: FakeRegistry, in_account: InAccount, account_dir: str) -> None:
    image = make_image([_layer("digest")])
    fake.add("unchanged/digest", image)
    name = f"{fake.host}/unchanged/digest@{image.digest}"
    in_account(lambda: pull(account_dir, name))
    fake.requests.clear()
    assert in_account(lambda: _unchanged(account_dir, name)) == image.digest
    assert fake.requests == []


@pytest.mark.parametrize(
    "status", [401, 404, 500, 307], ids=["log-in", "gone", "broken", "redirect"]
)
def test_an_unusual_answer_is_left_to_the_pull(
    status: int, fake: FakeRegistry, in_account: InAccount, account_dir: str
) -> None:
    name = fake.add("unchanged/unusual", make_image([_layer("unusual")]))
    in_account(lambda: pull(account_dir, name))
    fake.fault("/manifests/", lambda handler: handler.send(status, b"", {"Location": "/"}))
    assert in_account(lambda: _unchanged(account_dir, name)) is None


def test_a_registry_that_is_gone_is_left_to_the_pull(
    fake: FakeRegistry, in_account: InAccount, account_dir: str
) -> None:
    name = fake.add("unchanged/away", make_image([_layer("away")]))
    in_account(lambda: pull(account_dir, name))
    fake.fault("/manifests/", lambda handler: handler.hang_up())
    assert in_account(lambda: _unchanged(account_dir, name)) is None


def test_tls_is_left_to_the_pull(
    fake: FakeRegistry, in_account: InAccount, account_dir: str
) -> None:
    name = fake.add("unchanged/tls", make_image([_layer("tls")]))
    in_account(lambda: pull(account_dir, name))
    fake.requests.clear()
    options = QUICK._replace(tls_verify=True)
    assert in_account(lambda: _unchanged(account_dir, name, options)) is None
    assert fake.requests == []
