"""RUN and WORKDIR as steps of a stage: what their keys know, and how they are shown."""

import os

from rootless.build import image_config, model
from rootless.build.model import Layer
from rootless.build.settings import check_allowed
from rootless.build.stage import StageBuilder
from rootless.container.request import ContainerRequest

SCRIPT = "/dev/pipes"
_SEEN = (
    "cap_add", "cap_drop", "cgroupns", "device", "dns", "dns_option", "dns_search", "group_add",
    "ipc", "no_hosts", "pid", "root_emulation", "security_opt", "shm_size", "ulimit", "uts",
    "volume",
)  # fmt: skip


def run_step(builder: StageBuilder, run: model.Run) -> None:
    """Execute a RUN, or find what it made before. Raises StepFailed, RootlessError."""
    check_allowed(builder.build.request, run.network, run.security)
    scope, config = builder.scope, builder.config
    environment = {**scope.values(), **image_config.environment(config)}
    environment.setdefault("PATH", image_config.DEFAULT_PATH)
    arguments, script = _arguments(run, config)
    mounts = None
    if run.mounts:
        from rootless.build.mounts import Mounts

        mounts = Mounts(builder, run.mounts)
    inputs = {
        "layers below": " ".join(builder.diff_ids()),
        "command": "\0".join((*arguments, script)),
        "user": image_config.text(config, "User"),
        "directory": image_config.text(config, "WorkingDir"),
        "network": run.network or ",".join(builder.build.request.run.network),
        "security": run.security,
        "devices": " ".join(run.devices),
        "hosts": " ".join(builder.build.request.run.add_host),
        **_options(builder.build.request.run),
        **{f"variable {name}": value for name, value in environment.items()},
        **(mounts.inputs() if mounts else {}),
    }
    if builder.build.request.run.interactive:
        # What it is going to read is not known.
        inputs["standard input"] = os.urandom(16).hex()
    text = f"RUN {_argument_count(scope.values())}{_shown(arguments, run)}"

    def execute() -> Layer:
        from rootless.build.executing import Step
        from rootless.build.mounts import Mounts

        found = mounts or Mounts(builder, ())
        step = Step(builder, run, (*arguments,), script, found)
        return step.execute({**environment, **scope.of_command_line()})

    builder.layer_step(text, run.range, inputs, execute)


def _options(request: ContainerRequest) -> dict[str, str]:
    """Return what the command line gives to every step and what the step can see, if anything."""
    defaults = ContainerRequest._field_defaults
    given = ((name, getattr(request, name)) for name in _SEEN)
    return {f"option {name}": str(value) for name, value in given if value != defaults[name]}


def _arguments(run: model.Run, config: dict[str, object]) -> tuple[list[str], str]:
    """Return what is executed, and the content of the script when it is a program itself."""
    if not run.heredocs or not run.command.is_shell:
        return image_config.argument_list(run.command, config), ""
    line = run.command.words[0]
    (first, *others) = run.heredocs
    if line.strip().startswith("<<") and len(line.split()) == 1 and not others:
        # The document is all there is: it is the script.
        if first.content.startswith("#!"):
            return [f"{SCRIPT}/{first.name}"], first.content
        script = first.content
    else:
        documents = "".join(f"\n{one.content}{one.name}" for one in run.heredocs)
        script = line + documents
    return [*image_config.shell_of(config), script], ""


def _argument_count(values: dict[str, str]) -> str:
    """Return how docker's history shows the arguments that a RUN has seen."""
    if not values:
        return ""
    shown = "".join(f"{name}={value} " for name, value in values.items())
    return f"|{len(values)} {shown}"


def _shown(arguments: list[str], run: model.Run) -> str:
    words = " ".join(arguments)
    return f"{words} # buildkit"


def make_workdir(builder: StageBuilder, path: str) -> Layer | None:
    """Make a directory where there is none; None when there is one."""
    from rootless.build.executing import make_directory

    return make_directory(builder, path)
