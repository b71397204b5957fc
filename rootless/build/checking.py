"""The build checks for what a command line names."""

from rootless.build.checks import Finding, check
from rootless.build.contexts import Opened
from rootless.build.engine import parse_sources
from rootless.build.errors import BuildError
from rootless.build.parser import Parsed
from rootless.build.request import BuildRequest
from rootless.build.scope import GlobalArguments, Platforms
from rootless.errors import RootlessError
from storage.registry.platform import host_platform, parse_platform


def check_sources(request: BuildRequest, opened: Opened) -> list[Finding]:
    """Return what is doubtful in the Containerfiles. Raises BuildError, UsageError."""
    parsed, arguments = read_sources(request, opened)
    return check(parsed, arguments, opened.context.leaves_out)


def read_sources(request: BuildRequest, opened: Opened) -> tuple[Parsed, GlobalArguments]:
    """Return the Containerfiles and the arguments before their first FROM.

    Raises BuildError, UsageError.
    """
    parsed = parse_sources(opened)
    own = str(host_platform())
    wanted = request.platforms[0] if request.platforms else own
    arguments = GlobalArguments(
        request.build_args, Platforms(str(parse_platform(wanted)), own).arguments(request.target)
    )
    try:
        arguments.declare(parsed.arguments, parsed.escape)
    except RootlessError as error:
        raise BuildError(f"{parsed.file.name}: {error.message}", remedy=error.remedy) from error
    return parsed, arguments
