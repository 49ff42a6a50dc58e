"""Serving the API: one process, port bound before anything else, so that a taken port is one clear line."""

import errno
import socket

import uvicorn

from api.app import create_app
from database import logs
from database.errors import Invalid, Unavailable, UserError


def serve(host: str = "127.0.0.1", port: int = 8000) -> None:
    """Serve until interrupted; logs go to standard output.

    Raises:
        Invalid: there is no such address.
        Unavailable: the port is taken or not ours to take.
    """
    with listen(host, port) as listening:
        logs.configure()
        # Our middleware logs requests; uvicorn's own lines go through the same JSON handler.
        config = uvicorn.Config(
            create_app(), log_config=None, access_log=False, server_header=False, lifespan="off"
        )
        uvicorn.Server(config).run(sockets=[listening])


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        Invalid: there is no such address.
        Unavailable: the port is taken or not ours to take.
    """
    if not 0 < port < 65536:  # getaddrinfo would take it modulo 65536
        raise Invalid(f"{port} is not a port: choose one from 1 to 65535 with --port")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise Invalid(f"cannot listen on {host} port {port}: there is no such address") from error
    family, kind, protocol, _, address = found[0]
    opened = socket.socket(family, kind, protocol)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        opened.listen(1024)
    except OSError as error:
        opened.close()
        raise _explained(error, host, port) from error
    return opened


def _explained(error: OSError, host: str, port: int) -> UserError:
    match error.errno:
        case errno.EADDRINUSE:
            return Unavailable(
                f"port {port} on {host} is taken: stop what runs there, or choose another with --port"
            )
        case errno.EACCES:
            return Unavailable(f"port {port} may not be used by this user: choose one above 1023 with --port")
        case _:
            return Invalid(f"cannot listen on {host} port {port}: {error.strerror}")
