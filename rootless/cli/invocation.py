"""What one command line asks for, with typed access to its values."""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.cli.table import Command
    from rootless.host.paths import Host


class Invocation:
    """A command, the values that were given, and the global options that were given."""

    __slots__ = ("_host", "command", "given", "settings")

    def __init__(
        self, command: "Command", given: dict[str, object], settings: dict[str, object]
    ) -> None:
        self.command = command
        self.given = given
        self.settings = settings
        self._host: Host | None = None

    def value(self, name: str) -> object:
        """Return what was given for an option's field or an argument, else its default."""
        if name in self.given:
            return self.given[name]
        for option in self.command.options:
            if option.field == name:
                return option.default
        for argument in self.command.arguments:
            if argument.name == name:
                return None if argument.most == 1 else ()
        raise LookupError(f"{self.command.name} has no {name}")

    def flag(self, name: str) -> bool:
        """Return a switch; one without a default counts as off."""
        return bool(self.value(name))

    def text(self, name: str) -> str:
        """Return a word, the empty string when there is none."""
        value = self.value(name)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise TypeError(f"{name} is {value!r}")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """Return the words of a repeatable option or argument."""
        value = self.value(name)
        if not isinstance(value, tuple):
            raise TypeError(f"{name} is {value!r}")
        return value

    def number(self, name: str) -> int | None:
        """Return a number, None when there is none."""
        value = self.value(name)
        if value is not None and not isinstance(value, int):
            raise TypeError(f"{name} is {value!r}")
        return value

    def host(self, *, prepare: bool = True) -> "Host":
        """Open the store and the run root that the global options name, once.

        Without `prepare` nothing is made, and what cannot be used is no error yet.

        Raises StoreUnusable, HostError, UsageError.
        """
        if self._host is None:
            from rootless.host.paths import open_host

            environ = dict(os.environ) if "storage_driver" in self.settings else os.environ
            if driver := self.settings.get("storage_driver"):
                environ["RPOD_STORAGE_DRIVER"] = "copy" if driver == "vfs" else str(driver)
            if manager := self.settings.get("cgroup_manager"):
                environ = {**environ, "RPOD_CGROUP_MANAGER": str(manager)}
            self._host = open_host(
                self._setting("root"), self._setting("runroot"), environ, prepare=prepare
            )
        return self._host

    def like(self, name: str, given: dict[str, object]) -> "Invocation":
        """Return an invocation of another command, on the same host. Raises LookupError."""
        from rootless.cli.table import find_command

        command = find_command(name)
        if command is None:
            raise LookupError(name)
        other = Invocation(command, given, self.settings)
        other._host = self._host
        return other

    @property
    def opened_host(self) -> "Host | None":
        """The host if a handler has opened it: its notes are for the user."""
        return self._host

    def _setting(self, name: str) -> str | None:
        value = self.settings.get(name)
        return None if value is None else str(value)
