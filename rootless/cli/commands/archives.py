"""save: images into files."""

import os

from rootless import archives
from rootless.cli.progress import Reporter
from rootless.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.cli.invocation import Invocation

_DIRECTORIES = ("oci-dir", "docker-dir")


def save(invocation: "Invocation") -> int:
    """Write images to an archive, a directory, or standard output."""
    path = invocation.text("output")
    form = invocation.text("format")
    names = invocation.texts("images")
    if not path and form in _DIRECTORIES:
        raise UsageError(f"--format {form} needs a directory", remedy="name it with --output DIR")
    if form == "docker-dir" and len(names) > 1:
        raise UsageError("--format docker-dir holds one image", remedy="save them one by one")
    compress = invocation.flag("compress")
    if compress and form != "docker-dir":
        raise UsageError("--compress can only be set when --format is 'docker-dir'")
    if not path and os.isatty(1):
        raise UsageError("refusing to save to terminal. Use -o flag or redirect")
    with Reporter(quiet=invocation.flag("quiet")) as on_event:
        archives.save(
            invocation.host(), names, path or 1, form=form, compress=compress, on_event=on_event
        )
    return 0
