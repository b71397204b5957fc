"""Pushes to a registry, read by others and by the command itself."""

import json

import pytest

from tests.support.command import Command
from tests.support.registry import Registry

PLAIN = "--tls-verify=false"


def test_pushed_image_is_pulled_and_runs(
    rpod: Command, fresh_rpod: Command, image: str, registry: Registry, account_dir: str
) -> None:
    target = f"{registry.host}/pushed/app:1"
    done = rpod("push", "-q", PLAIN, "--digestfile", f"{account_dir}/digest", image, target)
    assert (done.out, done.err) == ("", "")
    found = json.loads(rpod.shell(f"skopeo inspect --tls-verify=false docker://{target}").out)
    with open(f"{account_dir}/digest", encoding="ascii") as file:
        assert file.read() == found["Digest"]
    assert found["Labels"] == {"made.for": "tests"}
    fresh_rpod("pull", "-q", PLAIN, target)
    assert fresh_rpod("run", "--rm", "--network=none", target, "echo", "ran").out == "ran\n"


def test_image_goes_where_its_name_says(rpod: Command, image: str, registry: Registry) -> None:
    target = f"{registry.host}/named:2"
    rpod("tag", image, target)
    rpod("push", PLAIN, target)
    rpod("rmi", target)
    rpod.shell(f"skopeo inspect --tls-verify=false docker://{target}")


@pytest.mark.rpod_only  # podman compresses layers anew: the digest is another one
def test_digest_of_a_pulled_image_stays(
    fresh_rpod: Command, registry: Registry, docker_archive: str
) -> None:
    source = registry.push(f"docker-archive:{docker_archive}", "stay:1")
    fresh_rpod("pull", "-q", source)
    target = f"{registry.host}/other/place:2"
    fresh_rpod("push", "-q", source, f"docker://{target}")
    first, second = (
        json.loads(fresh_rpod.shell(f"skopeo inspect --tls-verify=false docker://{name}").out)
        for name in (source, target)
    )
    assert first["Digest"] == second["Digest"]


def test_progress_is_on_standard_error(rpod: Command, image: str, registry: Registry) -> None:
    done = rpod("push", PLAIN, image, f"{registry.host}/progress:1")
    assert done.out == ""
    assert "Copying blob" in done.err


def test_unknown_image_is_an_error(rpod: Command, registry: Registry) -> None:
    done = rpod("push", PLAIN, "localhost/none:1", f"{registry.host}/none:1", check=False)
    assert done.code == 125
    assert "localhost/none:1" in done.err


@pytest.mark.rpod_only  # podman 4.3.1 has no --retry
def test_registry_that_is_not_there_is_an_error(rpod: Command, image: str) -> None:
    done = rpod("push", "-q", PLAIN, "--retry=0", image, "127.0.0.1:1/none:1", check=False,
                env={"no_proxy": "*"})  # fmt: skip
    assert done.code == 125
    assert "refused" in done.err


@pytest.mark.rpod_only  # podman asks the registry localhost for the id
@pytest.mark.parametrize("destination", [[], ["oci-archive:/tmp/x.tar"]], ids=["id", "transport"])
def test_place_that_cannot_be_pushed_to_is_an_error(
    rpod: Command, image: str, destination: list[str]
) -> None:
    identity = rpod("image", "inspect", "--format", "{{.Id}}", image).out.strip()
    done = rpod("push", identity, *destination, check=False)
    assert done.code == 125
    assert "rpod " in done.err
