"""A file server over HTTP that can cut connections, ignore ranges, and change a file between requests."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class FileServer:
    """Serves `files` on a port of this machine.

    Attributes
    ----------
    files
        Path to content.
    honours_range
        Whether it answers a range request with the range, or with the whole file.
    cuts
        After how many bytes of the body the next answers are cut, each once; None: not at all.
    statuses
        Statuses of the next answers, in place of a file.
    sends_length, sends_version
        Whether its answers have a Content-Length and an ETag.
    pause_s
        Pause after each 64 kB.
    silence_s
        Pause before each answer.
    requests
        Path and Range of each request.
    sent
        Bytes of bodies.
    """

    files: dict[str, bytes]
    honours_range: bool = True
    cuts: list[int | None] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    sends_length: bool = True
    sends_version: bool = True
    pause_s: float = 0.0
    silence_s: float = 0.0
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    sent: int = 0
    url: str = ""

    @contextmanager
    def running(self) -> Iterator[FileServer]:
        """Serve within the block."""
        handler = type("Handler", (_Handler,), {"files_of": self})
        with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            server.daemon_threads = True
            self.url = f"http://127.0.0.1:{server.server_port}"
            thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
            thread.start()
            try:
                yield self
            finally:
                server.shutdown()
                thread.join()


class _Handler(BaseHTTPRequestHandler):
    files_of: FileServer

    def do_GET(self) -> None:
        server, asked = self.files_of, self.headers.get("Range")
        server.requests.append((self.path, asked))
        time.sleep(server.silence_s)
        if server.statuses and (status := server.statuses.pop(0)):
            self.send_error(status)
            return
        if (content := server.files.get(self.path)) is None:
            self.send_error(404)
            return
        current = self.headers.get("If-Range", _version(content)) == _version(content)
        ranged = asked is not None and server.honours_range and current
        first = int(asked.removeprefix("bytes=").rstrip("-")) if ranged else 0
        if first and first >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        try:
            self._head(content, first)
            self._body(content[first:])
        except (BrokenPipeError, ConnectionResetError):
            pass

    def _head(self, content: bytes, first: int) -> None:
        server = self.files_of
        self.send_response(206 if first else 200)
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        if server.sends_version:
            self.send_header("ETag", _version(content))
        if server.sends_length:
            self.send_header("Content-Length", str(len(content) - first))
        self.end_headers()

    def _body(self, body: bytes) -> None:
        server = self.files_of
        cut = server.cuts.pop(0) if server.cuts else None
        for start in range(0, len(body), 1 << 16):
            piece = body[start : start + (1 << 16)] if cut is None else body[start : min(start + (1 << 16), cut)]
            self.wfile.write(piece)
            server.sent += len(piece)
            time.sleep(server.pause_s)
        self.close_connection = True

    def log_message(self, format: str, *values: object) -> None:
        """Print nothing."""


def _version(content: bytes) -> str:
    return f'"{hashlib.md5(content).hexdigest()}"'
