"""A long-lived process gives back what only its start took."""

import os
import subprocess
import sys

import rootless

_SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from rootless.linux.footprint import release_start_memory

def mapped_kib():
    with open("/proc/self/smaps_rollup") as file:
        fields = dict(line.split(":") for line in file.read().splitlines()[1:])
    return int(fields["Rss"].split()[0]) - int(fields["Anonymous"].split()[0])

before = mapped_kib()
release_start_memory()
after = mapped_kib()
import ctypes, hashlib  # what was let go is mapped again where it is needed
assert hashlib.sha256(b"").hexdigest().startswith("e3b0c442")
print(before, after)
"""


def test_release_unmaps_what_the_start_took_and_goes_on() -> None:
    root = os.path.dirname(os.path.dirname(rootless.__file__))
    program = [os.path.realpath(sys.executable), "-I", "-S", "-c", _SCRIPT, root]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    before, after = (int(word) for word in done.stdout.split())
    assert after < before - 1024, done.stdout
