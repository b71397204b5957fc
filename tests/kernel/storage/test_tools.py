"""Archives that other tools write, and the store as other tools read it."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import InAccount
from tests.kernel.storage import layers, views
from tests.kernel.storage.layers import LOWER, MIDDLE, UPPER


def _need(*names: str) -> None:
    absent = [name for name in names if shutil.which(name) is None]
    if absent:
        pytest.skip(f"not installed: {' '.join(absent)}")


def _archive(share: Path) -> str:
    path = share / "image.tar"
    path.write_bytes(layers.docker_archive([layers.layer(part) for part in (LOWER, MIDDLE, UPPER)]))
    return str(path)


def _skopeo(*arguments: str) -> str:
    return subprocess.run(
        ["skopeo", "--insecure-policy", *arguments], check=True, capture_output=True, text=True
    ).stdout


def _oci_archive(share: Path) -> str:
    _skopeo("copy", f"docker-archive:{_archive(share)}", f"oci-archive:{share}/oci.tar:quay.io/h:1")
    return f"{share}/oci.tar"


def _oci_directory(share: Path) -> str:
    _skopeo("copy", f"docker-archive:{_archive(share)}", f"oci:{share}/layout:quay.io/h:1")
    return f"{share}/layout"


def _zstd_directory(share: Path) -> str:
    target = f"oci:{share}/layout:quay.io/h:1"
    _skopeo("copy", "--dest-compress-format", "zstd", f"docker-archive:{_archive(share)}", target)
    return f"{share}/layout"


def _packed_archive(share: Path) -> str:
    path = _oci_archive(share)
    subprocess.run(["xz", "-0", path], check=True)
    return f"{path}.xz"


@pytest.mark.parametrize("make", [_oci_archive, _oci_directory, _zstd_directory, _packed_archive])
def test_archives_of_skopeo(
    in_account: InAccount, store: str, share: Path, make: Callable[[Path], str]
) -> None:
    _need("skopeo", "xz")
    path = make(share)
    subprocess.run(["chmod", "-R", "a+rX", path], check=True)
    assert in_account(views.load, store, path) == [["quay.io/h:1"]]
    found = in_account(views.view, store, "quay.io/h:1", "overlay")
    in_account(views.load, store, _archive(share))
    assert found == in_account(views.view, f"{store}", "hard:1", "overlay")


@pytest.mark.parametrize("kind", ["docker-archive", "oci-archive"])
def test_archives_of_podman(in_account: InAccount, store: str, share: Path, kind: str) -> None:
    _need("podman")
    if os.getuid() != 0:
        pytest.skip("only root may use podman with a store of its own here")
    podman = ["podman", "--root", f"/tmp/rpt-{os.getpid()}/root", "--runroot",
              f"/tmp/rpt-{os.getpid()}/run", "--storage-driver", "overlay"]  # fmt: skip
    try:
        for arguments in (
            ["load", "-q", "-i", _archive(share)],
            ["tag", "localhost/hard:1", "quay.io/other:2"],
            ["save", "-q", "--format", kind, "-o", f"{share}/saved.tar", "localhost/hard:1"],
        ):
            subprocess.run([*podman, *arguments], check=True, capture_output=True)
    finally:
        subprocess.run([*podman, "system", "reset", "-f"], check=False, capture_output=True)
        shutil.rmtree(f"/tmp/rpt-{os.getpid()}", ignore_errors=True)
    os.chmod(f"{share}/saved.tar", 0o644)
    names = in_account(views.load, store, f"{share}/saved.tar")
    assert names == [["localhost/hard:1"]]
    tree = in_account(views.view, store, "hard:1", "overlay")
    assert tree["hl1"][:4] == ["-rw-r-----", 5, 6, 2]
    assert "gone" not in tree


def test_layout_of_umoci(in_account: InAccount, store: str, share: Path) -> None:
    _need("umoci")
    layout = f"{share}/layout"
    rootfs = f"{share}/bundle/rootfs"

    def umoci(*arguments: str) -> None:
        subprocess.run(["umoci", *arguments], check=True, capture_output=True)

    rootless = [] if os.getuid() == 0 else ["--rootless"]
    umoci("init", "--layout", layout)
    umoci("new", "--image", f"{layout}:base")
    umoci("unpack", *rootless, "--image", f"{layout}:base", f"{share}/bundle")
    os.makedirs(f"{rootfs}/d/e")
    Path(f"{rootfs}/d/e/f").write_text("one")
    umoci("repack", "--refresh-bundle", "--image", f"{layout}:base", f"{share}/bundle")
    shutil.rmtree(f"{rootfs}/d/e")
    Path(f"{rootfs}/d/g").write_text("two")
    umoci("repack", "--image", f"{layout}:base", f"{share}/bundle")
    subprocess.run(["chmod", "-R", "a+rX", layout], check=True)
    assert in_account(views.load, store, layout) == [["localhost/base:latest"]]
    tree = in_account(views.view, store, "base", "overlay")
    assert sorted(tree) == ["d", "d/g"]


def test_skopeo_reads_the_store_in_place(in_account: InAccount, store: str, share: Path) -> None:
    _need("skopeo")
    in_account(views.load, store, _archive(share))
    output = in_account(_skopeo, "inspect", f"oci:{store}:localhost/hard:1")
    assert '"Architecture": "amd64"' in output
    in_account(_skopeo, "copy", f"oci:{store}:localhost/hard:1", f"dir:{store}-copy")
    names = set(os.listdir(f"{store}-copy"))
    blobs = set(os.listdir(f"{store}/blobs/sha256"))
    assert len(names & blobs) == 4
