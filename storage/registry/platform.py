"""The names of `storage.platform`, where they used to be."""

from storage.platform import (
    Platform,
    choose_manifest,
    host_platform,
    parse_platform,
)

__all__ = ["Platform", "choose_manifest", "host_platform", "parse_platform"]
