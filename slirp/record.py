"""NamedTuple without `typing` and without compiled source: what a short-lived command can afford.

`typing` costs 4 ms of a start and each NamedTuple 0.15 ms; these cost nothing and 0.02 ms. For the
type checker they *are* NamedTuples. The same stands in `storage.record`: neither package may import
the other, and each must load alone.
"""

from _collections import _tuplegetter  # type: ignore[import-not-found]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple
else:

    class _RecordType(type):
        """Turns the annotations of a class body into the fields of a tuple."""

        def __new__(mcs, name, bases, body):
            if not bases:
                return super().__new__(mcs, name, (tuple,), body)
            fields = tuple(body.get("__annotations__", ()))
            defaults = {field: body.pop(field) for field in fields if field in body}
            for position, field in enumerate(fields):
                body[field] = _tuplegetter(position, None)
            body["__slots__"] = ()
            body["_fields"] = fields
            body["_field_defaults"] = defaults
            return super().__new__(mcs, name, bases, body)

    class NamedTuple(metaclass=_RecordType):
        """Base of a record."""

        __slots__ = ()
        _fields = ()
        _field_defaults = {}  # noqa: RUF012 - never changed

        def __new__(cls, *args, **kwargs):
            fields = cls._fields
            if len(args) == len(fields) and not kwargs:
                return tuple.__new__(cls, args)
            if len(args) > len(fields):
                raise TypeError(f"{cls.__name__} takes {len(fields)} values, not {len(args)}")
            values = list(args)
            defaults = cls._field_defaults
            for field in fields[len(args) :]:
                if field in kwargs:
                    values.append(kwargs.pop(field))
                elif field in defaults:
                    values.append(defaults[field])
                else:
                    raise TypeError(f"{cls.__name__} needs a value for {field!r}")
            if kwargs:
                raise TypeError(f"{cls.__name__} has no field {next(iter(kwargs))!r}")
            return tuple.__new__(cls, values)

        def _asdict(self):
            return dict(zip(self._fields, self, strict=True))

        def _replace(self, /, **changes):
            values = [changes.pop(f, value) for f, value in zip(self._fields, self, strict=True)]
            if changes:
                raise ValueError(f"{type(self).__name__} has no field {next(iter(changes))!r}")
            return tuple.__new__(type(self), values)

        def __repr__(self):
            pairs = zip(self._fields, self, strict=True)
            return f"{type(self).__name__}({', '.join(f'{f}={v!r}' for f, v in pairs)})"

        def __getnewargs__(self):
            return tuple(self)


__all__ = ["NamedTuple"]
