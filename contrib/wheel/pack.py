"""The build step that adds `rootless/modules.pack` to a wheel (see `rootless.bytecode`)."""

import ast
import graphlib
import importlib.util
import marshal
import os
import sys
from typing import TYPE_CHECKING

from setuptools.command.build_py import build_py

if TYPE_CHECKING:
    from collections.abc import Container, Iterator
    from types import CodeType

PACKAGES = ("rootless", "slirp", "storage")
# What is loaded before the pack.
_BEFORE = {"rootless", "rootless.bytecode"}


class BuildPy(build_py):
    """Also compile every module of the built tree into one file."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            write_pack(self.build_lib)


def write_pack(root: str) -> None:
    """Write the pack of the packages below a directory."""
    spec = importlib.util.spec_from_file_location(
        "rootless_bytecode", os.path.join(root, "rootless", "bytecode.py")
    )
    runtime = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(runtime)
    modules = {}
    for package in PACKAGES:
        for directory, names, files in os.walk(os.path.join(root, package)):
            names[:] = sorted(name for name in names if name != "__pycache__")
            for file in sorted(files):
                if file.endswith(".py"):
                    module = Module(root, os.path.join(directory, file))
                    if module.name not in _BEFORE:
                        modules[module.name] = module
    needs = {name: module.needs(modules) for name, module in modules.items()}
    # Modules are run after those that they need, so a circle (CycleError) cannot be packed.
    graphlib.TopologicalSorter(needs).prepare()
    codes = {name: module.code() for name, module in modules.items()}
    index = {
        name: (0, len(code), modules[name].is_package, needs[name]) for name, code in codes.items()
    }
    # The size of the index depends on the offsets in it only by their being small or not.
    start = runtime.HEADER_BYTES + len(marshal.dumps(index)) + 1024
    offset = start
    for name, code in codes.items():
        index[name] = (offset, *index[name][1:])
        offset += len(code)
    listed = marshal.dumps(index)
    with open(os.path.join(root, "rootless", runtime.FILE), "wb") as file:
        file.write((runtime.header(len(listed)) + listed).ljust(start, b"\0"))
        for code in codes.values():
            file.write(code)


class Module:
    """The source of one module."""

    def __init__(self, root: str, path: str) -> None:
        self._relative = os.path.relpath(path, root)
        parts = self._relative.removesuffix(".py").split(os.sep)
        self.is_package = parts[-1] == "__init__"
        # Interned: a name is then written once into the index.
        self.name = sys.intern(".".join(parts[:-1] if self.is_package else parts))
        with open(path, "rb") as file:
            self._source = file.read()

    def code(self) -> bytes:
        """Return its code (marshal) without what nothing reads at run time: half of it.

        That is docstrings, and the table of line numbers: with RPOD_DEBUG the source is run.
        """
        code = compile(self._source, self._relative, "exec", dont_inherit=True, optimize=2)
        return marshal.dumps(_without_lines(code))

    def needs(self, known: "Container[str]") -> tuple[str, ...]:
        """Return the known modules that it imports while it is run, in that order."""
        found = {}
        for statement in _run_statements(ast.parse(self._source).body):
            if isinstance(statement, ast.Import):
                names = [alias.name for alias in statement.names]
            elif isinstance(statement, ast.ImportFrom) and statement.module:
                origin = statement.module
                names = [origin, *(f"{origin}.{alias.name}" for alias in statement.names)]
            else:
                continue
            found.update(dict.fromkeys(sys.intern(name) for name in names if name in known))
        # A package's own modules need the package first: it is left to import them.
        inside = f"{self.name}."
        return tuple(name for name in found if not name.startswith(inside) and name != self.name)


def _run_statements(body: "list[ast.stmt]") -> "Iterator[ast.stmt]":
    """Yield the statements that are run when the module is, but for what only type checkers see."""
    for statement in body:
        if isinstance(statement, ast.If):
            if isinstance(statement.test, ast.Name) and statement.test.id == "TYPE_CHECKING":
                yield from _run_statements(statement.orelse)
            # Any other condition: what it guards is imported when it holds.
        else:
            yield statement


def _without_lines(code: "CodeType") -> "CodeType":
    """Replace the table of lines by one that says "no location" for eight instructions a byte.

    That is entry kind 15 of CPython's location table; without any entry `traceback` fails.
    """
    constants = (_without_lines(one) if hasattr(one, "co_code") else one for one in code.co_consts)
    instructions = len(code.co_code) // 2
    table = b"\xff" * (instructions // 8)
    if rest := instructions % 8:
        table += bytes([0xF8 | rest - 1])
    return code.replace(co_linetable=table, co_consts=tuple(constants))
