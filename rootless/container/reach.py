"""The way to a path of the host: path_resolution(7)."""

import os


def first_blocked(path: str, uid: int) -> str:
    """Return the first directory on the way to `path` that the caller cannot search, or ""."""
    if uid == 0:
        return ""
    directory = "/"
    # A link's own directories have to be searched as well, but rarely are what blocks.
    for name in os.path.realpath(path).strip("/").split("/"):
        if not os.path.isdir(directory):
            return ""
        if not os.access(directory, os.X_OK, effective_ids=True):
            return directory
        directory = os.path.join(directory, name)
    return ""
