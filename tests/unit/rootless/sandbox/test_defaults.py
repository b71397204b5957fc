import os
from pathlib import Path

from rootless.sandbox import defaults


def by_destination(**choices: bool) -> dict[str, defaults.Mount]:
    return {mount.destination: mount for mount in defaults.mounts(**choices)}


def test_mounts_put_parents_before_children() -> None:
    seen: list[str] = []
    for mount in defaults.mounts():
        assert not any(path.startswith(f"{mount.destination}/") for path in seen)
        seen.append(mount.destination)
    assert seen == [
        "/proc",
        "/dev",
        "/dev/pts",
        "/dev/mqueue",
        "/dev/shm",
        "/sys",
        "/sys/fs/cgroup",
    ]


def test_nothing_is_writable_below_sys() -> None:
    table = by_destination()
    assert "ro" in table["/sys"].options
    assert "ro" in table["/sys/fs/cgroup"].options


def test_host_network_binds_sys_read_only_all_the_way_down() -> None:
    table = by_destination(host_network=True)
    assert table["/sys"].type == "bind"
    assert {"rbind", "rro"} <= set(table["/sys"].options)
    assert "/sys/fs/cgroup" not in table
    assert "/sys/kernel" in defaults.masked_paths(host_network=True)


def test_host_pid_and_ipc_bind_what_cannot_be_mounted_afresh() -> None:
    table = by_destination(host_pid=True, host_ipc=True)
    here = {path for path in ("/dev/mqueue", "/dev/shm") if os.path.isdir(path)}
    bound = {path for path, mount in table.items() if mount.type == "bind"}
    assert bound == {"/proc"} | here
    assert not any(mount.type in ("mqueue", "proc") for mount in table.values())


def test_privileged_makes_sys_writable() -> None:
    assert "rw" in by_destination(privileged=True)["/sys"].options


def test_the_tty_group_is_left_out_when_unmapped() -> None:
    assert "gid=5" in by_destination()["/dev/pts"].options
    options = by_destination(tty_group_mapped=False)["/dev/pts"].options
    assert not any(option.startswith("gid=") for option in options)


def test_shm_size_zero_means_no_limit() -> None:
    shm = defaults.mounts(shm_size_bytes=0)[4]
    assert not any(option.startswith("size=") for option in shm.options)
    assert "size=67108864" in defaults.mounts()[4].options


def test_thermal_throttle_of_each_cpu_is_masked(tmp_path: Path) -> None:
    for name in ("cpu0/thermal_throttle", "cpu11/thermal_throttle", "cpu2", "cpufreq"):
        (tmp_path / name).mkdir(parents=True)
    paths = defaults.masked_paths(cpu_directory=str(tmp_path))
    extra = sorted(set(paths) - set(defaults.MASKED_PATHS))
    assert extra == [f"{tmp_path}/cpu0/thermal_throttle", f"{tmp_path}/cpu11/thermal_throttle"]


def test_unmask_takes_all_paths_and_wildcards() -> None:
    paths = ("/proc/acpi", "/proc/kcore", "/sys/firmware")
    assert defaults.unmasked(paths, ("all",)) == ()
    assert defaults.unmasked(paths, ("/proc/*",)) == ("/sys/firmware",)
    assert defaults.unmasked(paths, ("/proc/kcore", "/sys/firmware/")) == ("/proc/acpi",)
    assert defaults.unmasked(paths, ()) == paths


def test_rlimits_are_clamped_to_the_callers() -> None:
    limits = {"RLIMIT_NOFILE": 20000, "RLIMIT_NPROC": -1}
    assert defaults.rlimits(limits.__getitem__) == [
        ("RLIMIT_NOFILE", 20000, 20000),
        ("RLIMIT_NPROC", 1048576, 1048576),
    ]
