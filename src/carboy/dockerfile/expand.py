"""Which parts of an instruction know variables. Source: the Expand methods of moby/buildkit, instructions/commands.go.

RUN, CMD, ENTRYPOINT, SHELL, HEALTHCHECK and ONBUILD are left to the shell, and to whoever reads a trigger (traps 14 to 16).
"""

from __future__ import annotations

from collections.abc import Callable

from carboy.dockerfile.arguments import Pair
from carboy.dockerfile.instructions.model import (
    Add,
    Copy,
    Env,
    Expose,
    InlineSource,
    Label,
    StageInstruction,
    StopSignal,
    User,
    Volume,
    Workdir,
)  # fmt: skip
from carboy.dockerfile.value import replace
from carboy.dockerfile.words import Processed

Expander = Callable[[str], Processed]


def expand(instruction: StageInstruction, word: Expander, *, document: Expander) -> StageInstruction:
    """Return an instruction with variables put in. ``word`` expands a word, ``document`` the content of a heredoc (trap 52).

    ARG is left alone: its defaults are looked at one after the other, and only when they are needed.
    """
    made: StageInstruction = instruction
    if isinstance(instruction, Env | Label):
        pairs = [Pair(key=word(p.key).text, value=word(p.value).text, legacy=p.legacy) for p in instruction.pairs]
        made = replace(instruction, pairs=tuple(pairs))
    elif isinstance(instruction, Copy | Add):
        made = _expand_transfer(instruction, word, document)
    elif isinstance(instruction, Volume):
        made = replace(instruction, paths=tuple(word(path).text for path in instruction.paths))
    elif isinstance(instruction, User):
        made = replace(instruction, user=word(instruction.user).text)
    elif isinstance(instruction, Workdir):
        made = replace(instruction, path=word(instruction.path).text)
    elif isinstance(instruction, StopSignal):
        made = replace(instruction, signal=word(instruction.signal).text)
    elif isinstance(instruction, Expose):
        made = replace(instruction, ports=tuple(found for port in instruction.ports for found in word(port).words))
    return made


def _expand_transfer(instruction: Copy | Add, word: Expander, document: Expander) -> Copy | Add:
    sources = tuple(word(source).text for source in instruction.sources)
    inline = tuple(
        InlineSource(name=item.name, content=document(item.content).text, expand=True) if item.expand else item
        for item in instruction.inline
    )
    made = replace(
        instruction,
        sources=sources,
        inline=inline,
        destination=word(instruction.destination).text,
        chown=word(instruction.chown).text,
        chmod=word(instruction.chmod).text,
    )
    return replace(made, checksum=word(made.checksum).text) if isinstance(made, Add) else made
