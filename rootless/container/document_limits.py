"""The limits and devices of a container as `inspect` shows them, under docker's names."""


def ulimits(raw: object) -> list[dict[str, object]]:
    """Return the resource limits of its processes."""
    limits = raw if isinstance(raw, list) else []
    return [
        {"Name": one.get("type"), "Soft": one.get("soft"), "Hard": one.get("hard")}
        for one in limits
        if isinstance(one, dict)
    ]


def devices(texts: tuple[str, ...]) -> list[dict[str, str]]:
    """Return what `--device SOURCE[:TARGET][:PERMISSIONS]` named; CDI names are no paths."""
    found = []
    for text in texts:
        words = text.split(":")
        if not words[0].startswith("/"):
            continue
        target = next((word for word in words[1:] if word.startswith("/")), words[0])
        access = words[-1] if len(words) > 1 and not words[-1].startswith("/") else "rwm"
        found.append(
            {"PathOnHost": words[0], "PathInContainer": target, "CgroupPermissions": access}
        )
    return found


def limits(resources: dict[str, object]) -> dict[str, object]:
    """Return the limits under docker's names; 0 says that there is none."""
    memory, cpu = _object(resources, "memory"), _object(resources, "cpu")
    block_io = _object(resources, "blockIO")
    quota, period = cpu.get("quota", 0), cpu.get("period", 0)
    both = isinstance(quota, int) and isinstance(period, int) and quota > 0 and period > 0
    return {
        "Memory": memory.get("limit", 0),
        "MemorySwap": memory.get("swap", 0),
        "MemoryReservation": memory.get("reservation", 0),
        "MemorySwappiness": 0,
        "KernelMemory": 0,
        "OomKillDisable": False,
        "NanoCpus": int(str(quota)) * 10**9 // int(str(period)) if both else 0,
        "CpuShares": cpu.get("shares", 0),
        "CpuPeriod": period,
        "CpuQuota": quota,
        "CpuRealtimePeriod": 0,
        "CpuRealtimeRuntime": 0,
        "CpusetCpus": cpu.get("cpus", ""),
        "CpusetMems": cpu.get("mems", ""),
        "PidsLimit": max(0, int(str(_object(resources, "pids").get("limit", 0)))),
        "BlkioWeight": block_io.get("weight", 0),
        "BlkioWeightDevice": block_io.get("weightDevice"),
        "BlkioDeviceReadBps": block_io.get("throttleReadBpsDevice"),
        "BlkioDeviceWriteBps": block_io.get("throttleWriteBpsDevice"),
        "BlkioDeviceReadIOps": block_io.get("throttleReadIOPSDevice"),
        "BlkioDeviceWriteIOps": block_io.get("throttleWriteIOPSDevice"),
        # Docker's for Windows, and for disks and consoles that a container does not have.
        "ConsoleSize": [0, 0],
        "CpuCount": 0,
        "CpuPercent": 0,
        "DiskQuota": 0,
        "IOMaximumIOps": 0,
        "IOMaximumBandwidth": 0,
        "Isolation": "",
        "CgroupConf": _object(resources, "unified") or None,
    }


def _object(raw: dict[str, object], key: str) -> dict[str, object]:
    value = raw.get(key)
    return value if isinstance(value, dict) else {}
