"""The root file system of a container, described for who mounts it; and its system call filter."""

import os

from rootless.errors import HostError
from rootless.linux.userns import IdMaps
from rootless.sandbox.drivers import FUSE
from rootless.sandbox.root import Root
from storage import lightjson as json
from storage.containers import ContainerRecord, ContainerView
from storage.files import read_file
from storage.layers import has_layer, map_key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.host.paths import Host


def make_root(host: "Host", view: ContainerView) -> Root:
    """Describe the root file system; the layers are checked to be there. Raises HostError."""
    record, paths = view.record, view.paths
    if record.request.get("rootfs_kind"):
        from rootless.container.plain_rootfs import make_root as make_plain_root

        return make_plain_root(view)
    if directory := record.request.get("rootfs"):
        from rootless.container.host_copy import make_root as make_copy

        return make_copy(view, str(directory))
    lower = []
    for chain_id in reversed(record.chain_ids):
        if not has_layer(host.layout, record.map_key, chain_id):
            raise HostError(
                f"start container {record.id[:12]}: its layer {chain_id[:19]} is not in the store",
                remedy=f"pull the image again: rpod pull {record.image_name}",
            )
        lower.append(host.layout.layer_diff(record.map_key, chain_id))
    root = Root(record.driver, paths.rootfs, lower, paths.upper, paths.work)
    if record.driver == FUSE:
        root.mapping = _mapping(host, record)
    return root


def _mapping(host: "Host", record: ContainerRecord) -> str:
    """Return how fuse-overlayfs is to show layers of the default map in another one."""
    default, own = host.id_maps(), IdMaps(record.uid_map, record.gid_map)
    if own == default or record.map_key != map_key(default.uids, default.gids):
        return ""
    from rootless.container.mapped import mapping_options

    return mapping_options(default, own)


def seccomp_filter(raw: dict[str, object], directory: str) -> bytes:
    """Return the filter that the bundle names: the default, a profile of its own, or none."""
    annotations = raw.get("annotations")
    process = raw.get("process")
    choice = annotations.get("dev.rpod.seccomp", "") if isinstance(annotations, dict) else ""
    if choice == "unconfined":
        return b""
    from rootless.sandbox import seccomp

    capabilities = process.get("capabilities", {}) if isinstance(process, dict) else {}
    bounding = capabilities.get("bounding", [])
    machine = os.uname().machine
    if choice in ("", "default"):
        return seccomp.default_filter(machine, bounding)
    path = f"{directory}/seccomp.json"
    profile = json.loads(read_file(path))
    return seccomp.compile_profile(profile, machine, bounding, os.uname().release, where=choice)
