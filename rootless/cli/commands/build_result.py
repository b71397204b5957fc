"""The options of `build` that say what becomes of the result."""

import os
import sys

from rootless.build.finish import source_date_epoch
from rootless.build.outputs import Output, writes_to_stdout
from rootless.build.request import BuildRequest
from rootless.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from rootless.cli.invocation import Invocation


def with_result(request: BuildRequest, invocation: "Invocation") -> BuildRequest:
    """Return the request with what its result is to be. Raises UsageError."""
    timestamp = invocation.text("timestamp")
    epoch_text = invocation.text("source_date_epoch")
    if timestamp and epoch_text:
        raise UsageError("--timestamp and --source-date-epoch do not go together")
    if timestamp and (not timestamp.isascii() or not timestamp.isdigit() or len(timestamp) > 11):
        raise UsageError(f"--timestamp {timestamp[:40]}: seconds since 1970 are expected")
    for text in request.annotations:
        if not text.partition("=")[1] or text.startswith("="):
            raise UsageError(f"--annotation {text[:200]}: NAME=VALUE is expected")
    moment_s = int(timestamp) if timestamp else source_date_epoch(request, epoch_text)
    return request._replace(
        timestamp_s=moment_s,
        exact_times=bool(timestamp),
        rewrite_times=bool(timestamp) or invocation.flag("rewrite_timestamp"),
        manifest=invocation.text("manifest"),
        iidfile=invocation.text("iidfile"),
        metadata_file=invocation.text("metadata_file"),
        squash=invocation.flag("squash"),
        squash_all=invocation.flag("squash_all"),
        layers=invocation.flag("layers"),
        outputs=_outputs(invocation),
        cache_from=invocation.texts("cache_from"),
        cache_to=invocation.texts("cache_to"),
    )


def _outputs(invocation: "Invocation") -> tuple[str, ...]:
    """Return --output, and what --push and --load stand for."""
    texts = invocation.texts("output")
    for name, kind in (("push", "registry"), ("load", "image")):
        text = f"type={kind}"
        if invocation.flag(name) and text not in texts:
            texts += (text,)
    return texts


class StandardOutput:
    """Standard output, kept for the result where one of the outputs goes there.

    Everything else that is shown goes to standard error then.
    """

    def __init__(self, outputs: "Sequence[Output]") -> None:
        self._kept = -1
        if any(writes_to_stdout(output) for output in outputs):
            self._kept = os.dup(1)
            os.dup2(2, 1)

    def __enter__(self) -> "StandardOutput":
        if self._kept >= 0:
            sys.stdout.flush()
            os.dup2(self._kept, 1)
        return self

    def __exit__(self, *_: object) -> None:
        if self._kept >= 0:
            os.dup2(2, 1)
