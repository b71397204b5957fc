"""What `build --check` shows."""

from rootless.build.checking import check_sources
from rootless.build.checks import settings
from rootless.build.engine import parse_sources
from rootless.build.errors import BuildError
from rootless.cli.output import write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.build.contexts import Opened
    from rootless.build.request import BuildRequest

_RULE_WIDTH = 20


def show_findings(request: "BuildRequest", opened: "Opened") -> int:
    """Print every finding with its lines; return 1 when there are any. Raises BuildError."""
    file = parse_sources(opened).file
    findings = check_sources(request, opened)
    if not findings:
        write("Check complete, no warnings found.\n")
        return 0
    many = "1 warning has" if len(findings) == 1 else f"{len(findings)} warnings have"
    write(f"Check complete, {many} been found!\n")
    for finding in findings:
        rule = "-" * _RULE_WIDTH
        write(
            f"\nWARNING: {finding.rule}\n{finding.message}\n{file.name}:{finding.range.first}\n"
            f"{rule}\n{file.excerpt(finding.range)}\n{rule}\n"
        )
    return 1


def refuse_findings(request: "BuildRequest", opened: "Opened") -> None:
    """Stop a build whose Containerfile says `# check=error=true`. Raises BuildError."""
    parsed = parse_sources(opened)
    if not settings(parsed)[1]:
        return
    for finding in check_sources(request, opened):
        raise BuildError(
            f"{parsed.file.name}:{finding.range.first}: {finding.rule}: {finding.message}",
            remedy="`rpod build --check` shows all; # check=skip=RULE leaves a rule out",
            excerpt=parsed.file.excerpt(finding.range),
        )
