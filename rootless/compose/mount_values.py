"""What a service mounts, publishes and is given: short forms become the long ones.

Compose Specification: ports, volumes, secrets and configs, devices, env_file of a service.
"""

from rootless.compose.readers import (
    At,
    anything,
    choice,
    count,
    flag,
    integer,
    mapping,
    record,
    scalar,
    size,
    text,
)

_BIND_WORDS = ("rprivate", "private", "rshared", "shared", "rslave", "slave")
_LIMIT_PORTS = 2000

_PORT = record(
    {
        "mode": choice("host", "ingress"),
        "host_ip": text,
        "target": scalar,
        "published": scalar,
        "protocol": text,
        "app_protocol": text,
        "name": text,
    }
)


def ports(raw: object, at: At) -> list[object]:
    """Read the ports of a service; ranges become one entry for each port."""
    if not isinstance(raw, list):
        raise at.wrong("must be a list")
    found: list[object] = []
    for i, one in enumerate(raw):
        found += _long_port(one, at / i) if isinstance(one, dict) else _short_port(one, at / i)
    return found


def _long_port(raw: object, at: At) -> list[object]:
    entry = _PORT(raw, at)
    assert isinstance(entry, dict)
    if "target" not in entry:
        raise at.wrong("target is missing")
    entry["target"] = _port_number(str(entry["target"]), at / "target")
    if "published" in entry:
        _range(str(entry["published"]), at / "published")
    return [{"mode": "ingress", "protocol": "tcp", **entry}]


def _short_port(raw: object, at: At) -> list[object]:
    """Read [[IP:]PUBLISHED:]TARGET[/PROTOCOL]."""
    word = scalar(raw, at)
    rest, _, protocol = word.partition("/")
    protocol = protocol or "tcp"
    if protocol not in ("tcp", "udp"):
        raise at.wrong(f"{word!r}: the protocol is tcp or udp")
    rest, _, target = rest.rpartition(":")
    address, published = "", rest
    if rest.startswith("["):
        address, bracket, published = rest[1:].partition("]")
        if not bracket or not published.startswith(":"):
            raise at.wrong(f"{word!r}: no port of the host after the address")
        published = published[1:]
    elif ":" in rest:
        address, _, published = rest.rpartition(":")
    targets = _range(target, at)
    outside = _range(published, at) if published else []
    if len(targets) > 1 and outside and len(outside) != len(targets):
        raise at.wrong(f"{word!r}: the ranges have different lengths")
    base: dict[str, object] = {"mode": "ingress", "protocol": protocol}
    if address:
        base["host_ip"] = address
    if len(targets) == 1 and len(outside) > 1:
        return [{**base, "target": targets[0], "published": published}]
    if not outside:
        return [{**base, "target": target} for target in targets]
    return [
        {**base, "target": inside, "published": str(port)}
        for inside, port in zip(targets, outside, strict=True)
    ]


def _range(word: str, at: At) -> list[int]:
    first, dash, last = word.partition("-")
    low = _port_number(first, at)
    high = _port_number(last, at) if dash else low
    if high < low or high - low > _LIMIT_PORTS:
        raise at.wrong(f"{word!r} is no range of ports")
    return list(range(low, high + 1))


def _port_number(word: str, at: At) -> int:
    if not (word.isascii() and word.isdecimal()) or not 0 <= int(word[:6]) < 65536:
        raise at.wrong(f"invalid port {word!r}")
    return int(word)


_MOUNT = record(
    {
        "type": choice("bind", "volume", "tmpfs", "image", "npipe", "cluster"),
        "source": text,
        "target": text,
        "read_only": flag,
        "consistency": text,
        "bind": record(
            {
                "propagation": choice(*_BIND_WORDS),
                "create_host_path": flag,
                "selinux": choice("z", "Z"),
                "recursive": text,
            }
        ),
        "volume": record({"nocopy": flag, "subpath": text, "labels": anything}),
        "tmpfs": record({"size": size, "mode": integer}),
        "image": record({"subpath": text}),
    }
)


def volumes(raw: object, at: At) -> list[object]:
    """Read the mounts of a service."""
    if not isinstance(raw, list):
        raise at.wrong("must be a list")
    return [
        _long_mount(one, at / i) if isinstance(one, dict) else short_mount(one, at / i)
        for i, one in enumerate(raw)
    ]


def _long_mount(raw: object, at: At) -> dict[str, object]:
    entry = _MOUNT(raw, at)
    assert isinstance(entry, dict)
    if "type" not in entry:
        raise at.wrong("type is required")
    if entry["type"] in ("npipe", "cluster"):
        raise at.wrong(f"type {entry['type']} cannot be used here: it is no mount of a Linux host")
    if "target" not in entry:
        raise at.wrong("target is missing")
    if entry["type"] == "bind":
        if "source" not in entry:
            raise at.wrong("source is missing")
        entry["source"] = at.absolute(str(entry["source"]))
    return entry


def short_mount(raw: object, at: At) -> dict[str, object]:
    """Read [SOURCE:]TARGET[:OPTIONS]; a source with a slash, dot or tilde is a path."""
    word = text(raw, at)
    fields = word.split(":")
    if len(fields) > 3 or not all(fields):
        raise at.wrong(f"invalid spec: {word!r}: [SOURCE:]TARGET[:OPTIONS] is expected")
    if len(fields) == 1:
        return {"type": "volume", "target": fields[0]}
    source, target = fields[0], fields[1]
    is_path = source.startswith(("/", ".", "~"))
    entry: dict[str, object] = {"type": "bind" if is_path else "volume"}
    entry |= {"source": at.absolute(source) if is_path else source, "target": target}
    details: dict[str, object] = {"create_host_path": True} if is_path else {}
    for option in fields[2].split(",") if len(fields) == 3 else ():
        if option == "ro":
            entry["read_only"] = True
        elif option in ("z", "Z"):
            details["selinux"] = option
        elif option in _BIND_WORDS:
            details["propagation"] = option
        elif option == "nocopy":
            details["nocopy"] = True
        elif option not in ("rw", "consistent", "cached", "delegated"):
            raise at.wrong(f"invalid spec: {word!r}: unknown option {option!r}")
    if not is_path:
        details.pop("selinux", None)
    if details:
        entry["bind" if is_path else "volume"] = details
    return entry


_GIVEN = record({"source": text, "target": text, "uid": scalar, "gid": scalar, "mode": integer})


def given_files(raw: object, at: At) -> list[object]:
    """Read the secrets or configs of a service."""
    if not isinstance(raw, list):
        raise at.wrong("must be a list")
    found: list[object] = []
    for i, one in enumerate(raw):
        entry = {"source": one} if isinstance(one, str) else _GIVEN(_octal(one), at / i)
        assert isinstance(entry, dict)
        if "source" not in entry:
            raise (at / i).wrong("source is missing")
        found.append(entry)
    return found


def _octal(raw: object) -> object:
    """A mode in quotes is octal, as everywhere; a number has been read as YAML says."""
    if isinstance(raw, dict) and isinstance(raw.get("mode"), str):
        mode = str(raw["mode"])
        if mode.removeprefix("0o").isdecimal() and not set(mode) & {"8", "9"}:
            return {**raw, "mode": int(mode.removeprefix("0o"), 8)}
    return raw


_DEVICE = record({"source": text, "target": text, "permissions": text})


def devices(raw: object, at: At) -> list[object]:
    """Read devices: SOURCE[:TARGET[:PERMISSIONS]], or the name of one by CDI."""
    if not isinstance(raw, list):
        raise at.wrong("must be a list")
    found: list[object] = []
    for i, one in enumerate(raw):
        if isinstance(one, dict):
            entry = _DEVICE(one, at / i)
            assert isinstance(entry, dict)
            if "source" not in entry:
                raise (at / i).wrong("source is missing")
            parts = [entry["source"], entry.get("target", entry["source"])]
            found.append(":".join(map(str, [*parts, entry.get("permissions", "rwm")])))
        else:
            found.append(text(one, at / i))
    return found


_ENV_FILE = record({"path": text, "required": flag, "format": choice("raw", "")})


def env_files(raw: object, at: At) -> list[object]:
    """Read the files of variables of a service."""
    found: list[object] = []
    for i, one in enumerate(
        [raw] if isinstance(raw, str) else raw if isinstance(raw, list) else []
    ):
        entry = {"path": one} if isinstance(one, str) else _ENV_FILE(one, at / i)
        assert isinstance(entry, dict)
        if "path" not in entry:
            raise (at / i).wrong("path is missing")
        found.append({"required": True, **entry, "path": at.absolute(str(entry["path"]))})
    if not isinstance(raw, str | list):
        raise at.wrong("must be a list")
    return found


def ulimits(raw: object, at: At) -> dict[str, object]:
    """Read limits: a number, or soft and hard."""
    read_both = record({"soft": integer, "hard": integer})
    found: dict[str, object] = {}
    for name, one in mapping(raw, at).items():
        if not isinstance(one, dict):
            number = integer(one, at / name)
            found[name] = {"soft": number, "hard": number}
            continue
        both = read_both(one, at / name)
        assert isinstance(both, dict)
        if "soft" not in both or "hard" not in both:
            raise (at / name).wrong("soft and hard are required")
        found[name] = both
    return found


def host_entries(raw: object, at: At) -> dict[str, list[str]]:
    """Read extra_hosts: NAME=ADDRESS or NAME:ADDRESS as a list, or a mapping to one or several."""
    found: dict[str, list[str]] = {}
    if isinstance(raw, dict):
        for name, one in raw.items():
            addresses = one if isinstance(one, list) else [one]
            found[name] = [text(a, at / name).strip("[]") for a in addresses]
        return found
    if not isinstance(raw, list):
        raise at.wrong("must be a mapping")
    for i, one in enumerate(raw):
        word = text(one, at / i)
        name, separator, address = word.partition("=" if "=" in word else ":")
        if not separator or not name or not address:
            raise (at / i).wrong(f"{word!r}: NAME=ADDRESS is expected")
        found.setdefault(name, []).append(address.strip("[]"))
    return found


def blkio(raw: object, at: At) -> object:
    """Read blkio_config."""
    rates = record({"path": text, "rate": size})
    weights = record({"path": text, "weight": count})

    def many(read: object) -> "object":
        from rootless.compose.readers import list_of

        return list_of(read)  # type: ignore[arg-type]  # one of the two above

    keys: dict[str, object] = {"weight": count, "weight_device": many(weights)}
    for name in ("read_bps", "write_bps", "read_iops", "write_iops"):
        keys[f"device_{name}"] = many(rates)
    return record(keys)(raw, at)  # type: ignore[arg-type]  # all are readers
