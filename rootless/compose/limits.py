"""Limits of a service: the keys of the service itself, and `deploy.resources`."""

from rootless.compose.errors import ComposeError
from rootless.compose.parts import Part

_NUMBERS = {
    "cpu_shares": "cpu_shares",
    "mem_swappiness": "memory_swappiness",
    "oom_score_adj": "oom_score_adj",
    "pids_limit": "pids_limit",
}
_MICROSECONDS = ("cpu_period", "cpu_quota", "cpu_rt_period", "cpu_rt_runtime")
_RATES = ("read_bps", "write_bps", "read_iops", "write_iops")


def limits_of(fields: Part, where: str) -> dict[str, object]:
    """Return the fields of a request that limit a container. Raises ComposeError."""
    values: dict[str, object] = {}
    limits = fields.part("deploy").part("resources").part("limits")
    reserved = fields.part("deploy").part("resources").part("reservations")
    memory = fields.text("mem_limit") or limits.text("memory")
    reservation = fields.text("mem_reservation") or reserved.text("memory")
    cpus = fields.text("cpus") or limits.text("cpus")
    swap = fields.text("memswap_limit")
    for key, value in (("memory", memory), ("memory_swap", swap), ("cpus", cpus)):
        if value and value != "0":
            values[key] = value
    if reservation and reservation != "0":
        values["memory_reservation"] = reservation
    if cpuset := fields.text("cpuset"):
        values["cpuset_cpus"] = cpuset
    for key, field in _NUMBERS.items():
        if key in fields:
            values[field] = fields.number(key)
    if "pids" in limits:
        values["pids_limit"] = limits.number("pids")
    for key in _MICROSECONDS:
        if key in fields:
            values[key] = _microseconds(fields.text(key), f"{where}.{key}")
    if fields.flag("oom_kill_disable"):
        values["oom_kill_disable"] = True
    if "shm_size" in fields:
        values["shm_size"] = int(fields.text("shm_size"))
    values["ulimit"] = tuple(
        f"{name}={both.number('soft')}:{both.number('hard')}"
        for name, both in fields.part("ulimits").each()
    )
    return values | _blkio(fields.part("blkio_config")) | _gpus(fields, reserved, where)


def _microseconds(text: str, where: str) -> int:
    from rootless.container.moments import parse_duration

    if text.lstrip("-").isdecimal() and len(text) < 18:
        return int(text)
    seconds = parse_duration(text)
    if seconds is None:
        raise ComposeError(f"{where}: {text!r} is neither microseconds nor a duration")
    return int(seconds * 1_000_000)


def _blkio(block: Part) -> dict[str, object]:
    values: dict[str, object] = {}
    if "weight" in block:
        values["blkio_weight"] = block.text("weight")
    if weights := block.parts("weight_device"):
        values["blkio_weight_device"] = tuple(
            f"{one.text('path')}:{one.text('weight')}" for one in weights
        )
    for name in _RATES:
        if rates := block.parts(f"device_{name}"):
            values[f"device_{name}"] = tuple(
                f"{one.text('path')}:{one.text('rate')}" for one in rates
            )
    return values


def _gpus(fields: Part, reserved: Part, where: str) -> dict[str, object]:
    """Return what `gpus`, or devices that are reserved, ask for."""
    wanted = [*fields.parts("gpus"), *reserved.parts("devices")]
    if not wanted:
        return {}
    if len(wanted) > 1:
        raise ComposeError(f"{where}: one request for GPUs is possible, not {len(wanted)}")
    one = wanted[0]
    if "capabilities" in one and "gpu" not in one.texts("capabilities"):
        raise ComposeError(f"{where}: of the devices only those with the capability gpu are known")
    if ids := one.texts("device_ids"):
        return {"gpus": f"device={','.join(ids)}"}
    number = one.number("count")
    return {"gpus": "all" if number is None or number < 0 else str(number)}
