"""What an injection changes in a container that is about to be made."""


class Injection:
    """Edits of a container: variables, (source, target, options, type), (source, path), links.

    `links` are (what it points to, path); `library_path` are directories that the loader looks in.
    """

    __slots__ = ("devices", "env", "library_path", "links", "mounts", "name", "notes")

    def __init__(self, name: str) -> None:
        self.name = name
        self.env: dict[str, str] = {}
        self.mounts: list[tuple[str, str, tuple[str, ...], str]] = []
        self.devices: list[tuple[str, str]] = []
        self.links: list[tuple[str, str]] = []
        self.library_path: list[str] = []
        self.notes: list[str] = []
