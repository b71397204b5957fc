"""The event loop of helpers."""

import os

from slirp.loop import Loop


def test_rest_is_told_once_after_each_work() -> None:
    rests: list[int] = []
    loop = Loop(lambda: rests.append(1))
    reader, writer = os.pipe()

    def read() -> None:
        assert os.read(reader, 1) == b"x"

    loop.watch(reader, read)
    for number in (1, 2):
        os.write(writer, b"x")
        loop.turn()
        assert len(rests) == number - 1
        loop.turn()
        loop.later(0.01, lambda: None)
        loop.turn()
        assert len(rests) == number
    os.close(reader)
    os.close(writer)
