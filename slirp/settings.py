"""The grammar of --network (podman-run(1), --network)."""

from slirp.errors import InvalidNetwork
from slirp.model import NetworkSettings, SlirpOptions

_MODES = "slirp4netns[:OPTIONS], pasta[:OPTIONS], none, host, container:NAME or ns:PATH"
_TRUE = ("true", "1", "t", "True", "TRUE", "T")
_FALSE = ("false", "0", "f", "False", "FALSE", "F")


def parse_network(text: str, default: str = "slirp4netns") -> NetworkSettings:
    """Return what --network asks for; "", "default" and "private" are `default`.

    Raises InvalidNetwork.
    """
    if text in ("", "default", "private"):
        text = default
    mode, _, rest = text.partition(":")
    if mode == "slirp4netns":
        return NetworkSettings("slirp4netns", slirp=parse_slirp_options(rest))
    if mode == "pasta":
        return NetworkSettings("pasta", pasta=parse_pasta_options(rest))
    if mode in ("container", "ns"):
        if not rest:
            raise InvalidNetwork(f"--network {text}: {mode}: needs a name after the colon")
        return NetworkSettings(mode, target=rest)
    if mode in ("none", "host"):
        if rest:
            raise InvalidNetwork(f"--network {text}: {mode} takes no options")
        return NetworkSettings(mode)
    raise InvalidNetwork(f"--network {text}: network not found", remedy=f"use {_MODES}")


def parse_slirp_options(text: str) -> SlirpOptions:
    """Return the options after `slirp4netns:`, separated by commas.

    Raises InvalidNetwork naming the option.
    """
    options = SlirpOptions()
    for item in text.split(",") if text else ():
        key, separator, value = item.partition("=")
        if not separator:
            raise InvalidNetwork(f"--network slirp4netns: {item!r} is not OPTION=VALUE")
        if key == "allow_host_loopback":
            options = options._replace(allow_host_loopback=_boolean(key, value))
        elif key == "enable_ipv6":
            options = options._replace(enable_ipv6=_boolean(key, value))
        elif key == "mtu":
            options = options._replace(mtu=_mtu(value))
        elif key == "cidr":
            options = options._replace(cidr=_cidr(value))
        elif key == "outbound_addr":
            options = options._replace(outbound_addr=value)
        elif key == "outbound_addr6":
            options = options._replace(outbound_addr6=value)
        elif key == "port_handler":
            _check_one_of(key, value, ("slirp4netns", "rootlesskit"))
            options = options._replace(port_handler=value)
        else:
            known = ", ".join(SlirpOptions._fields)
            raise InvalidNetwork(
                f"--network slirp4netns: unknown option {key!r}", remedy=f"known: {known}"
            )
    if options.outbound_addr6 and options.enable_ipv6 is False:
        raise InvalidNetwork("--network slirp4netns: outbound_addr6 needs enable_ipv6=true")
    return options


def parse_pasta_options(text: str) -> tuple[str, ...]:
    """Return pasta's own arguments, separated by commas as podman has them.

    Raises InvalidNetwork for those that rpod must set itself.
    """
    arguments = tuple(item for item in text.split(",") if item)
    for argument in arguments:
        name = argument.partition("=")[0]
        if name in ("-f", "--foreground", "-P", "--pid", "--netns", "--userns", "--runas"):
            raise InvalidNetwork(f"--network pasta: {name} is set by rpod")
    return arguments


def _boolean(key: str, value: str) -> bool:
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise InvalidNetwork(f"--network slirp4netns: {key}={value}: must be true or false")


def _mtu(value: str) -> int:
    # slirp4netns(1): at most 65521; RFC 791: every network carries 68 bytes.
    if not (value.isascii() and value.isdecimal() and 68 <= int(value) <= 65521):
        raise InvalidNetwork(f"--network slirp4netns: mtu={value}: must be 68 to 65521")
    return int(value)


def _cidr(value: str) -> str:
    address, _, length = value.partition("/")
    parts = address.split(".")
    numbers_ok = len(parts) == 4 and all(
        part.isascii() and part.isdecimal() and int(part) <= 255 for part in parts
    )
    # slirp4netns gives the container network + 100, so 25 bits are the longest prefix.
    length_ok = length.isascii() and length.isdecimal() and 1 <= int(length) <= 25
    if not (numbers_ok and length_ok):
        raise InvalidNetwork(
            f"--network slirp4netns: cidr={value}: must be an IPv4 network of at most 25 bits, "
            "such as 10.0.2.0/24"
        )
    return value


def _check_one_of(key: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InvalidNetwork(
            f"--network slirp4netns: {key}={value}: must be {' or '.join(allowed)}"
        )
