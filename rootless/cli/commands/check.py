"""system check: is the store what it was?"""

from rootless.cli.output import write, write_json
from rootless.cli.progress import Reporter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.checking import Finding
    from rootless.cli.invocation import Invocation


def check(invocation: "Invocation") -> int:
    """Verify the store; 125 when something is broken and has not been mended."""
    from rootless.checking import check as verify

    repair = invocation.flag("repair") or invocation.flag("force")
    host = invocation.host()
    with Reporter(quiet=True) as on_event:
        findings = verify(
            host,
            quick=invocation.flag("quick"),
            repair=repair,
            force=invocation.flag("force"),
            on_event=on_event,
        )
    if repair and findings:
        from rootless.images import collect

        collect(host)
    if invocation.text("format") == "json":
        write_json([_document(one) for one in findings], indent=2)
    else:
        write("".join(_line(one) for one in findings))
    return 125 if any(not one.done for one in findings) else 0


def _line(one: "Finding") -> str:
    problem = one.problem
    images = f" (of {', '.join(problem.images)})" if problem.images else ""
    done = f": {one.done}" if one.done else ""
    return f"Damage detected: {problem.kind} {problem.name}{images}: {problem.what}{done}\n"


def _document(one: "Finding") -> dict[str, object]:
    return {**one.problem._asdict(), "images": list(one.problem.images), "done": one.done}
