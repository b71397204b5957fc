"""What a stage has come to, as it crosses the pipe from the process that has built it."""

from rootless.build.model import Built, Layer
from storage.record import NamedTuple


class Result(NamedTuple):
    """`arguments` are what a child stage inherits; `executed` counts the steps that ran.

    `base_layers` counts the layers that come from an image, not from this build.
    """

    built: Built
    arguments: dict[str, str | None]
    base_layers: int = 0
    executed: int = 0

    def to_json(self) -> dict[str, object]:
        """Return JSON values."""
        built = self.built._asdict()
        built["layers"] = [list(layer) for layer in self.built.layers]
        return {**self._asdict(), "built": built}

    @classmethod
    def from_json(cls, raw: dict[str, object]) -> "Result":
        """Take what `to_json` returned."""
        built, arguments = raw["built"], raw["arguments"]
        assert isinstance(built, dict)
        assert isinstance(arguments, dict)
        executed, base_layers = raw["executed"], raw["base_layers"]
        assert isinstance(executed, int)
        assert isinstance(base_layers, int)
        built["layers"] = tuple(Layer._make(layer) for layer in built["layers"])
        built["history"] = tuple(built["history"])
        return cls(Built(**built), arguments, base_layers, executed)


EMPTY = Built("", (), {}, ())


def diff_ids(built: Built) -> tuple[str, ...]:
    """Return the digests of the layers' archives, the lowest first."""
    return tuple(layer.diff_id for layer in built.layers)
