"""The build step that adds `rootless/modules.pack` to a wheel (see `rootless.bytecode`)."""

import importlib.util
import marshal
import os

from setuptools.command.build_py import build_py

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
    codes = {}
    for package in PACKAGES:
        for directory, names, files in os.walk(os.path.join(root, package)):
            names[:] = sorted(name for name in names if name != "__pycache__")
            for file in sorted(files):
                if file.endswith(".py"):
                    name, is_package, code = _compile(root, os.path.join(directory, file))
                    if name not in _BEFORE:
                        codes[name] = (is_package, code)
    index = {name: (0, len(code), is_package) for name, (is_package, code) in codes.items()}
    # The size of the index depends on the offsets in it only by their being small or not.
    start = runtime.HEADER_BYTES + len(marshal.dumps(index)) + 1024
    offset = start
    for name, (is_package, code) in codes.items():
        index[name] = (offset, len(code), is_package)
        offset += len(code)
    listed = marshal.dumps(index)
    with open(os.path.join(root, "rootless", runtime.FILE), "wb") as file:
        file.write((runtime.header(len(listed)) + listed).ljust(start, b"\0"))
        for _, code in codes.values():
            file.write(code)


def _compile(root: str, path: str) -> tuple[str, bool, bytes]:
    relative = os.path.relpath(path, root)
    parts = relative.removesuffix(".py").split(os.sep)
    is_package = parts[-1] == "__init__"
    with open(path, "rb") as file:
        # Without docstrings, which is a third of it; nothing reads them at run time.
        code = compile(file.read(), relative, "exec", dont_inherit=True, optimize=2)
    return ".".join(parts[:-1] if is_package else parts), is_package, marshal.dumps(code)
