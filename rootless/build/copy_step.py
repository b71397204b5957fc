"""COPY and ADD as steps of a stage."""

from rootless.build import image_config, model
from rootless.build.copying import Copying
from rootless.build.model import CopyScope, Layer
from rootless.build.stage import StageBuilder
from rootless.container.merged import Accounts, read_accounts

_ATTEMPTS = 3


def copy_step(builder: StageBuilder, instruction: model.Copy | model.Add) -> None:
    """Execute a COPY or ADD, or find what it made before.

    Raises BuildError, BuildInputError, ContextError, StoreUnusable.
    """
    build = builder.build
    origin = instruction.origin if isinstance(instruction, model.Copy) else ""
    source = build.sources.find(origin) if origin else build.sources.context()
    accounts = Accounts(b"", b"")
    if instruction.chown and not _is_numeric(instruction.chown):
        accounts = read_accounts(list(builder.layer_paths()), build.host.id_maps())
    scope = CopyScope(
        accounts.passwd, accounts.group, image_config.text(builder.config, "WorkingDir"),
        build.platform,
    )  # fmt: skip
    copying = Copying(build.workplace, instruction, source, scope)
    digest = copying.digest()
    kind = "ADD" if isinstance(instruction, model.Add) else "COPY"
    inputs = {
        "files": digest,
        "destination": image_config.join(scope.workdir, instruction.target)
        + ("/" if instruction.target.endswith("/") else ""),
        "instruction": f"{kind} {_flags(instruction)}",
    }
    if not instruction.link:
        inputs["layers below"] = " ".join(builder.diff_ids())
    shown = " ".join(instruction.sources)
    text = f"{kind} {_flags(instruction)}{shown} {instruction.target} # buildkit"

    def execute() -> Layer:
        options = build.request.layer_options
        copied = copying.commit(builder.tree(), options)
        for note in copied.notes:
            build.emit({"kind": "note", "stage": builder.stage.position, "text": note})
        return copied.layer

    builder.layer_step(text, instruction.range, inputs, execute)


def _is_numeric(owner: str) -> bool:
    return all(part.isdecimal() for part in owner.split(":"))


def _flags(instruction: model.Copy | model.Add) -> str:
    """Return the flags as docker's history shows them."""
    words = []
    if isinstance(instruction, model.Copy) and instruction.parents:
        words.append("--parents")
    if isinstance(instruction, model.Add) and instruction.unpack is not None:
        words.append(f"--unpack={str(instruction.unpack).lower()}")
    if instruction.chown:
        words.append(f"--chown={instruction.chown}")
    if instruction.chmod:
        words.append(f"--chmod={instruction.chmod}")
    if instruction.link:
        words.append("--link")
    words += [f"--exclude={pattern}" for pattern in instruction.exclude]
    return "".join(f"{word} " for word in words)
