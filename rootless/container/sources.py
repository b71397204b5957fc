"""What the mounts of a container show: paths of the host, volumes, images, overlays."""

from rootless.container import mounts as user_mounts
from rootless.container import spec
from rootless.container.idmap import UserNamespace
from rootless.host.paths import Host
from storage.containers import new_id


def find_sources(
    host: Host,
    mounts: "list[user_mounts.UserMount]",
    made: list[str],
    namespace: UserNamespace,
    key: str,
) -> list[spec.Source]:
    """Return what each mount shows; volumes that are not there are made, anonymous ones to `made`.

    Raises VolumeNotFound, ImageNotFound, UsageError, HostError.
    """
    sources = [_source(host, mount, made) for mount in mounts]
    if not any(source.mount.is_tree for source in sources):
        return sources
    from rootless.container.overlay_mounts import find_tree

    return [
        source._replace(tree=find_tree(host, source.mount, source.path, namespace, key, position))
        if source.mount.is_tree
        else source
        for position, source in enumerate(sources)
    ]


def _source(host: Host, mount: user_mounts.UserMount, made: list[str]) -> spec.Source:
    if mount.kind != user_mounts.VOLUME:
        return spec.Source(mount, mount.source, "")
    from storage.volumes import ensure_record, mountpoint

    name = mount.source or new_id()
    if mount.must_exist:
        from storage.volumes import read_volume

        read_volume(host.layout, name)
    if not mount.source:
        made.append(name)
    record = ensure_record(host.layout, name, anonymous=not mount.source)
    if record.options:
        from rootless.container.volume_options import mount_with_options

        mount = mount_with_options(mount, record)
    return spec.Source(mount, mountpoint(host.layout, record), name)
