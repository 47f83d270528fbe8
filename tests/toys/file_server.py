"""A server of files on this machine, as stores on the web are: ranges, tags, redirects, transfers that break off."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


class FileServer:
    """Serves `files` by path; what was asked is in `asked`."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.tags = True
        self.redirects: dict[str, str] = {}
        self.statuses: list[int] = []
        """Said to the next requests instead of an answer."""
        self.breaks: list[int] = []
        """After so many bytes the next answers break off."""
        self.asked: list[tuple[str, str | None]] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/{path}"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        told = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path, wanted = self.path.strip("/"), self.headers.get("Range")
                told.asked.append((path, wanted))
                if told.statuses:
                    self.send_error(told.statuses.pop(0))
                elif path in told.redirects:
                    self.send_response(302)
                    self.send_header("Location", told.redirects[path])
                    self.end_headers()
                elif path in told.files:
                    self._give(told.files[path], wanted)
                else:
                    self.send_error(404)

            def _give(self, content: bytes, wanted: str | None) -> None:
                tag = f'"{hash(content)}"'
                first = int(wanted[6:-1]) if wanted and self.headers.get("If-Range") == tag else 0
                if first and first >= len(content):
                    return self.send_error(416)
                self.send_response(206 if first else 200)
                self.send_header("Content-Length", str(len(content) - first))
                if told.tags:
                    self.send_header("ETag", tag)
                self.end_headers()
                end = first + told.breaks.pop(0) if told.breaks else len(content)
                self.wfile.write(content[first:end])
                return None

            def log_message(self, *said: object) -> None:
                pass

        return Handler


@contextmanager
def serving() -> Iterator[FileServer]:
    server = FileServer()
    thread = Thread(target=server.server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.server.shutdown()
        server.server.server_close()
        thread.join()
