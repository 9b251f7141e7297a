"""A small HTTP server of a fixed set of files."""

from __future__ import annotations

import contextlib
import errno
import socket
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from edgedigit.errors import InputError
from edgedigit.serve.site import PAGE

# Stated here because Python takes them from the system, and some systems call scripts plain text.
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".onnx": "application/octet-stream",
    ".wasm": "application/wasm",
}
# As the page says itself, for sites whose host sends no headers; but what a page says, its workers are not held to.
POLICY = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; img-src 'self' data:; form-action 'none'"
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cache-Control": "no-cache",  # always asked for anew: another model is seen at once
    "X-Content-Type-Options": "nosniff",
    # Together they isolate the page from others, for which browsers give it clocks of 5 µs instead of 100.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
}


class SiteHandler(SimpleHTTPRequestHandler):
    """Answers with the files of a site and nothing else."""

    protocol_version = "HTTP/1.1"
    extensions_map = TYPES

    def __init__(self, *args, files: dict[str, Path]):
        self._files = files
        super().__init__(*args)

    def handle(self) -> None:
        """Answer until the browser closes, be it in the middle of an answer."""
        with contextlib.suppress(ConnectionError):
            super().handle()

    def send_head(self):
        """The headers and the open file, or None after saying that there is no such file or no such address."""
        try:
            is_known = self._name() in self._files
        except ValueError:  # no address, such as http://[
            self.send_error(HTTPStatus.BAD_REQUEST)
            return None
        if not is_known:
            self.send_error(HTTPStatus.NOT_FOUND)
            return None
        # Nothing is "not modified": the browser's copy may be of another model, whose file was the newer one.
        del self.headers["If-Modified-Since"]
        return super().send_head()

    def translate_path(self, path: str) -> str:
        """The file behind an address."""
        return str(self._files[self._name()])

    def _name(self) -> str:
        return unquote(urlsplit(self.path).path).removeprefix("/") or PAGE

    def end_headers(self) -> None:
        """Add what every answer carries."""
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *args) -> None:
        """Quiet: the terminal belongs to the person at it."""


class SiteServer(ThreadingHTTPServer):
    """Once closed it answers nobody, not even on connections that browsers have kept open."""

    def __init__(self, address: tuple[str, int], handler):
        self._connections: set[socket.socket] = set()
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, handler)

    def process_request(self, request, client_address) -> None:
        """Answer in a thread of its own."""
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request) -> None:
        """After the last answer on a connection."""
        self._connections.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """End listening, then every connection."""
        super().server_close()
        for connection in list(self._connections):
            with contextlib.suppress(OSError):  # it has ended by itself
                connection.shutdown(socket.SHUT_RDWR)


def open_server(files: dict[str, Path], host: str, port: int) -> SiteServer:
    """A server that is bound and not yet running; port 0 takes a free one.

    Raises:
        InputError: if the address cannot be had.
    """
    try:
        return SiteServer((host, port), partial(SiteHandler, files=files))
    except PermissionError:
        raise InputError(f"port {port} is not for everyone; choose one above 1023 with --port") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise InputError(f"port {port} is in use; choose another with --port, 0 for any free one") from None
        raise InputError(f"cannot listen at {host} ({error.strerror}); choose an address of this computer") from None
