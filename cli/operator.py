"""Who runs the command: the operator's access token, kept in a file that only she can read."""

import os
from pathlib import Path

import platformdirs

from database.errors import Refused, Unauthenticated
from database.identity import Principal, verify_token
from database.settings import get_settings


def token_file() -> Path:
    """Where `royalty login` keeps the token; `ROYALTY_TOKEN_FILE` names another place (two operators, one terminal)."""
    given = get_settings().royalty_token_file
    return given if given is not None else Path(platformdirs.user_config_dir("royalty")) / "token"


def save_token(token: str) -> Path:
    """Keep a token for the next commands."""
    path = token_file()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as handle:
        handle.write(token)
    return path


def forget_token() -> None:
    """Log out."""
    token_file().unlink(missing_ok=True)


def operator(scope: str | None = None) -> Principal:
    """The operator who is logged in.

    Raises:
        Unauthenticated: nobody is, or the token has expired.
        Refused: she may not do this.
    """
    try:
        token = token_file().read_text().strip()
    except FileNotFoundError:
        raise Unauthenticated("nobody is logged in: run `royalty login USER`") from None
    principal = verify_token(token)
    if scope is not None and not principal.allows(scope):
        raise Refused(
            f"{principal.username} may not do this: it needs the scope {scope}; log in as somebody who has it"
        )
    return principal
