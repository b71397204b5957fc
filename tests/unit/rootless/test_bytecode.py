"""The pack of compiled modules that an installation has."""

import graphlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

CHECKOUT = Path(__file__).parents[3]
PACKAGES = ("rootless", "slirp", "storage")
ASK = (
    "import sys; sys.path.insert(0, sys.argv[1]);"
    "import rootless.bytecode, rootless.cli.commands.run, storage.oci as package;"
    "print(type(rootless.cli.commands.run.__spec__.loader).__name__,"
    " rootless.cli.commands.run.__file__, package.__path__)"
)


def _pack_step() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pack", CHECKOUT / "contrib/wheel/pack.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory that is as a wheel's is."""
    root = tmp_path_factory.mktemp("installed")
    for name in PACKAGES:
        shutil.copytree(CHECKOUT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    _pack_step().write_pack(str(root))
    return root


def _ask(root: Path, environ: dict[str, str] | None = None) -> list[str]:
    done = _python(root, ASK, environ)
    return done.split(maxsplit=2)


def _python(root: Path, program: str, environ: dict[str, str] | None = None) -> str:
    command = [sys.executable, "-B", "-I", "-S", "-c", program, str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environ or {})
    return done.stdout


def test_modules_come_from_the_pack(packed: Path) -> None:
    loader, file, path = _ask(packed)
    assert loader == "Pack"
    assert file == f"{packed}/rootless/cli/commands/run.py"
    assert path.strip() == f"['{packed}/storage/oci']"


def test_what_a_module_imports_is_as_importlib_makes_it(packed: Path) -> None:
    program = """
import sys
sys.path.insert(0, sys.argv[1])
import rootless.bytecode
import rootless.container.create
module, package = sys.modules["storage.oci.config"], sys.modules["storage.oci"]
assert module.__spec__ is None  # made by ourselves
print(module.__file__, module.__package__, package.config is module)
print(package.__file__, package.__package__, package.__path__)
print(sys.modules["storage"].oci is package)
"""
    assert _python(packed, program).splitlines() == [
        f"{packed}/storage/oci/config.py storage.oci True",
        f"{packed}/storage/oci/__init__.py storage.oci ['{packed}/storage/oci']",
        "True",
    ]


def test_with_a_second_thread_importlib_locks_every_module(packed: Path) -> None:
    program = """
import sys
from _thread import allocate_lock, start_new_thread
sys.path.insert(0, sys.argv[1])
import rootless.bytecode
begun, wait = allocate_lock(), allocate_lock()
begun.acquire(), wait.acquire()
start_new_thread(lambda: (begun.release(), wait.acquire()), ())
begun.acquire()
import rootless.container.create
print(type(sys.modules["storage.oci.config"].__spec__.loader).__name__)
wait.release()
"""
    assert _python(packed, program) == "Pack\n"


def test_module_that_fails_is_not_kept(packed: Path, tmp_path: Path) -> None:
    for name in PACKAGES:
        shutil.copytree(packed / name, tmp_path / name, ignore=shutil.ignore_patterns("*.pack"))
    (tmp_path / "storage/broken.py").write_text("import storage.digest\nraise OSError(5, 'x')\n")
    (tmp_path / "storage/user.py").write_text("from storage import broken\n")
    _pack_step().write_pack(str(tmp_path))
    program = """
import sys, traceback
sys.path.insert(0, sys.argv[1])
import rootless.bytecode
for _ in range(2):
    try:
        import storage.user
    except OSError as error:
        traceback.print_exc(file=sys.stdout)
print({"storage.user", "storage.broken"} & {*sys.modules}, "storage.digest" in sys.modules)
"""
    printed = _python(tmp_path, program)
    assert printed.count("OSError: [Errno 5] x") == 2
    assert printed.endswith("\nset() True\n")


def test_who_debugs_gets_the_source_with_its_lines(packed: Path) -> None:
    loader, _, _ = _ask(packed, {"RPOD_DEBUG": "1"})
    assert loader == "SourceFileLoader"


def test_modules_that_need_each_other_are_not_packed(packed: Path, tmp_path: Path) -> None:
    for name in PACKAGES:
        shutil.copytree(packed / name, tmp_path / name, ignore=shutil.ignore_patterns("*.pack"))
    (tmp_path / "slirp/one.py").write_text("from slirp import two\n")
    (tmp_path / "slirp/two.py").write_text("import slirp.one\n")
    with pytest.raises(graphlib.CycleError, match=r"slirp\.one"):
        _pack_step().write_pack(str(tmp_path))
    assert not (tmp_path / "rootless/modules.pack").exists()


def test_every_module_is_in_it_and_works_as_the_source_does(packed: Path) -> None:
    names = [
        ".".join(path.relative_to(packed).with_suffix("").parts).removesuffix(".__init__")
        for package in PACKAGES
        for path in (packed / package).rglob("*.py")
    ]
    program = (
        "import sys, importlib; sys.path.insert(0, sys.argv[1]); import rootless.bytecode as b;"
        "index = sys.meta_path[0]._index;"
        "print(sorted({*sys.argv[2:]} - {*index}))"
    )
    done = subprocess.run(
        [sys.executable, "-B", "-I", "-S", "-c", program, str(packed), *names],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "['rootless', 'rootless.bytecode']"


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: b"\0" * 16 + data[16:], id="other-python"),
        pytest.param(lambda data: data[:10], id="short-header"),
        pytest.param(lambda data: data[:200], id="short-index"),
        pytest.param(lambda data: data[:16] + b"\xff" * 64 + data[80:], id="broken-index"),
        pytest.param(lambda data: b"", id="empty"),
    ],
)
def test_pack_that_does_not_fit_is_left_aside(packed: Path, damage: object) -> None:
    pack = packed / "rootless/modules.pack"
    whole = pack.read_bytes()
    try:
        pack.write_bytes(damage(whole))  # type: ignore[operator]
        loader, file, _ = _ask(packed)
    finally:
        pack.write_bytes(whole)
    assert loader == "SourceFileLoader"
    assert file == f"{packed}/rootless/cli/commands/run.py"


def test_checkout_has_none() -> None:
    assert not os.path.exists(CHECKOUT / "rootless/modules.pack")


def test_command_starts_without_regular_expressions(packed: Path) -> None:
    script = (CHECKOUT / "contrib/bin/rpod").read_text()
    (packed / "rpod").write_text(script)
    done = subprocess.run(
        [
            sys.executable,
            "-B",
            "-I",
            "-S",
            "-X",
            "importtime",
            "-c",
            f"""
import sys
sys.path.insert(0, {str(packed)!r})
sys.argv = ["rpod", "images", "--root", {str(packed)!r} + "/store"]
exec(compile({script!r}, "rpod", "exec"))
""",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "rootless.cli.main" in loaded
    assert not loaded & {"re", "enum", "functools"}
