"""What rpod finds out about hosts: this one, and ones on which something is missing."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rootless.errors import NetworkError
from rootless.host import doctor, info, probe
from rootless.host.check import FAIL, OK, WARN, Check
from rootless.host.check_identity import check_user
from rootless.host.paths import open_host
from rootless.linux import syscalls
from storage.errors import DiskFull, StoreUnusable
from tests.conftest import InAccount
from tests.kernel.namespaces import hide, in_own_namespace, run_with_hidden
from tests.support.accounts import Account


def checked() -> dict[str, Check]:
    return {check.id: check for check in doctor.run_checks(open_host(prepare=False))}


def test_doctor_finds_this_host_able(in_account: InAccount) -> None:
    checks = in_account(checked)
    able = ("namespaces", "subids", "newuidmap", "idmap", "store", "runroot", "tun", "slirp4netns")
    assert {name: checks[name].status for name in able} == dict.fromkeys(able, OK)
    assert doctor.exit_code(list(checks.values())) == 0


def test_doctor_gives_a_cause_and_a_fix_for_each_finding(in_account: InAccount) -> None:
    for check in in_account(checked).values():
        assert check.title
        assert "\n" not in f"{check.found}{check.chosen}{check.cause}{check.fix}"
        if check.status != OK:
            assert check.cause
            assert check.fix


def test_doctor_leaves_nothing_in_the_store(in_account: InAccount) -> None:
    def body() -> list[str]:
        checked()
        return os.listdir(open_host().layout.tmp_dir)

    assert in_account(body) == []


def test_account_without_ranges_gets_a_single_id_and_one_note(
    in_account: InAccount, account_without_ids: Account
) -> None:
    def body() -> tuple[bool, list[str]]:
        host = open_host()
        return host.id_maps().is_single, host.notes

    single, notes = in_account(body, account=account_without_ids)
    assert single
    assert len(notes) == 1
    assert (
        f"user {account_without_ids.name} has no usable subordinate ids in /etc/subuid" in notes[0]
    )
    assert "fix: sudo usermod --add-subuids " in notes[0]
    assert "\n" not in notes[0]


def test_doctor_without_ranges_warns_and_everything_else_works(
    in_account: InAccount, account_without_ids: Account
) -> None:
    checks = in_account(checked, account=account_without_ids)
    assert checks["subids"].status == WARN
    assert checks["subids"].fix.startswith("sudo usermod --add-subuids ")
    assert checks["idmap"].status == OK
    assert doctor.exit_code(list(checks.values())) == 0


def test_hidden_newuidmap_gives_a_single_id_and_the_package(account: Account) -> None:
    def body() -> tuple[bool, list[str], Check]:
        host = open_host()
        return host.id_maps().is_single, host.notes, checked()["newuidmap"]

    single, notes, check = run_with_hidden(account, ["/usr/bin/newuidmap"], body)
    assert single
    assert notes[0].startswith("newuidmap is not installed: ")
    assert check.status == WARN
    assert "install" in check.fix


def test_no_new_privileges_is_named_as_the_cause(in_account: InAccount) -> None:
    def body() -> Check:
        syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
        return checked()["idmap"]

    check = in_account(body)
    assert check.status == FAIL
    assert "no_new_privs" in check.cause


def test_forbidden_user_namespaces_name_the_setting(in_account: InAccount) -> None:
    def inside() -> list[str]:
        with open("/proc/sys/user/max_user_namespaces", "w", encoding="ascii") as file:
            file.write("0")
        checks = checked()
        code = doctor.exit_code(list(checks.values()))
        return [*checks["namespaces"][2:], str(code), " ".join(checks)]

    status, _, _, cause, fix, code, names = in_account(lambda: in_own_namespace(inside))
    assert status == FAIL
    assert cause == "user.max_user_namespaces is 0"
    assert "user.max_user_namespaces=" in fix
    assert code == "1"
    assert "overlay" not in names.split(), "nothing inside a namespace can be tried"


def test_storage_driver_is_native_overlay_and_remembered(in_account: InAccount) -> None:
    def body() -> tuple[str, str, bool]:
        host = open_host()
        first = probe.storage_driver(host)
        remembered = os.path.exists(host.layout.host_file)
        os.rmdir(host.layout.tmp_dir)  # A second probe would need it.
        try:
            return first, probe.storage_driver(open_host()), remembered
        finally:
            os.mkdir(host.layout.tmp_dir)

    assert in_account(body) == ("overlay", "overlay", True)


def on_overlay(function: Callable[[str], list[str]]) -> Callable[[], list[str]]:
    """Run with a store on an overlay, which cannot be the upper layer of another one."""

    def inside() -> list[str]:
        base = f"{os.environ['HOME']}/base-{os.urandom(4).hex()}"
        for name in ("", "/lower", "/upper", "/work", "/merged"):
            os.mkdir(base + name)
        os.chdir(base)
        options = "lowerdir=lower,upperdir=upper,workdir=work,userxattr"
        syscalls.mount("overlay", "merged", "overlay", 0, options)
        os.chdir("/")
        return function(f"{base}/merged/store")

    return inside


def test_without_overlay_fuse_overlayfs_is_taken(in_account: InAccount) -> None:
    def chosen(store: str) -> list[str]:
        host = open_host(store, f"{store}-run")
        return [probe.storage_driver(host), *host.notes]

    driver, *notes = in_account(lambda: in_own_namespace(on_overlay(chosen)))
    assert driver == "fuse-overlayfs"
    assert any(note.startswith("storage driver fuse-overlayfs (overlay: ") for note in notes)


def test_without_overlay_and_fuse_the_image_is_copied(in_account: InAccount) -> None:
    def chosen(store: str) -> list[str]:
        hide("/dev/fuse")
        host = open_host(store, f"{store}-run")
        return [probe.storage_driver(host), *host.notes]

    driver, *notes = in_account(lambda: in_own_namespace(on_overlay(chosen)))
    assert driver == "copy"
    assert any("/dev/fuse: No such device or address" in note for note in notes)


def test_doctor_makes_the_next_command_try_again(in_account: InAccount) -> None:
    def body() -> tuple[str, str, str]:
        host = open_host()
        first = probe.storage_driver(host)
        with open(host.layout.host_file, encoding="utf-8") as file:
            text = file.read()
        with open(host.layout.host_file, "w", encoding="utf-8") as file:
            file.write(text.replace('"overlay"', '"fuse-overlayfs"'))
        remembered = probe.storage_driver(open_host())
        checked()
        return first, remembered, probe.storage_driver(open_host())

    assert in_account(body) == ("overlay", "fuse-overlayfs", "overlay")


def test_root_of_a_container_is_a_user_like_any_other(in_account: InAccount) -> None:
    def inside() -> list[str]:
        check = checked()["user"]
        host = open_host(prepare=False)
        host.id_maps()
        return [check.status, check.found, *host.notes]

    status, found, *notes = in_account(lambda: in_own_namespace(inside))
    assert (status, found) == (OK, "root, uid 0 of a container")
    assert not any("running as root" in note for note in notes)


def test_root_of_the_machine_is_told(tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root is told what root in a container means")
    host = open_host(f"{tmp_path}/store", f"{tmp_path}/run")
    host.id_maps()
    assert any(note.startswith("running as root: ") for note in host.notes)
    assert check_user(host).status == WARN


def test_doctor_names_the_device_that_is_hidden(in_account: InAccount) -> None:
    def inside() -> list[str]:
        hide("/dev/net/tun")
        check = checked()["tun"]
        try:
            probe.network_backend(open_host(prepare=False))
        except NetworkError as error:
            return [check.status, check.cause, check.fix, error.message, error.remedy]
        return ["no error"]

    status, cause, fix, message, remedy = in_account(lambda: in_own_namespace(inside))
    assert status == FAIL
    assert cause == "/dev/net/tun: No such device or address"
    assert fix.startswith("sudo chmod 666 /dev/net/tun")
    assert message == f"give the container a network of its own: {cause}"
    assert "--network=none" in remedy


def test_missing_slirp4netns_names_the_package(account: Account) -> None:
    def body() -> str:
        return probe.network_backend(open_host())

    with pytest.raises(NetworkError, match="slirp4netns is not installed") as caught:
        run_with_hidden(account, ["/usr/bin/slirp4netns", "/usr/bin/pasta"], body)
    assert "install" in caught.value.remedy


def test_missing_slirp4netns_leaves_pasta(account: Account) -> None:
    def body() -> tuple[str, list[str]]:
        host = open_host()
        return probe.network_backend(host), host.notes

    if not os.path.exists("/usr/bin/pasta"):
        pytest.skip("pasta is not installed")
    backend, notes = run_with_hidden(account, ["/usr/bin/slirp4netns"], body)
    assert backend == "pasta"
    assert len(notes) == 1


def test_read_only_home_is_told_and_costs_only_what_lasts(in_account: InAccount) -> None:
    def inside() -> list[str]:
        home = os.environ["HOME"]
        os.environ["HOME"] = f"{home}/elsewhere"
        os.makedirs(os.environ["HOME"], exist_ok=True)
        flags = syscalls.MS_BIND
        syscalls.mount(os.environ["HOME"], os.environ["HOME"], "", flags)
        flags |= syscalls.MS_REMOUNT | syscalls.MS_RDONLY
        syscalls.mount("none", os.environ["HOME"], "", flags)
        host = open_host()
        store = checked()["store"]
        return [host.layout.store, *host.notes, store.status, store.cause, store.fix]

    store, note, status, cause, fix = in_account(lambda: in_own_namespace(inside))
    path = note.partition(" cannot be made: Read-only file system: images and containers")[0]
    assert path.endswith("/elsewhere/.local")
    assert note.endswith(f" are kept in {store}, for as long as that lasts")
    assert (status, cause) == (WARN, note)
    assert "--root DIR" in fix


def test_read_only_place_that_was_asked_for_is_an_error(in_account: InAccount) -> None:
    def inside() -> list[str]:
        place = f"{os.environ['HOME']}/read-only"
        os.makedirs(place, exist_ok=True)
        syscalls.mount(place, place, "", syscalls.MS_BIND)
        flags = syscalls.MS_BIND | syscalls.MS_REMOUNT | syscalls.MS_RDONLY
        syscalls.mount("none", place, "", flags)
        try:
            open_host(f"{place}/store")
        except StoreUnusable as error:
            return [error.message, error.remedy]
        return ["no error"]

    message, remedy = in_account(lambda: in_own_namespace(inside))
    assert message.endswith("/read-only/store: Read-only file system")
    assert "--root DIR" in remedy


def test_missing_home_is_told(in_account: InAccount) -> None:
    def body() -> tuple[list[str], dict[str, Check]]:
        os.environ["HOME"] = "/nonexistent"
        return open_host().notes, checked()

    (note,), checks = in_account(body)
    start = "/nonexistent cannot be made: Permission denied: images and containers are kept in /"
    assert note.startswith(start)
    assert (checks["store"].status, checks["store"].cause) == (WARN, note)


def test_doctor_tries_nothing_on_a_store_that_cannot_be_made(in_account: InAccount) -> None:
    def body() -> dict[str, Check]:
        os.environ["RPOD_ROOT"] = "/nonexistent/store"
        return checked()

    checks = in_account(body)
    assert checks["store"].status == FAIL
    assert "/nonexistent" in checks["store"].cause
    assert "overlay" not in checks
    assert checks["slirp4netns"].status == OK


def test_full_disk_is_named(in_account: InAccount) -> None:
    def inside() -> list[str]:
        place = f"{os.environ['HOME']}/small-{os.urandom(4).hex()}"
        os.mkdir(place)
        syscalls.mount("tmpfs", place, "tmpfs", 0, "size=64k,nr_inodes=6")
        try:
            open_host(f"{place}/store")
        except DiskFull as error:
            return [error.message]
        return ["no error"]

    (message,) = in_account(lambda: in_own_namespace(inside))
    assert message.endswith("No space left on device")


def test_without_any_session_the_run_root_is_a_private_directory(in_account: InAccount) -> None:
    def body() -> tuple[str, int, int]:
        del os.environ["XDG_RUNTIME_DIR"]
        host = open_host(f"{os.environ['HOME']}/store-without-session")
        found = os.stat(host.layout.run_root)
        for path in (f"{host.layout.run_root}/containers", host.layout.run_root):
            try:
                os.rmdir(path)
            except OSError:
                pass  # ENOTEMPTY: a person who runs the tests may have containers there
        return host.layout.run_root, found.st_mode & 0o777, found.st_uid - os.getuid()

    path, mode, difference = in_account(body)
    assert path.startswith(("/dev/shm/rpod-", "/run/user/", "/tmp/rpod-"))
    assert (mode, difference) == (0o700, 0)


def test_info_has_podmans_sections_and_the_rungs(in_account: InAccount) -> None:
    found = in_account(lambda: info.gather(open_host(prepare=False)))
    host, store = found["host"], found["store"]
    assert isinstance(host, dict)
    assert isinstance(store, dict)
    assert host["networkBackend"] == "slirp4netns"
    assert host["idMappings"]["uidmap"][0]["container_id"] == 0
    assert host["security"]["rootless"] is True
    assert store["graphDriverName"] == "overlay"
    assert set(store["containerStore"]) == {"number", "paused", "running", "stopped"}


def test_info_survives_a_host_where_nothing_works(in_account: InAccount) -> None:
    def inside() -> list[str]:
        with open("/proc/sys/user/max_user_namespaces", "w", encoding="ascii") as file:
            file.write("0")
        hide("/dev/net/tun")
        os.environ["HOME"] = "/nonexistent"
        found = info.gather(open_host(prepare=False))
        host, store = found["host"], found["store"]
        assert isinstance(host, dict)
        assert isinstance(store, dict)
        return [str(host["networkBackend"]), str(store["graphDriverName"])]

    network, driver = in_account(lambda: in_own_namespace(inside))
    assert network.startswith("none: ")
    assert driver.startswith("none: ")
