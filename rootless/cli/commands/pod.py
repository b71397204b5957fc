"""Commands that make pods and change them."""

import os
import sys

from rootless.cli.commands.selection import exit_code, for_each, removal_exit_code
from rootless.cli.output import confirm
from rootless.container.request import ContainerRequest
from rootless.errors import UsageError
from storage.errors import PodNotFound
from storage.pods import find_pod, list_pods

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rootless.cli.invocation import Invocation
    from rootless.host.paths import Host
    from storage.pods import PodRecord

_OF_INFRA = (
    "network", "network_alias", "ip", "ip6", "mac_address", "publish", "dns", "dns_search",
    "dns_option", "add_host", "no_hosts", "sysctl", "userns", "pid", "uts", "shm_size",
    "cgroup_parent", "uidmap", "gidmap",
)  # fmt: skip
_OF_MEMBERS = ("volume", "volumes_from", "device", "security_opt", "cgroup_parent")

_CLONED = ("volume", "volumes_from", "device", "security_opt")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def create(invocation: "Invocation") -> int:
    """Make a pod and print its id."""
    from rootless.cli.progress import Reporter
    from rootless.container.labels import labels_of
    from rootless.container.pods_create import PodRequest, create_pod
    from rootless.container.pods_remove import remove_pod

    host = invocation.host()
    given = invocation.given
    name = invocation.text("name")
    if named := invocation.text("pod_name"):
        if name:
            raise UsageError("cannot specify --name and NAME at the same time")
        name = named
    infra = {field: given[field] for field in _OF_INFRA if field in given}
    if host.config.network and "network" not in infra:
        infra["network"] = (host.config.network,)
    if host.config.userns and "userns" not in infra:
        infra["userns"] = host.config.userns
    if "PODMAN_SYSTEMD_UNIT" in host.environ:
        # The infra container is the main process of the pod's service: `rpod quadlet`.
        infra |= {"sdnotify": "conmon", "cgroups": "split"}
    labels = ContainerRequest(
        label=invocation.texts("label"), label_file=invocation.texts("label_file")
    )
    id_file = _check_id_file(invocation.text("pod_id_file"))
    request = PodRequest(
        name=name,
        share=invocation.text("share") if "share" in given else None,
        infra=invocation.flag("infra"),
        infra_image=invocation.text("infra_image"),
        infra_command=invocation.text("infra_command"),
        infra_name=invocation.text("infra_name"),
        exit_policy=invocation.text("exit_policy"),
        restart=invocation.text("restart"),
        hostname=invocation.text("hostname"),
        labels=labels_of(labels),
        infra_request=_request(infra),
        members={field: given[field] for field in _OF_MEMBERS if field in given},
        create_command=("podman", *sys.argv[1:]),
        replace=(lambda text: remove_pod(host, text, force=True))
        if invocation.flag("replace")
        else None,
    )
    with Reporter() as on_event:
        pod = create_pod(host, request, on_event)
    if id_file:
        _write_id_file(host, id_file, pod)
    _say(pod.id)
    return 0


def clone(invocation: "Invocation") -> int:
    """Make a pod like another and print its id."""
    from rootless.cli.progress import Reporter
    from rootless.container import pods_clone
    from rootless.container.labels import labels_of
    from rootless.container.pods_remove import remove_pod
    from rootless.container.pods_start import start as start_pod

    host, given = invocation.host(), invocation.given
    name, word = invocation.text("name"), invocation.text("new_name")
    if name and word:
        raise UsageError("--name and a second word both name the new pod")
    pod = find_pod(host.layout, invocation.text("pod"))
    labels = ContainerRequest(
        label=invocation.texts("label"), label_file=invocation.texts("label_file")
    )
    changes = pods_clone.PodChanges(
        hostname=invocation.text("hostname"),
        infra_name=invocation.text("infra_name"),
        labels=labels_of(labels),
        infra={field: given[field] for field in _OF_INFRA if field in given},
        infra_command=invocation.text("infra_command"),
        members={field: invocation.texts(field) for field in _CLONED if field in given},
    )
    with Reporter() as on_event:
        copy = pods_clone.clone_pod(
            host, pod.id, name=name or word, changes=changes, on_event=on_event
        )
    if invocation.flag("destroy"):
        remove_pod(host, pod.id, force=True)
    if invocation.flag("start"):
        start_pod(host, copy.id)
    _say(copy.id)
    return 0


def _request(values: dict[str, object]) -> ContainerRequest:
    defaults = ContainerRequest._field_defaults.items()
    return ContainerRequest._make(values.get(field, value) for field, value in defaults)


def _check_id_file(path: str) -> str:
    if path and os.path.exists(path):
        raise UsageError(
            f"pod id file {path} exists",
            remedy="make sure the other pod is not running, then remove the file",
        )
    return path


def _write_id_file(host: "Host", path: str, pod: "PodRecord") -> None:
    from rootless.container.pods_remove import remove_pod

    try:
        with open(path, "x", encoding="ascii") as file:
            file.write(pod.id)
    except OSError as error:
        remove_pod(host, pod.id, force=True)
        raise UsageError(f"write --pod-id-file {path}: {error.strerror}") from error


def chosen_pods(invocation: "Invocation", host: "Host") -> list[str]:
    """Return the names that were typed, or the ids that --all, --latest ... stand for.

    Raises UsageError, PodNotFound.
    """
    names = list(invocation.texts("pods"))
    wants_all, wants_latest = bool(invocation.given.get("all")), invocation.flag("latest")
    files = invocation.given.get("pod_id_file")
    if isinstance(files, tuple):
        from rootless.container.pods_join import read_id_file

        names += [read_id_file(path) for path in files]
    if names and (wants_all or wants_latest):
        switch = "--all" if wants_all else "--latest"
        raise UsageError(f"{switch} and names of pods do not go together")
    if wants_all and wants_latest:
        raise UsageError("--all and --latest do not go together")
    if wants_latest:
        return [latest_pod(host)]
    if wants_all:
        return [record.id for record in list_pods(host.layout)]
    if not names:
        raise UsageError("you must provide at least one pod name or id")
    return names


def latest_pod(host: "Host") -> str:
    """Return the id of the pod that was made last. Raises PodNotFound."""
    records = list_pods(host.layout)
    if not records:
        raise PodNotFound("no pods to take the latest from: no such pod")
    return records[0].id


def _each(invocation: "Invocation", action: "Callable[[Host, str], PodRecord]") -> int:
    host = invocation.host()
    ignored = bool(invocation.given.get("ignore"))

    def act(name: str) -> None:
        try:
            _say(action(host, name).id)
        except PodNotFound:
            if not ignored:
                raise

    return exit_code(for_each(chosen_pods(invocation, host), act))


def start(invocation: "Invocation") -> int:
    """Start pods."""
    from rootless.container.pods_start import start as start_pod

    return _each(invocation, start_pod)


def stop(invocation: "Invocation") -> int:
    """Stop pods."""
    from rootless.container.pods import stop as stop_pod

    timeout_s = invocation.number("time")
    return _each(invocation, lambda host, name: stop_pod(host, name, timeout_s))


def restart(invocation: "Invocation") -> int:
    """Restart pods."""
    from rootless.container.pods_start import restart as restart_pod

    return _each(invocation, restart_pod)


def kill(invocation: "Invocation") -> int:
    """Signal pods."""
    from rootless.container.limits import parse_signal
    from rootless.container.pods import kill as kill_pod

    signal_text = invocation.text("signal")
    parse_signal(signal_text)
    return _each(invocation, lambda host, name: kill_pod(host, name, signal_text))


def pause(invocation: "Invocation") -> int:
    """Pause pods."""
    from rootless.container.pods import pause as pause_pod

    return _each(invocation, pause_pod)


def unpause(invocation: "Invocation") -> int:
    """Let pods go on."""
    from rootless.container.pods import unpause as unpause_pod

    return _each(invocation, unpause_pod)


def remove(invocation: "Invocation") -> int:
    """Remove pods."""
    from rootless.container.pods_remove import remove_pod

    host = invocation.host()
    force = invocation.flag("force")
    timeout_s = invocation.number("time")

    def remove_one(name: str) -> None:
        try:
            _say(remove_pod(host, name, force=force, timeout_s=timeout_s))
        except PodNotFound:
            if not force and not invocation.flag("ignore"):
                raise

    return removal_exit_code(for_each(chosen_pods(invocation, host), remove_one))


def prune(invocation: "Invocation") -> int:
    """Remove the pods that have ended."""
    from rootless.container.pods import EXITED, STOPPED, list_views
    from rootless.container.pods_remove import remove_pod

    if not invocation.flag("force") and not confirm(
        "WARNING! This will remove all stopped/exited pods.."
    ):
        return 0
    host = invocation.host()
    ended = [found.record.id for found in list_views(host) if found.state in (EXITED, STOPPED)]

    def remove_one(pod_id: str) -> None:
        try:
            _say(remove_pod(host, pod_id))
        except PodNotFound:
            return  # somebody else was faster

    return exit_code(for_each(ended, remove_one))


def exists(invocation: "Invocation") -> int:
    """Say by the exit code whether a pod exists."""
    try:
        find_pod(invocation.host().layout, invocation.text("pod"))
    except PodNotFound:
        return 1
    return 0
