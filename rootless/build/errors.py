"""What can go wrong with a build.

RootlessError
+-- BuildError                  125: something is wrong with an instruction; it names file and line
    +-- StepFailed              the exit code of the command of a RUN
"""

from rootless.errors import RootlessError


class BuildError(RootlessError):
    """A failure at one place of a Containerfile; `excerpt` shows it, with a caret below."""

    def __init__(self, message: str, *, remedy: str = "", excerpt: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.excerpt = excerpt


class StepFailed(BuildError):
    """The command of a RUN ended with something else than 0."""

    def __init__(
        self, message: str, *, remedy: str = "", excerpt: str = "", exit_code: int = 1
    ) -> None:
        super().__init__(message, remedy=remedy, excerpt=excerpt)
        self.exit_code = exit_code
