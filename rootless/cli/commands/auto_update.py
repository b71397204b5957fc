"""auto-update."""

from rootless.cli.output import Row, Table, print_formatted
from rootless.cli.reporting import report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.cli.invocation import Invocation
    from rootless.container.auto_update import Update

_FIELDS = ("Unit", "Container", "ContainerName", "ContainerID", "Image", "Policy", "Updated")


def auto_update(invocation: "Invocation") -> int:
    """Restart the services whose images have changed; 125 when one of them failed."""
    from rootless.container.auto_update import auto_update as update_all
    from rootless.images import PullSettings

    verify = invocation.value("tls_verify")
    settings = PullSettings(
        tls_verify=None if verify is None else bool(verify),
        authfile=invocation.text("authfile") or None,
    )
    failures: list[Exception] = []

    def fail(error: Exception) -> None:
        report(error)
        failures.append(error)

    done = update_all(
        invocation.host(),
        settings,
        rollback=invocation.flag("rollback"),
        dry_run=invocation.flag("dry_run"),
        on_failure=fail,
    )
    rows = [_row(update) for update in done]
    if text := invocation.text("format"):
        print_formatted(rows, text, headings={}, valid=_FIELDS, indent=4)
    elif rows:
        keys = ("Unit", "Container", "Image", "Policy", "Updated")
        lines = [tuple(str(row[key]) for key in keys) for row in rows]
        Table(*((key.upper(), False) for key in keys)).print(lines, noheading=False)
    return 125 if failures else 0


def _row(update: "Update") -> Row:
    fields: dict[str, object] = {
        "Unit": update.unit,
        "Container": f"{update.container_id[:12]} ({update.container_name})",
        "ContainerName": update.container_name,
        "ContainerID": update.container_id,
        "Image": update.image,
        "Policy": update.policy,
        "Updated": update.updated,
    }
    return Row(fields, fields)
