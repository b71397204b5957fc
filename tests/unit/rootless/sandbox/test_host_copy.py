"""What is mounted where, for a copy of the host."""

from rootless.sandbox.host_copy import mount_points

MOUNTINFO = rb"""22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
23 22 0:5 / /proc rw,nosuid shared:2 - proc proc rw
24 22 0:30 / /home/with\040blank\134 rw - nfs4 server:/home rw
25 22 0:31 / /a rw - tmpfs tmpfs rw
26 25 0:32 / /a rw master:1 - ext4 /dev/sdb rw
short line
"""


def test_the_last_mount_on_a_point_is_seen() -> None:
    assert mount_points(MOUNTINFO) == {
        "/": "ext4",
        "/proc": "proc",
        "/home/with blank\\": "nfs4",
        "/a": "ext4",
    }
