"""Platforms: what this host runs, and which entry of an index serves it.

OCI image-spec, index: platform. The order of preference is that of containerd: the variant that was
asked for, then what the same processor can also run.
"""

import os

from storage.errors import InvalidReference, NoMatchingPlatform
from storage.oci.descriptor import Descriptor, DescriptorPlatform
from storage.record import NamedTuple

_ARCHITECTURES = {
    "x86_64": "amd64",
    "x86-64": "amd64",
    "aarch64": "arm64",
    "i386": "386",
    "i686": "386",
    "armv8l": "arm",
    "armv7l": "arm",
    "armv6l": "arm",
    "armv5tel": "arm",
    "armhf": "arm",
    "armel": "arm",
    "loongarch64": "loong64",
    "mips64el": "mips64le",
    "powerpc64le": "ppc64le",
    "ppc64el": "ppc64le",
}
_VARIANTS = {
    "armv8l": "v7",
    "armv7l": "v7",
    "armhf": "v7",
    "armv6l": "v6",
    "armel": "v6",
    "armv5tel": "v5",
}
_KNOWN = frozenset(
    ("386", "amd64", "arm", "arm64", "loong64", "ppc64le", "riscv64", "s390x", *_ARCHITECTURES)
)
_ARM_VARIANTS = ("v8", "v7", "v6", "v5")
_AMD64_VARIANTS = ("v4", "v3", "v2", "v1")
# x86-64 psABI, micro-architecture levels, by the names of /proc/cpuinfo (abm is lzcnt).
_AMD64_FLAGS = (
    ("v2", {"cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3"}),
    ("v3", {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"}),
    ("v4", {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}),
)
_WORD = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_-.")
_ZSTD_MARK = "io.github.containers.compression.zstd"
_PARTS = 3


class Platform(NamedTuple):
    """Operating system, architecture (GOARCH) and variant ("" for the architecture's default)."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in self if part)


def parse_platform(text: str) -> Platform:
    """Read OS/ARCHITECTURE[/VARIANT] or ARCHITECTURE. Raises InvalidReference."""
    parts = text.strip().lower().split("/")
    if len(parts) == 1 or parts[0] in _KNOWN:
        parts = ["linux", *parts]
    if len(parts) > _PARTS or not all(
        part[:1].isalnum() and _WORD.issuperset(part) for part in parts
    ):
        raise InvalidReference(
            f"platform {text[:60]!r}: OS/ARCHITECTURE[/VARIANT] is expected",
            remedy="write for example --platform linux/arm64",
        )
    if len(parts) == 1 + 1 and parts[1] in _VARIANTS:
        parts.append(_VARIANTS[parts[1]])
    return _normalize(*parts)


def host_platform(machine: str | None = None) -> Platform:
    """Return what this host runs; `machine` is uname(2)'s when it is not given."""
    machine = machine or os.uname().machine
    return _normalize("linux", machine, _VARIANTS.get(machine, ""))


def choose_manifest(
    entries: tuple[Descriptor, ...],
    wanted: Platform,
    where: str,
    *,
    cpu_flags: frozenset[str] | None = None,
) -> Descriptor:
    """Return the best entry of an index for `wanted`.

    Raises NoMatchingPlatform, which lists what there is.
    """
    ranks = _ranks(wanted, cpu_flags)
    best: tuple[int, bool, int] | None = None
    chosen = None
    for position, entry in enumerate(entries):
        offered = _offered(entry)
        if offered is None or offered not in ranks:
            continue
        is_zstd = (entry.annotations or {}).get(_ZSTD_MARK) == "true"
        rank = (ranks[offered], not is_zstd, position)
        if best is None or rank < best:
            best, chosen = rank, entry
    if chosen is not None:
        return chosen
    names = sorted({str(offered) for entry in entries if (offered := _offered(entry))})
    raise NoMatchingPlatform(
        f"{where}: no image for {wanted}; there is: {', '.join(names[:40]) or 'nothing'}",
        remedy="choose one with --platform OS/ARCHITECTURE"
        " (running another architecture needs qemu-user-static)"
        if names
        else "",
    )


def _offered(entry: Descriptor) -> Platform | None:
    """Return an entry's platform; None for attestations and the like ("unknown/unknown")."""
    platform = entry.platform or DescriptorPlatform("linux", host_platform().architecture, "")
    if "unknown" in (platform.os, platform.architecture) or not platform.architecture:
        return None
    return _normalize(platform.os or "linux", platform.architecture, platform.variant)


def _normalize(system: str, architecture: str, variant: str = "") -> Platform:
    """Spell a platform in one way: arm is arm/v7, arm64 is arm64/v8 without saying so."""
    architecture = _ARCHITECTURES.get(architecture, architecture)
    if architecture == "arm" and not variant:
        variant = "v7"
    if (architecture, variant) in (("arm64", "v8"), ("amd64", "v1")):
        variant = ""
    if architecture == "arm" and not variant.startswith("v"):
        variant = f"v{variant}"
    return Platform(system, architecture, variant)


def _ranks(wanted: Platform, cpu_flags: frozenset[str] | None) -> dict[Platform, int]:
    """Return every platform that serves `wanted`, the best with the lowest number."""
    system, architecture, variant = _normalize(*wanted)
    if architecture == "arm":
        first = _ARM_VARIANTS.index(variant) if variant in _ARM_VARIANTS else 0
        variants: tuple[str, ...] = _ARM_VARIANTS[first:]
        if variant not in _ARM_VARIANTS:
            variants = (variant,)
    elif architecture == "amd64":
        level = variant or _amd64_level(_host_flags() if cpu_flags is None else cpu_flags)
        first = _AMD64_VARIANTS.index(level) if level in _AMD64_VARIANTS else 0
        variants = tuple("" if name == "v1" else name for name in _AMD64_VARIANTS[first:])
    else:
        variants = (variant, "") if variant else ("", "v8") if architecture == "arm64" else ("",)
    found: dict[Platform, int] = {}
    for rank, name in enumerate(variants):
        found.setdefault(_normalize(system, architecture, name), rank)
    return found


def _amd64_level(flags: frozenset[str]) -> str:
    level = "v1"
    for name, needed in _AMD64_FLAGS:
        if not needed <= flags:
            break
        level = name
    return level


def _host_flags() -> frozenset[str]:
    """Return the processor's flags; empty where /proc does not tell."""
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith("flags"):
                    return frozenset(line.partition(":")[2].split())
    except OSError:
        pass
    return frozenset()
