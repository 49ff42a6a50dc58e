"""`python -m fakebank --directory DIRECTORY`: the model bank in the foreground, until it is stopped or killed.

It prints one line of JSON, {"url", "pid"}, once it listens. Its key is FAKEBANK_KEY, and the secret that it signs
webhooks with is FAKEBANK_WEBHOOK_SECRET (`whsec_` and base64), both from the environment.
"""

import argparse
import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from fakebank.bank import Bank
from fakebank.server import Postman, Server
from fakebank.service import Service


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m fakebank", description="A model bank: it moves no money."
    )
    parser.add_argument("--directory", type=Path, required=True, help="where it keeps its books")
    parser.add_argument("--port", type=int, default=0, help="on 127.0.0.1; 0: any that is free")
    parser.add_argument("--webhooks", metavar="URL", help="where to send webhooks; none without it")
    parser.add_argument(
        "--now", type=datetime.fromisoformat, default=None, help="what its clock says when its books are new"
    )
    parser.add_argument("--hang", type=float, default=30.0, help="seconds until a mute call is cut off")
    arguments = parser.parse_args()
    key = os.environ.get("FAKEBANK_KEY")
    if not key:
        parser.error("set FAKEBANK_KEY to what callers must bear")
    arguments.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    now = (arguments.now or datetime.now(UTC)).astimezone(UTC)
    service = Service(Bank(arguments.directory / "fakebank.sqlite", now), key)
    server = Server(service, arguments.port, arguments.hang)
    if arguments.webhooks:
        secret = os.environ.get("FAKEBANK_WEBHOOK_SECRET")
        if not secret:
            parser.error("set FAKEBANK_WEBHOOK_SECRET to what webhooks are signed with")
        Postman(service, arguments.webhooks, secret).start()
    print(json.dumps({"url": server.url, "pid": os.getpid()}), flush=True)  # noqa: T201
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        sys.exit(0)


if __name__ == "__main__":
    main()
