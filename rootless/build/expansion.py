"""Expand the words of an instruction: which ones, and by which rule (Dockerfile reference)."""

from rootless.build import model
from rootless.build.expand import Expander
from rootless.build.model import Instruction


def expand(instruction: Instruction, by: Expander) -> Instruction:
    """Return the instruction with final words. RUN, CMD and ENTRYPOINT keep theirs for the shell.

    Raises UsageError.
    """
    word = by.word
    match instruction:
        case model.Env() | model.Label():
            pairs = tuple((word(name), word(value)) for name, value in instruction.pairs)
            return instruction._replace(pairs=pairs)
        case model.Copy() | model.Add():
            return _copy(instruction, by)
        case model.Workdir():
            return instruction._replace(path=word(instruction.path))
        case model.User():
            return instruction._replace(user=word(instruction.user))
        case model.Expose():
            ports = tuple(port for text in instruction.ports for port in by.words(text))
            return instruction._replace(ports=ports)
        case model.Volume():
            return instruction._replace(paths=tuple(map(word, instruction.paths)))
        case model.StopSignal():
            return instruction._replace(signal=word(instruction.signal))
        case model.Run():
            return _run(instruction, by)
        case _:
            return instruction


def _copy(instruction: model.Copy | model.Add, by: Expander) -> model.Copy | model.Add:
    word = by.word
    heredocs = tuple(
        document._replace(content=by.document(document.content)) if document.expand else document
        for document in instruction.heredocs
    )
    names = {document.name for document in heredocs}
    sources = tuple(
        text if _is_heredoc(text, names) else word(text) for text in instruction.sources
    )
    target, exclude = word(instruction.target), tuple(map(word, instruction.exclude))
    chown, chmod = word(instruction.chown), word(instruction.chmod)
    if isinstance(instruction, model.Add):
        return instruction._replace(
            sources=sources, target=target, chown=chown, chmod=chmod, exclude=exclude,
            heredocs=heredocs, checksum=word(instruction.checksum),
        )  # fmt: skip
    return instruction._replace(
        sources=sources, target=target, chown=chown, chmod=chmod, exclude=exclude,
        heredocs=heredocs, origin=word(instruction.origin),
    )  # fmt: skip


def _is_heredoc(text: str, names: set[str]) -> bool:
    """Tell whether a source is `<<NAME` of a heredoc of this instruction."""
    return text.startswith("<<") and text.removeprefix("<<").lstrip("-").strip("\"'") in names


def _run(instruction: model.Run, by: Expander) -> model.Run:
    if not instruction.mounts:
        return instruction
    mounts = tuple(
        mount._replace(fields=tuple((name, by.word(value)) for name, value in mount.fields))
        for mount in instruction.mounts
    )
    return instruction._replace(mounts=mounts)
