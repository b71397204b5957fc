"""What a user asks for when a container is made; the fields are the long options of `run`.

Strings are as typed where their meaning needs the image or the host (volumes, users, ports);
`rootless.container.spec` resolves them.
"""

from storage.record import NamedTuple


class ContainerRequest(NamedTuple):
    """Everything that `create` and `run` accept. Durations in seconds, sizes in bytes."""

    image: str = ""
    command: tuple[str, ...] = ()
    # identity and environment
    name: str | None = None
    pod: str | None = None
    pod_id_file: str | None = None
    init_ctr: str | None = None
    hostname: str | None = None
    user: str | None = None
    userns: str = "host"
    uidmap: tuple[str, ...] = ()
    gidmap: tuple[str, ...] = ()
    root_emulation: str = "auto"
    group_add: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    env_file: tuple[str, ...] = ()
    env_host: bool = False
    env_merge: tuple[str, ...] = ()
    http_proxy: bool = True
    unsetenv: tuple[str, ...] = ()
    unsetenv_all: bool = False
    entrypoint: str | None = None
    workdir: str | None = None
    umask: str = "0022"
    tz: str | None = None
    hostuser: tuple[str, ...] = ()
    passwd: bool = True
    passwd_entry: str | None = None
    group_entry: str | None = None
    # of `rpod shell` alone: the process is the caller, by name, variables and home
    as_caller: bool = False
    # of `rpod shell` alone: a directory of the host, instead of an image
    rootfs: str = ""
    # of `rpod shell --join` alone: JSON for the holder (rootless.sandbox.holder)
    join: str = ""
    rootfs_kind: str = ""
    # the words that the caller typed, for `inspect`
    create_command: tuple[str, ...] = ()
    label: tuple[str, ...] = ()
    label_file: tuple[str, ...] = ()
    annotation: tuple[str, ...] = ()
    # streams and life
    interactive: bool = False
    tty: bool = False
    attach: tuple[str, ...] = ()
    detach: bool = False
    detach_keys: str = "ctrl-p,ctrl-q"
    sig_proxy: bool = True
    rm: bool = False
    rmi: bool = False
    replace: bool = False
    init: bool = False
    stop_signal: str | None = None
    stop_timeout: int = 10
    timeout: int = 0
    restart: str = ""
    requires: tuple[str, ...] = ()
    cidfile: str | None = None
    pidfile: str | None = None
    log_driver: str = "k8s-file"
    log_opt: tuple[str, ...] = ()
    # health checks
    health_cmd: str | None = None
    health_interval: str | None = None
    health_timeout: str | None = None
    health_retries: int | None = None
    health_start_period: str | None = None
    health_start_interval: str | None = None
    health_on_failure: str = "none"
    health_startup_cmd: str | None = None
    health_startup_interval: str | None = None
    health_startup_timeout: str | None = None
    health_startup_retries: int = 0
    health_startup_success: int = 0
    health_max_log_count: int = 5
    health_max_log_size: int = 500
    no_healthcheck: bool = False
    # image
    pull: str = "missing"
    platform: str | None = None
    arch: str | None = None
    os: str | None = None
    variant: str | None = None
    tls_verify: bool | None = None
    authfile: str | None = None
    creds: str | None = None
    cert_dir: str | None = None
    retry: int = 3
    retry_delay: str = "2s"
    disable_content_trust: bool = False
    quiet: bool = False
    # file systems
    volume: tuple[str, ...] = ()
    volumes_from: tuple[str, ...] = ()
    image_volume: str = "anonymous"
    mount: tuple[str, ...] = ()
    tmpfs: tuple[str, ...] = ()
    read_only: bool = False
    read_only_tmpfs: bool = True
    shm_size: int = 64 << 20
    device: tuple[str, ...] = ()
    gpus: str | None = None
    inject: tuple[str, ...] = ()
    secret: tuple[str, ...] = ()
    # network
    network: tuple[str, ...] = ()
    network_alias: tuple[str, ...] = ()
    ip: str | None = None
    ip6: str | None = None
    mac_address: str | None = None
    publish: tuple[str, ...] = ()
    publish_all: bool = False
    expose: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_option: tuple[str, ...] = ()
    add_host: tuple[str, ...] = ()
    no_hosts: bool = False
    # security
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    privileged: bool = False
    security_opt: tuple[str, ...] = ()
    pid: str = "private"
    ipc: str = "private"
    uts: str = "private"
    cgroupns: str = "private"
    # limits
    sdnotify: str = "container"
    preserve_fds: int = 0
    systemd: str = "true"
    cgroups: str = "enabled"
    cgroup_parent: str = ""
    limits: str = "strict"
    memory: str = ""
    memory_swap: str = ""
    memory_reservation: str = ""
    memory_swappiness: int | None = None
    oom_kill_disable: bool = False
    kernel_memory: str = ""
    cpus: str = ""
    cpu_shares: int | None = None
    cpu_quota: int | None = None
    cpu_period: int | None = None
    cpu_rt_period: int | None = None
    cpu_rt_runtime: int | None = None
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    pids_limit: int | None = None
    blkio_weight: str = ""
    blkio_weight_device: tuple[str, ...] = ()
    device_read_bps: tuple[str, ...] = ()
    device_write_bps: tuple[str, ...] = ()
    device_read_iops: tuple[str, ...] = ()
    device_write_iops: tuple[str, ...] = ()
    cgroup_conf: tuple[str, ...] = ()
    sysctl: tuple[str, ...] = ()
    ulimit: tuple[str, ...] = ()
    oom_score_adj: int | None = None


DEFAULT_PIDS = 2048
LIMITS = (
    "memory", "memory_swap", "memory_reservation", "memory_swappiness", "oom_kill_disable",
    "kernel_memory", "cpus", "cpu_shares", "cpu_quota", "cpu_period", "cpu_rt_period",
    "cpu_rt_runtime", "cpuset_cpus", "cpuset_mems", "pids_limit", "blkio_weight",
    "blkio_weight_device", "device_read_bps", "device_write_bps", "device_read_iops",
    "device_write_iops", "cgroup_conf",
)  # fmt: skip
PLACES = ("cgroups", "cgroup_parent", "limits")


def asked_limits(request: ContainerRequest) -> list[str]:
    """Return the fields of limits, and of where they are set, that are not the defaults."""
    defaults = ContainerRequest._field_defaults
    asked = [name for name in (*LIMITS, *PLACES) if getattr(request, name) != defaults[name]]
    # No cgroup and no limit: there is nothing to enforce.
    return [] if asked == ["cgroups"] and request.cgroups == "disabled" else asked


class ExecRequest(NamedTuple):
    """Everything that `exec` accepts."""

    container: str = ""
    command: tuple[str, ...] = ()
    interactive: bool = False
    tty: bool = False
    detach: bool = False
    detach_keys: str = "ctrl-p,ctrl-q"
    env: tuple[str, ...] = ()
    env_file: tuple[str, ...] = ()
    user: str | None = None
    workdir: str | None = None
    privileged: bool = False
    preserve_fds: int = 0
