#!/usr/bin/env python3
"""Measure rpod beside podman: the two take turns, medians are compared with the budgets.

    contrib/bench/bench.py                   everything; minutes
    contrib/bench/bench.py --quick           fewer rounds, smaller loads
    contrib/bench/bench.py --only 'run-*,exec'
    contrib/bench/bench.py --only 'rate-*,delay-*,connects-*'    the network
    contrib/bench/bench.py --list

Runs as a regular user. Started by root it makes an account for the time of the run (or takes
--account) and, through podman-here beside this file, a place where Debian's podman works.
Without podman only rpod is measured. Needs busybox-static; the pulls need docker-registry and
skopeo. Standard library only: any Python 3.11 will do.
"""

import argparse
import contextlib
import fnmatch
import json
import os
import pwd
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(os.path.dirname(HERE)))

import material  # noqa: E402 - after the path is set
from cases import CASES, Case, Context  # noqa: E402
from engine import BenchError, Engine, find_rpod  # noqa: E402

from tests.support import accounts, images, registry  # noqa: E402

HEADINGS = ("case", "podman", "rpod", "unit", "ratio", "budget", "")
ROW = "{:<24} {:>10} {:>10} {:<5} {:>7} {:>8} {}"


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer rounds, smaller loads")
    parser.add_argument("--only", metavar="NAMES", help="comma-separated names or patterns")
    parser.add_argument("--rounds", type=int, help="measurements of each command")
    parser.add_argument("--account", help="run as this existing user (root only)")
    parser.add_argument("--rpod", help="path of the rpod to measure")
    parser.add_argument(
        "--install", action="store_true", help="install this checkout, measure that"
    )
    parser.add_argument("--no-podman", action="store_true", help="measure rpod alone")
    parser.add_argument("--only-podman", action="store_true", help="measure podman alone")
    parser.add_argument("--json", metavar="FILE", help="also write every sample")
    parser.add_argument("--list", action="store_true", help="print the names of the cases")
    return parser.parse_args()


@contextlib.contextmanager
def account(name: str | None) -> Iterator[accounts.Account]:
    """Give the user that the commands run as, with a runtime directory for this run."""
    if os.getuid() != 0:
        own = accounts.own_account()
        try:
            yield own
        finally:
            accounts.remove_tree(own.home)
            accounts.remove_tree(own.runtime_dir)
        return
    if name is None:
        made = accounts.create_account(f"rpb{secrets.token_hex(3)}", subordinate=True)
        try:
            yield made
        finally:
            accounts.delete_account(made)
        return
    entry = pwd.getpwnam(name)
    runtime_dir = tempfile.mkdtemp(prefix="rpb-", dir="/tmp")
    os.chown(runtime_dir, entry.pw_uid, entry.pw_gid)
    ids = accounts.subordinate_ids(name, entry.pw_uid)
    try:
        yield accounts.Account(name, entry.pw_uid, entry.pw_gid, entry.pw_dir, runtime_dir, ids)
    finally:
        shutil.rmtree(runtime_dir, ignore_errors=True)


def chosen(only: str | None) -> list[Case]:
    patterns = only.split(",") if only else ["*"]
    found = [case for case in CASES if any(fnmatch.fnmatch(case.name, one) for one in patterns)]
    if not found:
        raise BenchError(f"no case is called {only}; see --list")
    return found


def measure(case: Case, contexts: list[Context], rounds: int) -> dict[str, list[dict[str, float]]]:
    """Let the engines take turns; every other round the second goes first."""
    samples: dict[str, list[dict[str, float]]] = {context.engine.name: [] for context in contexts}
    for number in range(rounds):
        for context in contexts if number % 2 == 0 else reversed(contexts):
            samples[context.engine.name].append(case.measure(context))
    return samples


def row(case: Case, samples: dict[str, list[dict[str, float]]]) -> str:
    """Return one line of the table."""
    medians = {
        name: statistics.median(one["value"] for one in values) for name, values in samples.items()
    }
    peaks = {name: max(one["peak"] for one in values) for name, values in samples.items()}
    podman, rpod = medians.get("podman"), medians.get("rpod")
    ratio = rpod / podman if podman and rpod else None
    decided = rpod if case.absolute else ratio
    verdict = ""
    if decided is not None and case.budget is not None:
        kept = decided >= case.budget if case.least else decided <= case.budget
        verdict = "ok" if kept else "OVER"
    if case.name.startswith("pull") and "rpod" in peaks:
        verdict += f" (peak {peaks['rpod']:.0f} MiB"
        verdict += f", podman {peaks['podman']:.0f})" if "podman" in peaks else ")"
    sign = ">=" if case.least else "<="
    budget = "" if case.budget is None else f"{sign} {case.budget:g}"
    cells = ["-" if value is None else f"{value:.1f}" for value in (podman, rpod)]
    told = "-" if ratio is None else f"{ratio:.2f}"
    return ROW.format(case.name, *cells, case.unit, told, budget, verdict.strip())


def prepare(engine: Engine, archive: str) -> None:
    """Load the test image and run it once, so that nothing is done for the first time."""
    engine.call("load", "-i", archive)
    engine.call("run", "--rm", images.NAME, "true")


def installed_checkout() -> str:
    """Install this checkout into a virtual environment of the cache and return its rpod.

    An editable installation is slower to start: it adds an import hook, and an account that
    cannot write the checkout compiles every changed module each time.
    """
    root = os.path.dirname(os.path.dirname(HERE))
    place = "/var/tmp/rpod-bench-venv" if os.getuid() == 0 else material.cache_directory() + "/venv"
    if not os.path.exists(f"{place}/bin/pip"):
        # the system's Python: one in somebody's home could be closed to the account
        python = "/usr/bin/python3" if os.access("/usr/bin/python3", os.X_OK) else sys.executable
        subprocess.run([python, "-m", "venv", place], check=True)
    shutil.rmtree(f"{root}/build", ignore_errors=True)  # a stale one would be installed
    pip = [f"{place}/bin/python", "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    subprocess.run([*pip, root], check=True)
    shutil.rmtree(f"{root}/build", ignore_errors=True)
    return f"{place}/bin/rpod"


def engines(arguments: argparse.Namespace, who: accounts.Account) -> list[Engine]:
    found = []
    podman = None if arguments.no_podman else shutil.which("podman")
    if podman:
        found.append(Engine("podman", podman, who))
    elif not arguments.no_podman:
        print("podman is not installed: rpod is measured alone")
    wanted = installed_checkout() if arguments.install else arguments.rpod
    rpod = None if arguments.only_podman else find_rpod(wanted)
    if rpod:
        found.append(Engine("rpod", rpod, who))
    elif not arguments.only_podman:
        raise BenchError("no rpod found; --rpod PATH names it")
    return found


@contextlib.contextmanager
def registry_for(cases: list[Case], archive: str) -> Iterator[registry.Registry | None]:
    """Run a registry with the images of the chosen cases, if any needs one."""
    needed = [case for case in cases if case.needs_registry]
    absent = registry.missing()
    if needed and absent:
        print(f"no pulls, not installed: {absent}")
        cases[:] = [case for case in cases if not case.needs_registry]
    if not needed or absent:
        yield None
        return
    with registry.running() as running:
        running.push(f"docker-archive:{archive}", material.SMALL)
        if any(case.name.endswith("-300mb") for case in needed):
            material.push_big(running.host)
        yield running


def run(arguments: argparse.Namespace) -> int:
    cases = chosen(arguments.only)
    everything: dict[str, object] = {}
    failed = 0
    with (
        account(arguments.account) as who,
        tempfile.NamedTemporaryFile(suffix=".tar") as archive,
    ):
        archive.write(images.busybox_archive())
        archive.flush()
        os.chmod(archive.name, 0o644)
        compared = engines(arguments, who)
        for engine in compared:
            prepare(engine, archive.name)
        with registry_for(cases, archive.name) as running:
            contexts = [Context(engine, arguments.quick, running) for engine in compared]
            print(ROW.format(*HEADINGS), flush=True)
            for case in cases:
                rounds = arguments.rounds or (case.quick_rounds if arguments.quick else case.rounds)
                try:
                    able = [c for c in contexts if c.engine.name == "rpod" or not case.rpod_only]
                    samples = measure(case, able, rounds)
                except BenchError as error:
                    failed = 1
                    print(f"{case.name:<24} failed: {error}", flush=True)
                    for engine in compared:
                        engine.clean()
                    continue
                everything[case.name] = samples
                print(row(case, samples), flush=True)
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as out:
            json.dump({"at": time.time(), "quick": arguments.quick, "samples": everything}, out)
    return failed


def main() -> int:
    arguments = options()
    if arguments.list:
        print("\n".join(case.name for case in CASES))
        return 0
    inside = "PODMAN_HERE_CGROUP" in os.environ
    if os.getuid() == 0 and shutil.which("podman") and not arguments.no_podman and not inside:
        wrapper = os.path.join(HERE, "podman-here")
        os.execv(wrapper, [wrapper, sys.executable, os.path.abspath(__file__), *sys.argv[1:]])
    try:
        return run(arguments)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    raise SystemExit(main())
