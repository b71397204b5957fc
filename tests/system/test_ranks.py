"""`rpod shell --join`: the ranks of a job on one node share their namespaces."""

import contextlib
import importlib.util
import os
import py_compile
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.support.accounts import Account
from tests.support.command import Command
from tests.system.conftest import check_nothing_left, clean, make_command, traces

pytestmark = pytest.mark.rpod_only
IMAGE = "localhost/ranked"
TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PYTHON = "/usr/bin/python3"
# Reads the next rank's memory: what shared memory transports of MPI do.
READ = """
import ctypes, os
from mpi4py import MPI
comm = MPI.COMM_WORLD
class Part(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("size", ctypes.c_size_t)]
own = ctypes.create_string_buffer(b"rank-%d" % comm.rank, 32)
everybody = comm.allgather((os.getpid(), ctypes.addressof(own), os.readlink("/proc/self/ns/mnt")))
pid, address, _ = everybody[(comm.rank + 1) % comm.size]
seen = ctypes.create_string_buffer(32)
read = ctypes.CDLL(None).process_vm_readv
here, there = Part(ctypes.addressof(seen), 32), Part(address, 32)
one = ctypes.c_ulong(1)
count = read(pid, ctypes.byref(here), one, ctypes.byref(there), one, ctypes.c_ulong(0))
print(comm.rank, count, seen.value.decode(), len({entry[2] for entry in everybody}), flush=True)
comm.Barrier()
"""
# The same without MPI: tells where its own memory is, reads what the next line names.
PEER = """
import ctypes, os
class Part(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("size", ctypes.c_size_t)]
own, seen = ctypes.create_string_buffer(b"of a peer", 16), ctypes.create_string_buffer(16)
print(os.getpid(), ctypes.addressof(own), flush=True)
pid, address = map(int, input().split())
here, there = Part(ctypes.addressof(seen), 16), Part(address, 16)
one, read = ctypes.c_ulong(1), ctypes.CDLL(None).process_vm_readv
print(read(pid, ctypes.byref(here), one, ctypes.byref(there), one, ctypes.c_ulong(0)), flush=True)
print(seen.value.decode(), flush=True)
input()
"""


@pytest.fixture(scope="module", params=["range", "single"])
def prepared(request: pytest.FixtureRequest, busybox_tar: str) -> Iterator[Command]:
    name = "account" if request.param == "range" else "account_without_ids"
    account: Account = request.getfixturevalue(name)
    command = make_command(account, account.environment())
    command("import", busybox_tar, IMAGE)
    command("shell", IMAGE, "true")
    yield command
    command("rmi", "--force", IMAGE)


@pytest.fixture
def rpod(prepared: Command) -> Iterator[Command]:
    shutil.rmtree(place(prepared), ignore_errors=True)  # of another account with this number
    before = traces(prepared.account)
    yield prepared
    while _started:
        _finish(_started.pop())
    clean(prepared)
    check_nothing_left(prepared, before)
    shutil.rmtree(place(prepared), ignore_errors=True)


def place(rpod: Command) -> str:
    return f"/dev/shm/rpod-ranks-{rpod.account.uid}"


def environment(ranks: int) -> dict[str, str]:
    return {"OMPI_COMM_WORLD_LOCAL_SIZE": str(ranks)}


# What a failed test has started is ended by its fixture.
_started: list[subprocess.Popen[bytes]] = []


def spawn(rpod: Command, ranks: int, *argv: str, **variables: str) -> subprocess.Popen[bytes]:
    process = rpod.spawn(
        "shell", "--join", "--join-tag", "t", *argv, stderr=subprocess.DEVNULL,
        env={**environment(ranks), **variables}, stdin=subprocess.PIPE,
    )  # fmt: skip
    _started.append(process)
    return process


def join(rpod: Command, ranks: int, *argv: str) -> subprocess.Popen[bytes]:
    return spawn(rpod, ranks, IMAGE, *argv)


def _finish(process: subprocess.Popen[bytes]) -> None:
    if process.returncode is None:
        process.kill()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(BrokenPipeError):
                stream.close()
    process.wait(timeout=20)


def read_line(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().decode().strip()


def end(process: subprocess.Popen[bytes]) -> int:
    process.communicate(timeout=20)
    return process.returncode


def test_ranks_share_namespaces_whoever_ends_first(rpod: Command) -> None:
    script = "readlink /proc/self/ns/mnt; readlink /proc/self/ns/user; read x; exit 4"
    first, second = join(rpod, 3, "sh", "-c", script), join(rpod, 3, "sh", "-c", script)
    seen = {(read_line(one), read_line(one)) for one in (first, second)}
    assert (end(first), end(second)) == (4, 4)  # nobody is there now
    third = join(rpod, 3, "sh", "-c", script)
    seen.add((read_line(third), read_line(third)))
    assert len(seen) == 1
    assert end(third) == 4


def test_a_rank_is_the_process_that_was_started(rpod: Command) -> None:
    script = "echo $$; cat /proc/self/cgroup; echo $PMI_RANK; readlink /proc/self/fd/7"
    line = f"exec 7</etc/hostname; PMI_RANK=5 exec $RPOD shell --join {IMAGE} sh -c '{script}'"
    process = subprocess.Popen(
        [*rpod.dropping(), "sh", "-c", line],
        env={**rpod.environment, "RPOD": rpod.prefix[0], **environment(1)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd="/",
    )
    out, _ = process.communicate(timeout=30)
    pid, *cgroups, rank, descriptor = out.decode().splitlines()
    assert pid == str(process.pid)
    with open("/proc/self/cgroup", encoding="utf-8") as own:
        assert cgroups == own.read().splitlines()
    assert (rank, descriptor) == ("5", "/etc/hostname")


def test_each_rank_has_its_own_variables(rpod: Command) -> None:
    script = "echo $RANK $GIVEN; read x"
    common = ("-e", "GIVEN=g", IMAGE, "sh", "-c", script)
    ranks = [spawn(rpod, 2, *common, RANK=str(n)) for n in range(2)]
    assert sorted(read_line(one) for one in ranks) == ["0 g", "1 g"]
    for one in ranks:
        end(one)


def test_other_images_and_options_are_not_joined(rpod: Command) -> None:
    first = join(rpod, 1, "sh", "-c", "readlink /proc/self/ns/mnt; read x")
    mine = read_line(first)
    other = rpod(
        "shell", "--join", "--join-tag", "t", "-e", "A=b", IMAGE, "readlink", "/proc/self/ns/mnt",
        env=environment(1),
    )  # fmt: skip
    assert other.lines != [mine]
    end(first)


def test_a_killed_holder_is_replaced(rpod: Command) -> None:
    first = join(rpod, 3, "sh", "-c", "echo in; read x")
    assert read_line(first) == "in"
    (holder,) = rpod("ps", "--format", "{{.Pid}}").lines
    os.kill(int(holder), 9)
    time.sleep(0.2)
    second = join(rpod, 1, "echo", "again")
    assert read_line(second) == "again"
    end(second)
    end(first)


def test_a_place_prepared_by_somebody_else_is_refused(rpod: Command) -> None:
    if os.getuid() != 0:
        pytest.skip("needs a second user: run as root")
    os.mkdir(place(rpod), 0o777)
    done = rpod("shell", "--join", IMAGE, "true", check=False)
    assert done.code == 125
    assert "belongs to somebody else" in done.err


def test_a_bad_tag_and_a_bad_command(rpod: Command) -> None:
    done = rpod("shell", "--join", "--join-tag", "../x", IMAGE, "true", check=False)
    assert (done.code, "only letters" in done.err) == (125, True)
    first = join(rpod, 3, "sh", "-c", "echo in; read x")
    assert read_line(first) == "in"
    for _ in range(2):  # ranks that join
        done = rpod(
            "shell", "--join", "--join-tag", "t", IMAGE, "no-such", env=environment(3), check=False
        )
        assert (done.code, "not found" in done.err) == (127, True)
    end(first)
    done = rpod("shell", "--join", IMAGE, "no-such", env=environment(1), check=False)
    assert (done.code, "not found" in done.err) == (127, True)  # the first one


def test_ranks_of_open_mpi_read_each_others_memory(rpod: Command) -> None:
    if shutil.which("mpirun") is None:
        pytest.skip("needs openmpi-bin and python3-mpi4py")
    program = f"{rpod.account.home}/read.py"
    with open(program, "w", encoding="utf-8") as file:
        file.write(READ)
    os.chmod(program, 0o644)
    line = (
        "mpirun --oversubscribe --host localhost:4 -n 4"
        f" $RPOD shell --join --rootfs / {PYTHON} {program}"
    )
    done = rpod.shell(line, env={"PATH": "/usr/bin:/bin"})
    assert sorted(done.lines) == [f"{n} 32 rank-{(n + 1) % 4} 1" for n in range(4)]
    os.unlink(program)


def test_memory_is_read_after_the_first_rank_has_ended(rpod: Command) -> None:
    def peer() -> subprocess.Popen[bytes]:
        return spawn(rpod, 3, "--rootfs", "/", PYTHON, "-c", PEER)

    first, second = peer(), peer()
    assert read_line(first)
    named = read_line(second)
    first.kill()
    end(first)
    third = peer()
    assert third.stdin is not None and read_line(third)
    third.stdin.write(f"{named}\n".encode())
    third.stdin.flush()
    assert (read_line(third), read_line(third)) == ("16", "of a peer")
    end(third)
    end(second)


def test_a_record_that_is_none_is_no_harm(rpod: Command) -> None:
    where = f"{place(rpod)}/tag-t"
    rpod.shell(f"mkdir -m 700 {place(rpod)} {where}")
    for number, data in enumerate(
        (b"", b"rpod rank 1\n", b"rpod rank 1\n{0", b"[\377\377\377\177", b"{}")
    ):
        with open(f"{where}/{number}.rank", "wb") as file:
            file.write(data)
    words = ("--join", "--join-tag", "t", IMAGE, "echo", "in")
    assert rpod("shell", *words, env=environment(1)).out == "in\n"


def installed(directory: str) -> str:
    """Make an installation as pip makes it of a wheel; return the command."""
    spec = importlib.util.spec_from_file_location("pack", f"{TOP}/contrib/wheel/pack.py")
    assert spec is not None and spec.loader is not None
    pack = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pack)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", directory], check=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = f"{directory}/lib/{version}/site-packages"
    for name in ("rootless", "slirp", "storage"):
        shutil.copytree(
            f"{TOP}/{name}", f"{packages}/{name}", ignore=shutil.ignore_patterns("__pycache__")
        )
    pack.write_pack(packages)
    # What pip compiles and the pack has not.
    for name in ("__init__", "bytecode"):
        py_compile.compile(f"{packages}/rootless/{name}.py", doraise=True)
    command = f"{directory}/bin/rpod"
    with open(f"{TOP}/contrib/bin/rpod", encoding="utf-8") as source, open(command, "w") as file:
        file.write(source.read().replace("#!python", f"#!{directory}/bin/python3", 1))
    os.chmod(command, 0o755)
    return command


def test_a_later_rank_looks_up_little(
    rpod: Command, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The bar is 150 on the shared file system, which may be all that there is: Python's too."""
    if shutil.which("strace") is None:
        pytest.skip("needs strace")
    directory = str(tmp_path_factory.mktemp("installed"))
    for path in (
        directory,
        os.path.dirname(directory),
        os.path.dirname(os.path.dirname(directory)),
    ):
        os.chmod(path, 0o755)
    command = installed(directory)
    first = join(rpod, 2, "sh", "-c", "echo in; read x")
    assert read_line(first) == "in"
    trace = f"{rpod.account.home}/trace"
    line = (
        f"strace -f -qq -o {trace} -e trace=%file {command} shell --join --join-tag t {IMAGE} true"
    )
    rpod.shell(line, env=environment(2))
    end(first)
    with open(trace, encoding="utf-8", errors="replace") as file:
        calls = [text for text in file if '""' not in text]  # "": of a descriptor
    os.unlink(trace)
    assert len(calls) < 150, "".join(calls)
    # Of them, what is nowhere but in a home: the virtual environment, its Python's start included.
    assert len([text for text in calls if f'"{directory}' in text]) < 60
