"""Names of containers: the grammar, and made-up ones for those that get none."""

import os

from rootless.errors import UsageError

_ADJECTIVES_TEXT = (
    "agile amber ample apt arctic azure balmy bold brave brief bright brisk calm candid careful "
    "clever coastal cosmic cozy crisp curious daring dapper deft eager early earnest easy "
    "elegant fair fancy fearless fleet fluent fond frank free fresh frosty gentle glad golden "
    "grand happy hardy hearty honest humble jolly keen kind lively loyal lucid lucky mellow "
    "merry mild modest neat nimble noble novel patient placid plucky polite prime proud quick "
    "quiet rapid ready robust rosy sage serene sharp silent sleek smooth snug solid spry steady "
    "stellar still sunny swift tidy tranquil trusty upbeat vivid warm wise witty zesty"
)
_ADJECTIVES = _ADJECTIVES_TEXT.split()
_SURNAMES_TEXT = (
    "agnesi ampere archimedes babbage bassi bernoulli bohr boole bose brahe cantor carson "
    "cauchy celsius clarke copernicus curie dalton darwin descartes dijkstra dirac einstein "
    "erdos euclid euler faraday fermat fermi feynman fibonacci franklin galileo galois gauss "
    "germain godel goodall hamilton heisenberg herschel hertz hilbert hopper hubble huygens "
    "hypatia jacobi joule kelvin kepler khayyam knuth kovalevskaya lagrange laplace lavoisier "
    "leavitt leibniz linnaeus lorentz lovelace maxwell mcclintock meitner mendel mendeleev "
    "mirzakhani napier newton noether ohm pascal pasteur pauli perlman planck poincare ptolemy "
    "ramanujan riemann ritchie rutherford sagan shannon sinoussi snell tesla thompson torvalds "
    "turing vaughan volta watt wiles wright wu"
)
_SURNAMES = _SURNAMES_TEXT.split()
_FIRST = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_REST = _FIRST | frozenset("_.-")
_MAX_BYTES = 240


def make_name() -> str:
    """Return adjective_surname."""
    number = int.from_bytes(os.urandom(4), "little")
    number, first = divmod(number, len(_ADJECTIVES))
    return f"{_ADJECTIVES[first]}_{_SURNAMES[number % len(_SURNAMES)]}"


def check_name(name: str) -> str:
    """Return the name when the grammar allows it: [a-zA-Z0-9][a-zA-Z0-9_.-]*. Raises UsageError."""
    if not name or name[0] not in _FIRST or not _REST.issuperset(name) or len(name) > _MAX_BYTES:
        raise UsageError(
            f'invalid name "{name[:80]}": names must match [a-zA-Z0-9][a-zA-Z0-9_.-]*',
            remedy="use letters, digits, _ . -",
        )
    return name
