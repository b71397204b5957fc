"""Records that a repair makes anew, from what else the store knows."""

import os

from storage import lightjson as json
from storage.blobs import read_blob
from storage.check import IMAGE, VIEW, Problem, own_entries, read_view
from storage.digest import is_digest
from storage.errors import DiskFull, StorageError, StoreUnusable
from storage.files import Lock, read_file
from storage.images import REF_NAME, describe_image, read_entry, record_entry, write_index
from storage.layout import Layout
from storage.lists import describe_list
from storage.names import name_path, set_name
from storage.oci.checks import as_object, get_text


def rebuild(layout: Layout, problem: Problem) -> bool:
    """Make a record of an image or of a name anew, from what else the store knows.

    The manifest tells all that is in the record of an image; `index.json`, written for other
    tools, has the names. False when it cannot be done. Raises StoreUnusable, DiskFull.
    """
    with Lock(layout.lock("images"), shared=True):
        if problem.kind == IMAGE:
            digest = f"sha256:{os.path.basename(problem.name).removesuffix('.json')}"
            return _rebuild_image(layout, digest)
        if problem.kind == VIEW:
            write_index(layout)
            return True
        name, digest = _name_in_view(layout, problem.name)
        if not digest or not _rebuild_image(layout, digest):
            return False
        with Lock(layout.lock("names")):
            set_name(layout, name, digest)
    return True


def _rebuild_image(layout: Layout, digest: str) -> bool:
    if read_entry(layout, digest) is not None:
        return True
    try:
        document = as_object(json.loads(read_blob(layout, digest)), digest)
        describe = describe_list if "manifests" in document else describe_image
        record_entry(layout, describe(layout, digest), ())
    except (StoreUnusable, DiskFull):
        raise
    except (StorageError, ValueError):
        return False
    return True


def _name_in_view(layout: Layout, path: str) -> tuple[str, str]:
    """Return the name whose file this is, and the manifest that it stands for by `index.json`.

    What the record itself says comes first. Empty texts when neither knows.
    """
    try:
        fields = as_object(json.loads(read_file(path)), path)
        name, digest = get_text(fields, "name", path), get_text(fields, "manifest_digest", path)
        if is_digest(digest):
            return (name, digest) if name_path(layout, name) == path else ("", "")
    except (OSError, ValueError, StorageError):
        pass
    views = {one.view_digest: one.manifest_digest for one in own_entries(layout)}
    try:
        view = read_view(layout)
    except (OSError, ValueError, StorageError):
        return "", ""
    for entry in view.manifests:
        name = (entry.annotations or {}).get(REF_NAME, "")
        if name and name_path(layout, name) == path and entry.digest in views:
            return name, views[entry.digest]
    return "", ""
