"""Streams that become too much are given up in time."""

import gzip
import io

import pytest
import zstandard

from storage import limits as module
from storage.errors import InvalidLayer
from storage.layout import Layout
from storage.limits import Limits, inflate_limited, layer_limits

ZEROS = bytes(32 << 20)


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_too_many_bytes_are_refused(compression: str) -> None:
    data = gzip.compress(ZEROS, 1) if compression == "gzip" else zstandard.compress(ZEROS)
    got = 0
    with pytest.raises(InvalidLayer, match="more than 1000000 bytes") as caught:
        for chunk in inflate_limited(io.BytesIO(data), compression, Limits(size_bytes=1_000_000)):
            got += len(chunk)
    assert got <= 1_000_000
    assert "max_layer_size" in caught.value.remedy


def test_too_high_a_ratio_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = zstandard.compress(ZEROS)
    assert sum(map(len, inflate_limited(io.BytesIO(data), "zstd", Limits()))) == len(ZEROS)
    monkeypatch.setattr(module, "_RATIO_FROM_BYTES", 1 << 20)
    with pytest.raises(InvalidLayer, match="2000 times"):
        for _ in inflate_limited(io.BytesIO(data), "zstd", Limits()):
            pass
    with pytest.raises(InvalidLayer, match="10 times"):
        for _ in inflate_limited(io.BytesIO(gzip.compress(ZEROS)), "gzip", Limits(ratio=10)):
            pass


def test_limits_of_a_store_are_its_users() -> None:
    assert layer_limits(Layout("/s", "/r")) == Limits()
    assert layer_limits(Layout("/s", "/r", (), (5, 0, 7))) == Limits(5, Limits().ratio, 7)
