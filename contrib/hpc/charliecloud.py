#!/usr/bin/env python3
"""Measure rpod beside charliecloud in what both can do, as a user with or without subordinate ids.

    contrib/hpc/charliecloud.py [RPOD]

Both run a static busybox: a first and a later start, eight ranks of a step that share their
namespaces, look-ups of paths at a start (needs strace), an owner that is changed and looked at.
charliecloud runs a directory, rpod its image. Prints medians.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROUNDS = 15
RANKS = 8
OWNERS = "touch /f; chown 33:44 /f && stat -c %u:%g /f"


def main(rpod: str) -> int:
    for program in ("ch-run", "busybox"):
        if shutil.which(program) is None:
            print(f"needs {program}: apt-get install charliecloud busybox-static", file=sys.stderr)
            return 1
    os.environ.setdefault("USER", "user")
    with tempfile.TemporaryDirectory(prefix="charlie-") as place:
        root = make_root(f"{place}/root")
        archive = f"{place}/root.tar"
        subprocess.run(["tar", "-cf", archive, "-C", root, "."], check=True)
        image = "localhost/beside-charliecloud"
        run([rpod, "import", "-q", archive, image])
        try:
            compare(rpod, image, root)
        finally:
            run([rpod, "rmi", "--force", image])
    return 0


def make_root(root: str) -> str:
    for name in (
        "bin",
        "dev",
        "etc",
        "home",
        "mnt",
        "proc",
        "root",
        "run",
        "sys",
        "tmp",
        "usr/bin",
    ):
        os.makedirs(f"{root}/{name}")
    busybox = shutil.which("busybox")
    assert busybox is not None
    shutil.copy(busybox, f"{root}/bin/busybox")
    for name in ("sh", "true", "touch", "chown", "stat", "sleep", "echo"):
        os.symlink("busybox", f"{root}/bin/{name}")
    for name in ("passwd", "group", "hosts", "resolv.conf", "machine-id"):
        open(f"{root}/etc/{name}", "w").close()
    with open(f"{root}/etc/passwd", "w") as file:
        file.write("root:x:0:0::/root:/bin/sh\n")
    return root


def compare(rpod: str, image: str, root: str) -> None:
    charlie = ["ch-run", root, "--"]
    ours = [rpod, "run", "--rm", "--network=host", image]
    shell = [rpod, "shell", image]
    row("", "charliecloud", "rpod run", "rpod shell")
    row("first start, ms", *(start(words) for words in (charlie, ours, shell)))
    row("later start, ms", *(median(words) for words in (charlie, ours, shell)))
    joined = ["ch-run", "--join", f"--join-ct={RANKS}", "--join-tag=bench", root, "--"]
    shared = [rpod, "shell", "--join", "--join-tag=bench", image]
    os.environ["OMPI_COMM_WORLD_LOCAL_SIZE"] = str(RANKS)
    row(f"{RANKS} ranks in one namespace, ms", ranks(joined), "", ranks(shared))
    row("look-ups of a later rank", "", "", look_ups(shared))
    row("look-ups of a start", look_ups(charlie), look_ups(ours), "")
    row("chown 33:44, then stat says", said(["ch-run", "-w", "--uid=0", "--gid=0", root, "--"]),
        said([*ours[:3], "--root-emulation=full", *ours[3:]]), "")  # fmt: skip


def row(name: str, *values: str) -> None:
    print(f"{name:32}" + "".join(f"{value:>16}" for value in values))


def run(words: list[str]) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(words, capture_output=True, check=False, stdin=subprocess.DEVNULL)


def start(words: list[str]) -> str:
    before = time.perf_counter()
    done = run([*words, "/bin/true"])
    took = f"{(time.perf_counter() - before) * 1000:.0f}"
    return took if done.returncode == 0 else "fails"


def median(words: list[str]) -> str:
    times = [start(words) for _ in range(ROUNDS)]
    return "fails" if "fails" in times else f"{statistics.median(map(float, times)):.0f}"


def ranks(words: list[str]) -> str:
    def once() -> float:
        before = time.perf_counter()
        started = [
            subprocess.Popen([*words, "/bin/sleep", "0.2"], stderr=subprocess.DEVNULL)
            for _ in range(RANKS)
        ]
        codes = [one.wait() for one in started]
        return (time.perf_counter() - before) * 1000 - 200 if not any(codes) else -1

    times = [once() for _ in range(5)]
    return "fails" if min(times) < 0 else f"{statistics.median(times):.0f}"


def look_ups(words: list[str]) -> str:
    if shutil.which("strace") is None:
        return ""
    with tempfile.NamedTemporaryFile("r", prefix="trace-") as trace:
        holder = None
        if "--join" in words and words[0] != "ch-run":
            holder = subprocess.Popen([*words, "/bin/sleep", "3"], stderr=subprocess.DEVNULL)
            time.sleep(1)
        run(["strace", "-f", "-qq", "-e", "trace=%file", "-o", trace.name, *words, "/bin/true"])
        if holder is not None:
            holder.kill()
            holder.wait()
        return str(len([line for line in trace if '""' not in line]))


def said(words: list[str]) -> str:
    done = run([*words, "/bin/sh", "-c", OWNERS])
    return done.stdout.decode().strip() or "fails"


if __name__ == "__main__":
    sys.exit(main(*(sys.argv[1:] or [shutil.which("rpod") or "rpod"])))
