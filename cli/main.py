"""`royalty`: one typer application, one module per group of commands.

Every failure a person can act on is one line on stderr and a non-zero exit; a traceback is a defect.
"""

import errno
import os
import sys

import typer

from database.errors import UserError

app = typer.Typer(
    name="royalty",
    help="From pixel to cent: attribute generated images, settle royalties, keep the books, pay the artists.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _register() -> None:
    # Imported here, so that a group's import error is reported like any other failure.
    from cli import (
        advances,
        artists,
        attribution,
        catalogue,
        checkpoints,
        claims,
        corrections,
        database,
        demo,
        disputes,
        exports,
        fx,
        images,
        methods,
        payouts,
        periods,
        privacy,
        processes,
        proofs,
        sales,
        statements,
        tax,
        users,
    )

    for group in (
        database,
        users,
        catalogue,
        images,
        attribution,
        artists,
        methods,
        sales,
        periods,
        statements,
        privacy,
        payouts,
        tax,
        advances,
        fx,
        claims,
        corrections,
        disputes,
        proofs,
        checkpoints,
        exports,
        processes,
        demo,
    ):
        group.register(app)


def _explain_database_error(error: Exception) -> str | None:
    """One line for what goes wrong with a database that is not there, not set up, or full; None for anything else."""
    from psycopg import errors
    from sqlalchemy.exc import DBAPIError

    if not isinstance(error, DBAPIError):
        return None
    original = error.orig
    reason = (str(original).strip().splitlines() or [type(original).__name__])[0]
    if isinstance(original, errors.UndefinedTable | errors.InvalidSchemaName) or (
        "role" in reason and "does not exist" in reason
    ):
        return "the database is not set up for this version: run `royalty db migrate`"
    if isinstance(original, errors.DiskFull):
        return "the disk is full: free some space and run the same command again, nothing was half written"
    if isinstance(original, errors.InsufficientPrivilege):
        return f"the database refuses this to the role of this command ({reason}); run `royalty db migrate`"
    if isinstance(original, errors.OperationalError):
        return f"the database is not reachable ({reason}); run `royalty db start`, or check DATABASE_URL"
    return None


def main() -> None:
    """Entry point of the `royalty` script."""
    try:
        _register()
        # What `typer.Exit` says comes back as a value.
        if status := app(standalone_mode=False):
            sys.exit(status)
    except typer.Abort:
        _fail("stopped; run the same command again to go on", 130)
    except UserError as error:
        _fail(error.message, 1)
    except KeyboardInterrupt:
        _fail("interrupted; run the same command again to go on", 130)
    except BrokenPipeError:
        # The reader (`head`) has seen enough; stdout is gone, so Python must not flush it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            _fail("the disk is full: free some space and run the same command again", 1)
        _fail(f"{error.strerror or error}: {error.filename or ''}".rstrip(": "), 1)
    except Exception as error:
        message = _usage_error(error) or _explain_database_error(error)
        if message is None:
            raise
        _fail(message, 2 if _usage_error(error) else 1)


def _usage_error(error: Exception) -> str | None:
    # typer's own click raises usage errors with this shape; which click it vendors is its business.
    format_message = getattr(error, "format_message", None)
    if format_message is None:
        return None
    context = getattr(error, "ctx", None)
    hint = f"; see `{context.command_path} --help`" if context is not None else ""
    return f"{str(format_message()).rstrip('.')}{hint}"


def _fail(message: str, status: int) -> None:
    print(f"royalty: {message}", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main()
