"""JSON without the `json` package: its C scanner and encoder, and not `re`, which costs 5 ms.

The accelerators are what `json` itself runs on; where an interpreter lacks them, `json` serves.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from json import dumps, loads
else:
    try:
        from _json import encode_basestring_ascii, make_encoder, make_scanner
    except ImportError:
        from json import dumps, loads
    else:

        class _Context:
            """What the scanner asks for; the values are those of json.JSONDecoder()."""

            strict = True
            object_hook = None
            object_pairs_hook = None
            parse_float = float
            parse_int = int
            memo: dict[str, str] = {}  # noqa: RUF012 - the scanner's own
            parse_constant = {
                "-Infinity": float("-inf"),
                "Infinity": float("inf"),
                "NaN": float("nan"),
            }.__getitem__

        _scan = make_scanner(_Context)
        _SPACE = " \t\n\r"

        def loads(text):
            """Return the value of a JSON text (str, or UTF-8 bytes). Raises ValueError."""
            if not isinstance(text, str):
                text = text.decode("utf-8")
            start, length = 0, len(text)
            while start < length and text[start] in _SPACE:
                start += 1
            try:
                value, end = _scan(text, start)
            except StopIteration as error:
                raise ValueError(f"no JSON value at character {error.value}") from None
            except RecursionError:
                raise ValueError("nested too deeply") from None
            except SystemError:
                # The scanner raises json.decoder.JSONDecodeError if that is loaded, else nothing.
                from json import loads as explain

                return explain(text)
            if text[end:].strip(_SPACE):
                raise ValueError(f"more than one JSON value: character {end}")
            return value

        def _refuse(value):
            raise TypeError(f"{type(value).__name__} is no JSON value")

        def dumps(value):
            """Return the JSON text of a value, as json.dumps does."""
            encode = make_encoder(
                {}, _refuse, encode_basestring_ascii, None, ": ", ", ", False, False, True
            )
            return "".join(encode(value, 0))


__all__ = ["dumps", "loads"]
