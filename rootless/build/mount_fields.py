"""The fields that each type of `RUN --mount` has (BuildKit, Dockerfile reference).

z, Z and relabel are for SELinux, which is not used (docs/security.md): they change nothing.
"""

FIELDS: dict[str, tuple[str, ...]] = {
    "bind": (
        "target", "dst", "destination", "source", "src", "from", "rw", "readwrite", "ro",
        "readonly", "z", "Z", "relabel",
    ),
    "cache": (
        "id", "target", "dst", "destination", "ro", "readonly", "rw", "readwrite", "sharing",
        "from", "source", "src", "mode", "uid", "gid", "z", "Z",
    ),
    "tmpfs": ("target", "dst", "destination", "size", "mode"),
    "secret": ("id", "target", "dst", "destination", "required", "mode", "uid", "gid", "env"),
    "ssh": ("id", "target", "dst", "destination", "required", "mode", "uid", "gid"),
}  # fmt: skip
TARGETS = ("target", "dst", "destination")
SOURCES = ("source", "src")
