"""Give memory back that only the start of a long-lived process took.

An interpreter's start touches most of its program file and of its C libraries. The kernel keeps
mapped what was touched: 3 MiB that a process waiting in poll(2) has no use for. Mappings of files
that were only read can be let go at any time; what is needed again is mapped again, from the page
cache.
"""

import os

_MADV_DONTNEED = 4
_READ_BYTES = 1 << 12
_READ_ONLY = (b"r--p", b"r-xp")
_SMAPS = "/proc/self/smaps"


def release_start_memory() -> None:
    """Let go of unused heap and of unchanged mappings of files; harmless where it cannot be."""
    try:
        from rootless.linux.bare import Word, function
    except ImportError:
        return  # a Python without ctypes
    try:
        advise = function("madvise")
        for start, end in _unchanged():
            # An error means that the kernel keeps them: nothing is lost.
            advise(Word(start), Word(end - start), _MADV_DONTNEED)
        function("malloc_trim")(Word(0))
    except OSError:
        return  # a C library without malloc_trim, no /proc


def _unchanged() -> "list[tuple[int, int]]":
    """Return where files are mapped read-only and nothing has been written (proc(5), smaps).

    Relocated data is mapped read-only too, and is not what the file has: it has `Anonymous` pages.
    """
    found = []
    start = end = 0
    rest = b""
    fd = os.open(_SMAPS, os.O_RDONLY | os.O_CLOEXEC)
    try:
        # Little at a time: this is about memory.
        while data := os.read(fd, _READ_BYTES):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                if line.startswith(b"Anonymous:"):
                    if end and line.split()[1] == b"0":
                        found.append((start, end))
                elif not line[:1].isupper():
                    # address perms offset dev inode path
                    fields = line.split()
                    start = end = 0
                    if fields[1] in _READ_ONLY and fields[4] != b"0":
                        low, _, high = fields[0].partition(b"-")
                        start, end = int(low, 16), int(high, 16)
    finally:
        os.close(fd)
    return found
