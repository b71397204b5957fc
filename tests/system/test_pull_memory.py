"""How much memory commands need does not grow with the size of a layer."""

import os
import sys
from collections.abc import Iterator

import pytest

from tests.registries import DockerRegistry, docker_registry, missing
from tests.support import images
from tests.support.command import Command
from tests.support.images import File
from tests.support.oci import make_image

_MIB = 1 << 20
# What the allocator does may differ by this much between two runs of the same command.
_NOISE_KIB = 6 << 10
# The peak of a program is that of whoever has started it, too: so that is a small one.
_MEASURE = """
import os, sys
child = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ)
_, status, used = os.wait4(child, 0)
assert status == 0, status
print(used.ru_maxrss)
"""


@pytest.fixture(scope="module")
def place() -> Iterator[DockerRegistry]:
    if absent := missing():
        pytest.skip(f"not installed: {absent}")
    with docker_registry() as running:
        yield running


def peak_kib(command: Command, *words: str) -> int:
    """Return the largest resident set of a command's processes."""
    given = " ".join(f"'{word}'" for word in words)
    script = f"{os.path.realpath(sys.executable)} -I -S -c '{_MEASURE}' $RPOD {given}"
    return int(command.shell(script).out.split()[-1])


@pytest.mark.time_limit(120)
@pytest.mark.rpod_only  # podman 4.3 needs more, and other words
@pytest.mark.parametrize(
    "compression",
    [
        "gzip",
        pytest.param("zstd", marks=pytest.mark.full),
        pytest.param("none", marks=pytest.mark.full),
    ],
)
def test_memory_does_not_grow_with_a_layer(
    fresh_rpod: Command, place: DockerRegistry, account_dir: str, compression: str
) -> None:
    block = os.urandom(_MIB)  # further apart than gzip looks back
    peaks = []
    for size in (8, 200):
        layer = images.tar([*images.busybox_files(), File("big", block * size)])
        stored = "stored" if compression == "gzip" else compression
        name = place.push(f"memory/{compression}", make_image([layer], compression=stored))
        del layer
        archive = f"{account_dir}/{size}.tar"
        peaks.append(
            {
                "pull": peak_kib(fresh_rpod, "pull", "-q", name),
                "save": peak_kib(fresh_rpod, "save", "-q", "-o", archive, name),
                "rmi": peak_kib(fresh_rpod, "rmi", name),
                "load": peak_kib(fresh_rpod, "load", "-q", "-i", archive),
                "push": peak_kib(fresh_rpod, "push", "-q", name, f"{name}-{size}-again"),
            }
        )
        assert fresh_rpod(
            "run", "--rm", "--network=none", name, "stat", "-c", "%s", "/big"
        ).out == (f"{size * _MIB}\n")
        fresh_rpod("rmi", "-a")
        os.unlink(archive)
    small, large = peaks
    grown = {name: large[name] - small[name] for name in small}
    assert all(kib < _NOISE_KIB for kib in grown.values()), (small, large)
