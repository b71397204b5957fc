"""Remove a container: its name first, then its directory in one step, then what is in it.

From the rename on it does not exist; what a crash leaves is an entry in `tmp/` for the next sweep.
"""

import os

from rootless.host.paths import Host
from rootless.linux import signals as signal
from rootless.linux.procfs import is_same_process
from rootless.linux.userns import run_in_userns
from storage import event_log
from storage.containers import ContainerRecord, MonitorLock, free_name, read_record, read_state
from storage.errors import StorageError
from storage.remove import remove_tree
from storage.scratch import Departure


def remove_container(host: Host, record: ContainerRecord, *, volumes: bool = True) -> None:
    """Remove an ended container, whoever owns the files in it, and its anonymous volumes."""
    paths = host.layout.container(record.id)
    cgroup = read_state(paths).cgroup
    if cgroup and os.path.isdir(cgroup):
        from rootless.container.cgroup_use import leave
        from rootless.linux.cgroup import remove as remove_cgroup

        leave(cgroup, record)  # its monitor was killed
        parent, _, name = cgroup.rpartition("/")
        if name == "container" and os.path.isdir(cgroup):
            remove_cgroup(parent)
    if os.path.exists(paths.mounted):
        from rootless.container.mounted import let_go

        let_go(paths)
    free_name(host.layout, _name_now(host, record), record.id)
    with Departure(host.layout) as gone:
        aside = gone.place("container")
        try:
            os.rename(paths.directory, aside)
        except FileNotFoundError:
            pass  # somebody else was first
        _remove(host, aside)
    if record.pod:
        from storage.pods import drop_member

        drop_member(host.layout, record.pod, record.id)
    event_log.container_event(host.layout.run_root, "remove", record=record)
    _remove_cidfile(record)
    remove_tree(paths.run_dir)
    if volumes and record.anonymous_volumes:
        _remove_volumes(host, record)


def remove_damaged(host: Host, container_id: str) -> str:
    """Remove a container whose record cannot be read, running or not; return its id."""
    paths = host.layout.container(container_id)
    state = read_state(paths)
    if MonitorLock.is_held(paths.lock) and is_same_process(state.pid, state.pid_start_time):
        os.kill(state.pid, signal.SIGKILL)
    with Departure(host.layout) as gone:
        aside = gone.place("container")
        os.rename(paths.directory, aside)
        _remove(host, aside)
    remove_tree(paths.run_dir)
    return container_id


def _name_now(host: Host, record: ContainerRecord) -> str:
    """Return the name; it may have changed since the monitor has read the record."""
    try:
        return read_record(host.layout, record.id).name
    except StorageError:
        return record.name  # it is gone, or damaged: then the old name is all that is known


def remove_after_end(host: Host, record: ContainerRecord) -> None:
    """What `--rm` does when the container has ended."""
    remove_container(host, record)


def _remove(host: Host, target: str) -> None:
    try:
        remove_tree(target)
    except PermissionError:
        # Files of other ids of the container. Whatever its map is, it is made of the caller's id
        # and ranges, so root of the default map may remove them.
        run_in_userns(lambda _: remove_tree(target), host.id_maps())


def _remove_cidfile(record: ContainerRecord) -> None:
    if not record.cidfile:
        return
    try:
        with open(record.cidfile, encoding="ascii") as file:
            is_ours = file.read().strip() == record.id
        if is_ours:
            os.unlink(record.cidfile)
    except OSError:
        return  # the user's file, the user's business


def _remove_volumes(host: Host, record: ContainerRecord) -> None:
    for name in record.anonymous_volumes:
        remove_volume_data(host, name)


def remove_volume_data(host: Host, name: str) -> None:
    """Remove a volume, as root of the user namespace where its files have other owners."""
    from storage.errors import VolumeNotFound
    from storage.volumes import remove_volume

    try:
        remove_volume(host.layout, name)
    except VolumeNotFound:
        return
    except PermissionError:
        run_in_userns(lambda _: remove_volume(host.layout, name), host.id_maps())
