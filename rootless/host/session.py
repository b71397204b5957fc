"""What ends with the caller's session or job: said when a container is left in the background."""

import os

from rootless.linux.user_manager import has_manager, runtime_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_JOBS = (("SLURM_JOB_ID", "slurm"), ("PBS_JOBID", "PBS"), ("LSB_JOBID", "LSF"),
         ("SGE_TASK_ID", "grid engine"), ("FLUX_JOB_ID", "flux"))  # fmt: skip
# These leave what their children started alone when they stop (KillMode=process).
_HARMLESS = ("cron.service", "crond.service", "ssh.service", "sshd.service", "atd.service")


def session_note(
    uid: int,
    user_name: str,
    environ: "Mapping[str, str]",
    *,
    root: str = "",
    proc: str = "/proc/self",
) -> str:
    """Return one line with the command that helps; "" when a container outlives the session."""
    for variable, system in _JOBS:
        if environ.get(variable):
            return (
                f"this container ends with the {system} job {environ[variable]}: wait for it in"
                " the job's script (rpod wait)"
            )
    if not os.path.isdir(f"{root}/run/systemd/system") or uid == 0:
        return ""
    lingers = os.path.exists(f"{root}/var/lib/systemd/linger/{user_name}")
    managed = has_manager(runtime_directory(uid, environ))
    if lingers and managed:
        return ""
    unit = _unit(f"{proc}/cgroup")
    if not managed and unit.endswith(".service") and unit not in _HARMLESS:
        return f"this container ends with {unit}: to keep it, loginctl enable-linger {user_name}"
    if lingers:
        return ""
    return (
        "this container ends with your last session: to keep it,"
        f" loginctl enable-linger {user_name}"
    )


def _unit(path: str) -> str:
    """Return the system unit that the caller is in; "" in a session or in the user's manager."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.read().splitlines()
    except OSError:
        return ""
    for line in lines:
        if line.startswith(("0::", "1:name=systemd:")):
            parts = line.rpartition(":")[2].split("/")
            if "user.slice" not in parts:
                return next((part for part in reversed(parts) if part.endswith(".service")), "")
    return ""
