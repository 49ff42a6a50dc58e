"""The bank on the network, on this machine's loopback address only: its API, and a thread that sends its webhooks."""

import socket
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from fakebank.service import Service, signed

_MAX_BODY = 16 * 1024 * 1024


class Server(ThreadingHTTPServer):
    """The API of one bank.

    Args:
        service: what answers.
        port: 0 takes any that is free.
        hang: seconds after which a call that is not to be answered is cut off.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, service: Service, port: int, hang: float) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.service = service
        self.hang = hang

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(min(length, _MAX_BODY))
        reply = self.server.service.reply(
            self.command, self.path, self.headers.get("Authorization") or "", body
        )
        self.close_connection = True
        if reply.mute:
            time.sleep(self.server.hang)
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        content = reply.body
        self.send_response(reply.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if reply.retry_after is not None:
            self.send_header("Retry-After", str(reply.retry_after))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a model bank has no story to tell, and its callers' addresses are all the same."""


class Postman(threading.Thread):
    """Sends webhooks until they are taken, in their order, each as often as the other side makes necessary."""

    def __init__(self, service: Service, url: str, secret: str) -> None:
        super().__init__(name="webhooks", daemon=True)
        self._service = service
        self._url = url
        self._secret = secret

    def run(self) -> None:
        """Look for what is due, for ever."""
        pause = 0.05
        while True:
            due = self._service.bank.due_webhooks()
            sent = 0
            for number, event in due:
                headers, body = signed(self._secret, event, int(time.time()))
                request = urllib.request.Request(self._url, body, headers, method="POST")  # noqa: S310
                try:
                    with urllib.request.urlopen(request, timeout=10):  # noqa: S310
                        self._service.bank.webhook_sent(number)
                        sent += 1
                except (urllib.error.URLError, OSError):
                    break
            pause = 0.05 if sent == len(due) else min(2 * pause, 5.0)
            time.sleep(pause if not sent or sent < len(due) else 0)
