"""`royalty seal` and `royalty checkpoint`: sign the log's head, and hand it to who does not trust this installation."""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from cli.operator import operator
from cli.screen import show, table
from database.engine import session
from database.errors import NotFound, Unavailable
from database.roles import Role
from settlement.audit.proof import write_leaves
from settlement.ledger.checkpoints import (
    Head,
    keys_directory,
    newest_checkpoint,
    public_directory,
    rotate,
    sign_head,
    verifier_keys,
)
from settlement.ledger.log import consistency_proof
from settlement.ledger.models import Checkpoint
from settlement.periods.frozen import freeze_earlier

group = typer.Typer(
    no_args_is_help=True, help="Signed heads of the ledger's log, and the keys that sign them."
)


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command()(seal)
    app.add_typer(group, name="checkpoint")


def seal() -> None:
    """Log everything that is committed, sign the log's head, and write the checkpoint and its leaf-hash file."""
    actor = operator("runs:write").username
    path = seal_log(actor)
    show(f"checkpoint {path}; keep a copy where this installation cannot reach it")


def seal_log(actor: str) -> Path:
    """Sign the log's head; where its checkpoint lies. Its leaf-hash file lies beside it."""
    with session(Role.SETTLEMENT) as opened:
        freeze_earlier(opened)
        checkpoint = sign_head(opened, actor)
    return write_checkpoint(checkpoint, public_directory())


@group.command("export")
def export(directory: Annotated[Path, typer.Argument(help="Directory; made if missing.")]) -> None:
    """Write the newest checkpoint, its leaf-hash file, the public keys and their handovers, for an auditor to keep."""
    with session(Role.SETTLEMENT) as opened:
        checkpoint = newest_checkpoint(opened)
    if checkpoint is None:
        raise NotFound("there is no checkpoint yet: make one with `royalty seal`")
    path = write_checkpoint(checkpoint, directory)
    try:
        for public in sorted(public_directory().glob("*.txt")):
            if public.name.startswith(("key-", "handover-")):
                shutil.copyfile(public, directory / public.name)
    except OSError as error:
        raise _unwritable(directory, error) from error
    show(f"checkpoint {path} of {checkpoint.size} leaves, with its leaf-hash file and the public keys")


@group.command("keys")
def keys() -> None:
    """Show the public keys that sign this log's heads: give them to auditors and artists by another way."""
    found = verifier_keys()
    if not found:
        raise NotFound("there is no key yet: the first `royalty seal` makes it")
    rows = [
        (str(number), "signs" if key == found[-1] else "retired", str(key))
        for number, key in enumerate(found, start=1)
    ]
    show(table("Verifier keys", ("no.", "", "key"), rows))
    show(f"the private key lies in {keys_directory()}, for the operator who signs")


@group.command("rotate")
def rotate_command() -> None:
    """Make a new signing key, sign the handover with the old and the new one, and delete the old private key."""
    actor = operator("runs:write").username
    with session(Role.SETTLEMENT) as opened:
        made = rotate(opened)
    show(f"key {made.number} signs from now on: {made.key}")
    show(f"checkpoint {seal_log(actor)}")


@group.command("consistency")
def consistency(
    first: Annotated[int, typer.Argument(help="Size of the earlier checkpoint.")],
    second: Annotated[int, typer.Argument(help="Size of the later one.")],
) -> None:
    """Print the proof that the log of one checkpoint is the beginning of another's, one hash a line."""
    with session(Role.SETTLEMENT) as opened:
        for node in consistency_proof(opened, first, second):
            print(node.hex())


def write_checkpoint(checkpoint: Checkpoint, directory: Path) -> Path:
    """Write a checkpoint's note and its leaf-hash file, each whole or not at all; where the note lies.

    Raises:
        Invalid: rows that the checkpoint covers were changed.
        Unavailable: the directory cannot be written.
    """
    path = directory / f"checkpoint-{checkpoint.size:012}.txt"
    leaves = path.with_suffix(".leaves")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if not leaves.exists():
            unfinished = leaves.with_suffix(".leaves.part")
            with unfinished.open("wb") as file, session(Role.AUDITOR) as opened:
                opened.connection(execution_options={"isolation_level": "REPEATABLE READ"})
                write_leaves(opened, Head(checkpoint.origin, checkpoint.size, checkpoint.root), file)
            unfinished.replace(leaves)
        path.write_text(checkpoint.note)
    except OSError as error:
        raise _unwritable(directory, error) from error
    return path


def _unwritable(directory: Path, error: OSError) -> Unavailable:
    return Unavailable(
        f"{directory} cannot be written ({error.strerror}): free some space or name another directory"
    )
