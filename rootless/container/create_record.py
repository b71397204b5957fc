"""The record of a container: what is kept of the request, the image and the choices around it."""

import os
import time

from rootless.container import mounts as user_mounts
from rootless.container import spec
from rootless.container.labels import labels_of
from rootless.container.limits import parse_signal
from rootless.container.logfile import timestamp
from rootless.container.network_choice import published_ports
from rootless.container.request import ContainerRequest
from rootless.errors import UsageError, of_option
from rootless.host.paths import Host
from rootless.linux import signals as signal
from storage.containers import ContainerRecord
from storage.images import ImageRecord
from storage.oci.config import ImageConfig


def make_record(
    host: Host,
    request: ContainerRequest,
    image: ImageRecord,
    config: ImageConfig,
    around: spec.Surroundings,
    place: tuple[str, str],
) -> ContainerRecord:
    """Return the record; `place` is the key of the layers, and a driver instead of the host's."""
    from rootless.host.probe import storage_driver

    key, driver = place

    signal_text = request.stop_signal or config.stop_signal
    if spec.runs_systemd(request, config):
        from rootless.container import systemd_inside

        systemd_inside.check(host, request)
        signal_text = signal_text or systemd_inside.STOP_SIGNAL
    command = spec.container_command(request, config)
    return ContainerRecord(
        id=around.container_id,
        name=around.name,
        created_at=timestamp(time.time_ns()),
        image_name=image.names[0] if image.names else request.image,
        image_id=image.image_id,
        image_digest=image.manifest_digest,
        command=tuple(command),
        map_key=key,
        chain_ids=image.chain_ids,
        uid_map=around.namespace.maps.uids,
        gid_map=around.namespace.maps.gids,
        driver=driver or storage_driver(host),
        network=around.network.mode,
        ports=published_ports(host, request, config, around),
        labels=config.labels | labels_of(request) | _unit_label(host),
        mounts=tuple(user_mounts.to_record(*source[:3]) for source in around.sources),
        annotations={},
        stop_signal=_stop_signal(signal_text, asked=request.stop_signal),
        stop_timeout_s=request.stop_timeout,
        timeout_s=request.timeout,
        tty=request.tty,
        interactive=request.interactive,
        auto_remove=request.rm,
        init=request.init,
        log_driver="k8s-file" if request.log_driver == "json-file" else request.log_driver,
        log_options=log_options_of(request),
        anonymous_volumes=tuple(
            source.name
            for source in around.sources
            if source.mount.kind == user_mounts.VOLUME and not source.mount.source
        ),
        networks=around.network.attachments,
        image_mounts=tuple(
            chain for source in around.sources if source.tree for chain in source.tree.chain_ids
        ),
        cidfile=os.path.abspath(request.cidfile) if request.cidfile else "",
        pidfile=os.path.abspath(request.pidfile) if request.pidfile else "",
        restart=restart_policy(request),
        health=_health(host, request, config),
        joins=around.joins,
        request={
            field: value
            for field, value in request._asdict().items()
            if value != ContainerRequest._field_defaults[field] and field != "creds"
        },
    )


def restart_policy(request: ContainerRequest) -> str:
    """Return `--restart`, checked; "" for none. Raises UsageError."""
    if not request.restart:
        return ""
    from rootless.container.restart import parse_policy

    with of_option("--restart"):
        return parse_policy(request.restart)


def _stop_signal(text: str, *, asked: str | None) -> int:
    if not text:
        return int(signal.SIGTERM)
    with of_option("--stop-signal" if asked else "STOPSIGNAL of the image"):
        return parse_signal(text)


def _health(host: Host, request: ContainerRequest, config: ImageConfig) -> dict[str, object] | None:
    # Nearly every container has no checks, and pays nothing for them.
    defaults = ContainerRequest._field_defaults
    is_plain = all(
        value == defaults[field]
        for field, value in request._asdict().items()
        if field[:7] == "health_"
    )
    if not config.healthcheck and is_plain:
        if request.sdnotify == "healthy":
            raise UsageError(
                'sdnotify policy "healthy" requires a healthcheck to be set',
                remedy="add --health-cmd",
            )
        return None
    from rootless.container.health_options import details_without_check, make_health

    health = make_health(request, config)
    if health is None and not request.no_healthcheck and request.health_cmd is None:
        for option in details_without_check(request):
            host.note(f"{option} has no effect: neither --health-cmd nor the image has a check")
    return health


def _unit_label(host: Host) -> dict[str, str]:
    """Return the label that names the unit of systemd that makes this container."""
    unit = host.environ.get("PODMAN_SYSTEMD_UNIT")
    return {"PODMAN_SYSTEMD_UNIT": unit} if unit else {}


def log_options_of(request: ContainerRequest) -> dict[str, str]:
    """Return `--log-opt`, checked. Raises UsageError."""
    if request.log_driver in ("k8s-file", "json-file", "none") and not request.log_opt:
        return {}
    from rootless.container.log_options import read_options

    return read_options(request.log_driver, request.log_opt, tty=request.tty)
