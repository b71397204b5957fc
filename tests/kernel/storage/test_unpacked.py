"""Unpacked layers as the kernel and other programs see them, with real subordinate ids."""

import os
import random
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import InAccount
from tests.kernel.storage import layers, views
from tests.kernel.storage.layers import BEYOND, CAPABILITY, LOWER, MIDDLE, MTIME, UPPER
from tests.support import accounts
from tests.support.accounts import Account


def _archive(share: Path, members: list[list[layers.Member]]) -> str:
    path = share / "image.tar"
    path.write_bytes(layers.docker_archive([layers.layer(part) for part in members]))
    return str(path)


def test_overlay_shows_what_the_layers_mean(in_account: InAccount, store: str, share: Path) -> None:
    in_account(views.load, store, _archive(share, [LOWER, MIDDLE, UPPER]))
    tree = in_account(views.view, store, "hard:1", "overlay")
    for name in ("gone", "bin/sg", "again/old", "a/sub/z", "dir2file/k", "dev/null"):
        assert name not in tree, name
    assert sorted(name for name in tree if name.startswith("a/")) == [
        "a/sub", "a/sub/new", "a/x", "a/y"
    ]  # fmt: skip
    assert tree["a/sub"][:3] == ["drwxrwsr-x", 0, 50]
    assert tree["bin/su"][0] == "-rwsr-xr-x"
    assert tree["hl1"][:4] == ["-rw-r-----", 5, 6, 2]
    assert tree["last"][1:3] == [65535, 65535]
    assert tree["pipe"][0] == "prw--w--w-"
    assert tree["locked"][0] == "dr-xr-xr-x"
    assert tree["locked/in"][0] == "----------"
    assert tree["tmp"][0] == "drwxrwxrwt"
    assert tree["usr/lib/via"][4] == MTIME
    assert tree["again/new"][4] == tree["again"][4] == MTIME
    assert tree["bin/cap"][6] == {"security.capability": CAPABILITY.hex()}
    assert tree["bin/attribute"][6] == {"user.foo": b"bar".hex()}
    assert tree["n" * 150 + "/" + "m" * 200][1:3] == [33, 33]


def test_whiteout_beside_its_successor_and_link_across_layers(
    in_account: InAccount, store: str, share: Path
) -> None:
    in_account(views.load, store, _archive(share, [LOWER, MIDDLE, UPPER, BEYOND]))
    tree = in_account(views.view, store, "hard:1", "overlay")
    assert [name for name in tree if name.startswith("b/")] == ["b/only"]
    assert [name for name in tree if name.startswith("usr/")] == ["usr/lib", "usr/lib/only"]
    assert tree["hl3"][:4] == ["-rw-r-----", 5, 6, 2]
    assert tree["hl3"][5] == tree["hl1"][5]


@pytest.mark.parametrize("how", ["fuse", "copy"])
def test_other_views_are_the_same(in_account: InAccount, store: str, share: Path, how: str) -> None:
    if how == "fuse" and shutil.which("fuse-overlayfs") is None:
        pytest.skip("not installed: fuse-overlayfs")
    in_account(views.load, store, _archive(share, [LOWER, MIDDLE, UPPER, BEYOND]))
    wanted = in_account(views.view, store, "hard:1", "overlay")
    found = in_account(views.view, store, "hard:1", how)
    # Overlays count the links of a file in its own layer, each in its way.
    for tree in (wanted, found):
        for name in ("hl1", "hl2", "hl3"):
            tree[name][3] = 0
    assert found == wanted


@pytest.fixture
def podman() -> Iterator[list[str]]:
    """podman as root, who has all ids, with a store of its own."""
    if shutil.which("podman") is None:
        pytest.skip("not installed: podman")
    if os.getuid() != 0:
        pytest.skip("only root has all ids, and may mount podman's layers")
    with tempfile.TemporaryDirectory(prefix="rpt-", dir="/tmp") as directory:
        command = ["podman", "--root", f"{directory}/root", "--runroot", f"{directory}/run",
                   "--storage-driver", "overlay"]  # fmt: skip
        yield command
        for end in (["image", "umount", "-a"], ["system", "reset", "-f"]):
            subprocess.run([*command, *end], check=False, capture_output=True)


def test_podman_shows_the_same(
    in_account: InAccount, store: str, share: Path, podman: list[str]
) -> None:
    path = _archive(share, [LOWER, MIDDLE, UPPER])
    in_account(views.load, store, path)
    wanted = in_account(views.view, store, "hard:1", "overlay")
    subprocess.run([*podman, "load", "-q", "-i", path], capture_output=True, check=True)
    mount = subprocess.run(
        [*podman, "image", "mount", "localhost/hard:1"], capture_output=True, text=True, check=True
    ).stdout.strip()
    found = views.tree_of(mount)
    # Only real root can make devices, and podman lets a layer set marks of overlayfs.
    for name in ("dev", "dev/null"):
        del found[name]
    assert found["bin/attribute"][6] != wanted["bin/attribute"][6]
    found["bin/attribute"][6] = wanted["bin/attribute"][6]
    assert found == wanted


def test_removed_image_leaves_nothing(in_account: InAccount, store: str, share: Path) -> None:
    in_account(views.load, store, _archive(share, [LOWER, MIDDLE, UPPER, BEYOND]))
    assert in_account(views.remove_image, store, "hard:1") == (7, 4, [])


HOSTILE = {
    "dot-dot": ([layers.Member("../evil", b"x")], "'..' would lead out"),
    "file-in-file": ([layers.Member("f"), layers.Member("f/x")], "not a directory"),
    "long": ([layers.Member("n" * 10_000)], "at most 4096"),
    "link-loop": (
        [layers.symlink("a", "b"), layers.symlink("b", "a"), layers.Member("a/x")],
        "too many symbolic links",
    ),
    "lost-link": ([layers.hard_link("a", "nothing")], "is in no lower layer"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_layer_leaves_nothing(
    in_account: InAccount, store: str, share: Path, name: str
) -> None:
    members, why = HOSTILE[name]
    kind, message, left = in_account(views.failed_load, store, _archive(share, [members]))
    assert (kind, left) == ("InvalidLayer", [])
    assert why in message


def test_links_out_of_the_layer_stay_inside(
    in_account: InAccount, store: str, share: Path, account_dir: str
) -> None:
    """As root of the namespace the unpacking could write anywhere in the account's home."""
    secret = Path(account_dir, "secret")
    members = [
        layers.symlink("way", account_dir), layers.symlink("up", "../../../../../../../../.."),
        layers.Member("way/secret", b"evil"), layers.Member("up/tmp/evil-rpod", b"evil"),
        layers.Member("way/.wh.store"), layers.hard_link("stolen", "way/../etc/passwd"),
        layers.directory("etc"), layers.Member("etc/passwd", b"own"),
    ]  # fmt: skip
    _, message, _ = in_account(views.failed_load, store, _archive(share, [members]))
    assert "'..' would lead out" in message
    members = [member for member in members if ".." not in member.link or member.name == "up"]
    in_account(views.load, store, _archive(share, [members]))
    assert not secret.exists()
    assert not Path("/tmp/evil-rpod").exists()
    assert Path(store).exists()


def test_very_many_entries_cost_bounded_memory(
    in_account: InAccount, store: str, share: Path
) -> None:
    members = [layers.Member(f"d{n % 300}/f{n}", kind=b"1", link="base") for n in range(30_000)]
    members.insert(0, layers.Member("base", b"x"))
    path = _archive(share, [members])
    assert in_account(views.load_within, store, path, 48 << 20) == [["localhost/hard:1"]]


def test_full_disk_loses_nothing_and_can_be_emptied(
    in_account: InAccount, store: str, share: Path
) -> None:
    noise = random.Random(3)
    small, big = (
        layers.docker_archive(
            [layers.layer([layers.Member(f"f{n}", noise.randbytes(size)) for n in range(4)])],
            f"localhost/{name}:1",
        )
        for name, size in (("small", 100_000), ("big", 1_000_000))
    )
    (share / "small.tar").write_bytes(small)
    (share / "big.tar").write_bytes(big)
    failure, left, scraps, *removed = in_account(
        views.fill_small_disk, store, f"{share}/small.tar", f"{share}/big.tar"
    )
    assert isinstance(failure, list)
    kind, message, remedy = failure
    assert kind == "DiskFull"
    assert "No space left on device" in message
    assert "free space" in remedy
    assert left == [["localhost/small:1"]]
    assert scraps == []
    assert removed == [4, 1]


def test_one_id_owns_everything(
    in_account: InAccount, account_without_ids: Account, share: Path
) -> None:
    """Without subordinate ids every file is the caller's; whose it should be is recorded."""
    path = _archive(share, [LOWER, MIDDLE, UPPER])
    with accounts.temporary_directory(account_without_ids) as directory:
        store = f"{directory}/store"
        notes = in_account(views.load_notes, store, path, account=account_without_ids)
        tree = in_account(views.view, store, "hard:1", "overlay", account=account_without_ids)
        in_account(views.remove_store, store, account=account_without_ids)
    assert not [note for note in notes if note.startswith("owners outside of the id map")]
    assert {(entry[1], entry[2]) for entry in tree.values()} == {(0, 0)}
    assert tree["bin/su"][0] == "-rwsr-xr-x"
    assert tree["bin/cap"][6] == {"security.capability": CAPABILITY.hex()}
    assert "gone" not in tree
