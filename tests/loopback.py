"""A web server on this machine that misbehaves as it is told."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple


class Answer(NamedTuple):
    """How one request is answered.

    `cut` ends the connection after so many bytes; `ranges` is whether the server continues a file
    where it is asked to, `shifted` how far from there; `length` is whether it says how long it is.
    """

    status: int = 200
    cut: int | None = None
    ranges: bool = True
    length: bool = True
    location: str | None = None
    shifted: int = 0


class Site:
    """What a server has and does: `answers` are used one by one, the last one for ever after.

    `requests` are the paths and Range headers that came.
    """

    def __init__(self, content: bytes, url: str):
        self.content = content
        self.url = url
        self.answers = [Answer()]
        self.requests = []

    def next_answer(self):
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class Handler(BaseHTTPRequestHandler):
    """Answers as the site says."""

    def log_message(self, *args):
        pass

    def do_GET(self):
        site = self.server.site
        asked = self.headers.get("Range")
        site.requests.append((self.path, asked))
        answer = site.next_answer()
        if answer.location or answer.status >= 400:
            self.send_response(answer.status)
            if answer.location:
                self.send_header("Location", answer.location)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start = int(asked[6:-1]) if asked and answer.ranges else 0
        if start > 0 and start >= len(site.content):
            self.send_error(416)
            return
        body = site.content[start:]
        self.send_response(206 if asked and answer.ranges else 200)
        if asked and answer.ranges:
            first = start + answer.shifted
            self.send_header("Content-Range", f"bytes {first}-{len(site.content) - 1}/*")
        if answer.length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if answer.cut is None else body[: answer.cut])
        self.close_connection = True


class Server(ThreadingHTTPServer):
    """Keeps to itself that a client has hung up."""

    def handle_error(self, request, client_address):
        pass


@contextmanager
def serve(content: bytes):
    """Run a server until the block ends; give its site."""
    server = Server(("127.0.0.1", 0), Handler)
    server.site = Site(content, f"http://127.0.0.1:{server.server_port}/files")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server.site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
