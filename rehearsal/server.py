"""A file server over HTTP/1.1 with faults, for the tests of downloads and for whole runs of the workflow.

    python -m rehearsal.server FOLDER --port 8000 --faults 0.3 --seed 1

serves FOLDER on this machine, with ranges, as the official host serves COCO, and draws a fault for three of ten
requests. It ends on Ctrl-C or SIGTERM, and prints how often each fault was injected.
"""

import argparse
import email.utils
import re
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np

_CHUNK = 2**18
_PAGE = b"<!DOCTYPE html><html><body>Please log in to the network.</body></html>"


@dataclass(frozen=True)
class Fault:
    """What is wrong with one answer; fields combine, and by default nothing is.

    Args:
        cut: bytes of the body after which the connection is closed.
        status: an answer with this status and no file.
        retry_after: seconds, sent as a number or as a date, with `status`.
        retry_date: send `retry_after` as a date.
        location: where the answer redirects to.
        length: added to Content-Length; a body that is shorter than it says ends with the connection.
        drip: bytes a second.
        page: a web page, with status 200, instead of the file.
        ignore_range: the whole file, with status 200, whatever was asked for.
        shift: added to the start of the range that was asked for.
        corrupt: the first byte of the body has a wrong bit.
        edition: of the file; each has its own bytes, all have one size.
        encoding: Content-Encoding, without encoding anything.
        chunked: no Content-Length.
    """

    cut: int | None = None
    status: int | None = None
    retry_after: int | None = None
    retry_date: bool = False
    location: str | None = None
    length: int = 0
    drip: float | None = None
    page: bool = False
    ignore_range: bool = False
    shift: int = 0
    corrupt: bool = False
    edition: int = 0
    encoding: str | None = None
    chunked: bool = False


@dataclass
class Request:
    """A request as it came, the status that it got, and the bytes of body that were sent."""

    method: str
    path: str
    range: str | None
    status: int = 0
    sent: int = 0


class Server(ThreadingHTTPServer):
    """Serves a folder; `plan` decides on the fault of each request to a file, from the bytes that it asks for.

    Attributes:
        log: the requests so far.
    """

    daemon_threads = True

    def __init__(self, folder: Path, plan: Callable[[int], Fault], port: int = 0):
        super().__init__(("127.0.0.1", port), _Handler)
        self.folder = folder.resolve()
        self.plan = plan
        self.log: list[Request] = []
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        """The root of the server, without a slash at its end."""
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that have gone, the point of this server."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


@contextmanager
def serving(folder: Path, *faults: Fault, then: Fault | None = None) -> Iterator[Server]:
    """Serve a folder in a thread: the first requests meet `faults` in their order, all later ones `then`."""
    left = iter(faults)
    server = Server(folder, lambda _: next(left, then or Fault()))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Weather:
    """A plan that draws faults at random, the same ones for the same seed and requests.

    Args:
        share: of requests that meet a fault.
        seed: of the draws.
        kinds: of `KINDS`, all equally likely.

    Attributes:
        count: injected so far, by kind.
    """

    KINDS = (
        "cut", "404", "416", "500", "503 seconds", "503 date", "redirect", "short length", "long length", "slow drip",
        "web page", "ignored range", "wrong range", "wrong bytes", "changed file",
    )  # fmt: skip

    def __init__(self, share: float, seed: int, kinds: Sequence[str] = KINDS):
        self.share = share
        self.kinds = kinds
        self.count: Counter[str] = Counter()
        self._rng = np.random.default_rng(seed)

    def __call__(self, size: int) -> Fault:
        """Draw the fault of a request to a file of `size` bytes."""
        if self._rng.random() >= self.share:
            return Fault()
        kind = str(self._rng.choice(list(self.kinds)))
        self.count[kind] += 1
        cut = int(self._rng.integers(size)) if size else 0
        return {
            "cut": Fault(cut=cut),
            "404": Fault(status=404),
            "416": Fault(status=416),
            "500": Fault(status=500),
            "503 seconds": Fault(status=503, retry_after=1),
            "503 date": Fault(status=503, retry_after=1, retry_date=True),
            "redirect": Fault(location="?again"),
            "short length": Fault(length=-1 - cut),
            "long length": Fault(length=1 + cut),
            "slow drip": Fault(drip=200.0),
            "web page": Fault(page=True),
            "ignored range": Fault(ignore_range=True),
            "wrong range": Fault(shift=1),
            "wrong bytes": Fault(corrupt=True),
            "changed file": Fault(edition=1, cut=cut),
        }[kind]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        """Answer a GET."""
        self._answer()

    def do_HEAD(self) -> None:
        """Answer a HEAD."""
        self._answer()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Print nothing."""

    def _answer(self) -> None:
        self.request_log = Request(self.command, self.path, self.headers["Range"])
        path = self.server.folder / unquote(urlsplit(self.path).path).lstrip("/")
        inside = path.is_file() and path.resolve().is_relative_to(self.server.folder)
        with self.server.lock:
            self.server.log.append(self.request_log)
            fault = self.server.plan(path.stat().st_size) if inside else Fault(status=404)
        if fault.location is not None:
            self._send(HTTPStatus.FOUND, {"Location": fault.location})
        elif fault.status is not None:
            self._send(fault.status, self._apology(fault, path))
        elif fault.page:
            self._send(HTTPStatus.OK, {"Content-Type": "text/html; charset=utf-8"}, _PAGE)
        else:
            self._send_file(path, fault)

    def _apology(self, fault: Fault, path: Path) -> dict[str, str]:
        headers = {}
        if fault.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            headers["Content-Range"] = f"bytes */{path.stat().st_size}"
        if fault.retry_after is not None:
            date = email.utils.formatdate(time.time() + fault.retry_after, usegmt=True)
            headers["Retry-After"] = date if fault.retry_date else str(fault.retry_after)
        return headers

    def _send_file(self, path: Path, fault: Fault) -> None:
        size = path.stat().st_size
        headers = {"Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
        if fault.encoding is not None:
            headers["Content-Encoding"] = fault.encoding
        first, last = 0, size - 1
        asked = self._range(size, fault)
        if asked is not None:
            first, last = asked[0] + fault.shift, asked[1]
            if first > last:
                self._send(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, {"Content-Range": f"bytes */{size}"})
                return
            headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        length = last + 1 - first
        headers |= (
            {"Transfer-Encoding": "chunked"}
            if fault.chunked
            else {"Content-Length": str(max(0, length + fault.length))}
        )
        self._head(HTTPStatus.OK if asked is None else HTTPStatus.PARTIAL_CONTENT, headers)
        if self.command == "GET":
            self._send_body(path, first, length, fault)

    def _range(self, size: int, fault: Fault) -> tuple[int, int] | None:
        """Return the first and the last byte asked for; None for the whole file, first > last for none of its bytes."""
        asked = re.fullmatch(r"bytes=([0-9]+)-([0-9]*)", self.headers["Range"] or "")
        if not asked or fault.ignore_range:
            return None
        return int(asked[1]), min(int(asked[2] or size), size - 1)

    def _send_body(self, path: Path, first: int, length: int, fault: Fault) -> None:
        left = length if fault.cut is None else min(fault.cut, length)
        left = min(left, length + fault.length)
        # A connection that stays open after too few bytes would keep the client waiting.
        self.close_connection = left < length + fault.length
        step = _CHUNK if fault.drip is None else max(1, int(fault.drip / 100))
        table = bytes((value + fault.edition) % 256 for value in range(256))
        with path.open("rb") as file:
            file.seek(first)
            while left > 0:
                content = file.read(min(step, left))
                if fault.edition:
                    content = content.translate(table)
                if fault.corrupt and not self.request_log.sent:
                    content = bytes([content[0] ^ 1]) + content[1:]
                self.wfile.write(b"%x\r\n%b\r\n" % (len(content), content) if fault.chunked else content)
                self.request_log.sent += len(content)
                left -= len(content)
                if fault.drip is not None:
                    time.sleep(len(content) / fault.drip)
        if fault.chunked and not self.close_connection:
            self.wfile.write(b"0\r\n\r\n")

    def _send(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self._head(status, headers | {"Content-Length": str(len(body))})
        if self.command == "GET":
            self.wfile.write(body)

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.request_log.status = status
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


def main(arguments: Sequence[str]) -> None:
    """Serve until Ctrl-C or SIGTERM, then print the faults and the bytes."""
    parser = argparse.ArgumentParser(prog="python -m rehearsal.server", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--faults", type=float, default=0.0, metavar="SHARE", help="of requests, 0 to 1")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", choices=Weather.KINDS, default=Weather.KINDS, help="of faults")
    options = parser.parse_args(arguments)
    if not options.folder.is_dir():
        parser.error(f"{options.folder}: no such folder")
    weather = Weather(options.faults, options.seed, options.kinds)
    server = Server(options.folder, weather, options.port)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    print(f"{options.folder} on {server.url}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        for kind in options.kinds:
            print(f"{weather.count[kind]:7}  {kind}")
        print(f"{len(server.log)} requests, {sum(request.sent for request in server.log):,} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
