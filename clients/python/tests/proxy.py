"""Servers that misbehave: a proxy that cuts connections, and one with fixed answers."""

import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Cutter:
    """A TCP proxy. It ends each of its first connections after so many bytes of the response."""

    def __init__(self, url: str, cuts: list[int]) -> None:
        host, port = url.removeprefix("http://").rsplit(":", 1)
        self._target = (host, int(port))
        self._cuts = cuts
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def run(self) -> None:
        """Accept connections until `close`."""
        with suppress(OSError):
            while True:
                inner, _ = self._listener.accept()
                limit = self._cuts[self.connections] if self.connections < len(self._cuts) else -1
                self.connections += 1
                outer = socket.create_connection(self._target)
                for source, sink, size in ((inner, outer, -1), (outer, inner, limit)):
                    threading.Thread(target=_copy, args=(source, sink, size), daemon=True).start()

    def close(self) -> None:
        """Stop accepting."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def _copy(source: socket.socket, sink: socket.socket, limit: int) -> None:
    left = limit
    with suppress(OSError):
        while left != 0:
            data = source.recv(65536 if left < 0 else min(65536, left))
            if not data:
                break
            sink.sendall(data)
            left -= len(data) if left > 0 else 0
    for end in (source, sink):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
    if limit >= 0:
        source.close()
        sink.close()


@contextmanager
def cutting(url: str, *cuts: int) -> Iterator[Cutter]:
    """Run a Cutter."""
    cutter = Cutter(url, list(cuts))
    thread = threading.Thread(target=cutter.run, daemon=True)
    thread.start()
    try:
        yield cutter
    finally:
        cutter.close()
        thread.join()


Answer = tuple[int, Mapping[str, str], bytes]


@contextmanager
def answering(answer: Callable[[str, Mapping[str, str], bytes], Answer]) -> Iterator[str]:
    """Run a server that answers each request by a function of path, headers and body."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            size = int(self.headers.get("content-length", "0"))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, sent, body = answer(self.path, headers, self.rfile.read(size))
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **sent}.items():
                self.send_header(name, value)
            self.end_headers()
            with suppress(OSError):
                self.wfile.write(body)

        do_GET = do_POST  # noqa: N815 - of the base

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401 - as the base
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def error(code: str, message: str, **more: Any) -> bytes:  # noqa: ANN401 - JSON
    """Return Connect's JSON of an error."""
    return json.dumps({"code": code, "message": message, **more}).encode()
