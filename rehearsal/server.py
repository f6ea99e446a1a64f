"""An HTTP/1.1 file server that injects faults: for the tests of downloads, and for whole runs of the workflow.

    python -m rehearsal.server FOLDER --port 8000 --faults 0.3 --seed 1

It serves FOLDER on this machine as the official host serves COCO (with ranges), and injects a fault into a
random three of ten answers. It ends on Ctrl-C or SIGTERM, and then prints how often each fault was injected.
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
    """What is wrong with one answer. Fields combine; by default nothing is wrong.

    Attributes:
        cut: close the connection after this many bytes of the body.
        status: answer with this status instead of the file.
        retry_after: with `status`, the seconds in Retry-After.
        retry_date: send `retry_after` as a date.
        location: redirect there.
        length: added to Content-Length; a body shorter than its Content-Length ends with the connection.
        drip: bytes per second.
        page: a web page, with status 200, instead of the file.
        ignore_range: the whole file, with status 200, for every range.
        shift: added to the first byte of the range.
        corrupt: one wrong bit in the first byte of the body.
        edition: of the file; each edition has its own bytes, and all have the same size.
        encoding: Content-Encoding, though nothing is encoded.
        chunked: chunked transfer, without Content-Length.
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
    """A request, the status of its answer, and the bytes of body that were given to the connection."""

    method: str
    path: str
    range: str | None
    status: int = 0
    sent: int = 0


class Server(ThreadingHTTPServer):
    """Serves a folder.

    Args:
        folder: to serve.
        plan: called for each request to a file, with the size of the file in bytes; returns the fault of the answer.
        port: 0 for any free one.

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
        """The address of the folder, without a slash at its end."""
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Print no traceback for a client that has closed its connection: clients under test do."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


@contextmanager
def serving(folder: Path, *faults: Fault, then: Fault | None = None, port: int = 0) -> Iterator[Server]:
    """Serve a folder in a thread: the first answers have `faults`, in this order, and all later ones `then`.

    The port is any free one if it is 0.
    """
    left = iter(faults)
    server = Server(folder, lambda _: next(left, then or Fault()), port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


KINDS: dict[str, Callable[[int], Fault]] = {
    "cut": lambda place: Fault(cut=place),
    "404": lambda place: Fault(status=404),
    "416": lambda place: Fault(status=416),
    "500": lambda place: Fault(status=500),
    "503 seconds": lambda place: Fault(status=503, retry_after=1),
    "503 date": lambda place: Fault(status=503, retry_after=1, retry_date=True),
    "redirect": lambda place: Fault(location="?again"),
    "short length": lambda place: Fault(length=-1 - place),
    "long length": lambda place: Fault(length=1 + place),
    "slow drip": lambda place: Fault(drip=200.0),
    "web page": lambda place: Fault(page=True),
    "ignored range": lambda place: Fault(ignore_range=True),
    "wrong range": lambda place: Fault(shift=1),
    "wrong bytes": lambda place: Fault(corrupt=True),
    "changed file": lambda place: Fault(edition=1, cut=place),
}
"""Kinds of random faults; each takes a random place in the file, in bytes."""


class RandomFaults:
    """A plan for `Server` that draws faults at random: the same ones for the same seed and requests.

    Args:
        share: of answers that have a fault, 0 to 1.
        seed: of the draws.
        kinds: of `KINDS`, all equally likely.

    Attributes:
        count: faults injected so far, by kind.
    """

    def __init__(self, share: float, seed: int, kinds: Sequence[str] = tuple(KINDS)):
        self.share = share
        self.kinds = list(kinds)
        self.count: Counter[str] = Counter()
        self._rng = np.random.default_rng(seed)

    def __call__(self, size: int) -> Fault:
        """Draw the fault of an answer with a file of `size` bytes."""
        if self._rng.random() >= self.share:
            return Fault()
        kind = str(self._rng.choice(self.kinds))
        self.count[kind] += 1
        return KINDS[kind](int(self._rng.integers(size)) if size else 0)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        """Answer a GET or a HEAD."""
        self.request_log = Request(self.command, self.path, self.headers["Range"])
        path = self.server.folder / unquote(urlsplit(self.path).path).lstrip("/")
        inside = path.is_file() and path.resolve().is_relative_to(self.server.folder)
        with self.server.lock:
            self.server.log.append(self.request_log)
            fault = self.server.plan(path.stat().st_size) if inside else Fault(status=404)
        if fault.location is not None:
            self._send(HTTPStatus.FOUND, {"Location": fault.location})
        elif fault.status is not None:
            self._send(fault.status, _error_headers(path, fault))
        elif fault.page:
            self._send(HTTPStatus.OK, {"Content-Type": "text/html; charset=utf-8"}, _PAGE)
        else:
            self._send_file(path, fault)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Print nothing."""

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
        if fault.chunked:
            headers["Transfer-Encoding"] = "chunked"
        else:
            headers["Content-Length"] = str(max(0, length + fault.length))
        self._head(HTTPStatus.OK if asked is None else HTTPStatus.PARTIAL_CONTENT, headers)
        if self.command == "GET":
            self._send_body(path, first, length, fault)

    def _range(self, size: int, fault: Fault) -> tuple[int, int] | None:
        """Return the first and last byte to send; None: the whole file; first > last: the range lies beyond its end."""
        asked = re.fullmatch(r"bytes=([0-9]+)-([0-9]*)", self.headers["Range"] or "")
        if not asked or fault.ignore_range:
            return None
        return int(asked[1]), min(int(asked[2] or size), size - 1)

    def _send_body(self, path: Path, first: int, length: int, fault: Fault) -> None:
        left = length if fault.cut is None else min(fault.cut, length)
        left = min(left, length + fault.length)
        # If the connection stayed open after too few bytes, the client would wait for the others.
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
                # Counted first: when the client has the last byte, the count is complete.
                self.request_log.sent += len(content)
                self.wfile.write(b"%x\r\n%b\r\n" % (len(content), content) if fault.chunked else content)
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


def _error_headers(path: Path, fault: Fault) -> dict[str, str]:
    headers = {}
    if fault.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        headers["Content-Range"] = f"bytes */{path.stat().st_size}"
    if fault.retry_after is not None:
        date = email.utils.formatdate(time.time() + fault.retry_after, usegmt=True)
        headers["Retry-After"] = date if fault.retry_date else str(fault.retry_after)
    return headers


def main() -> None:
    """Serve until Ctrl-C or SIGTERM, then print the number of each fault, of requests and of bytes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--faults", type=float, default=0.0, metavar="SHARE", help="of answers, 0 to 1")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--kinds", nargs="+", choices=KINDS, default=tuple(KINDS), metavar="KIND", help=", ".join(KINDS)
    )
    options = parser.parse_args()
    if not options.folder.is_dir():
        parser.error(f"{options.folder}: no such folder")
    faults = RandomFaults(options.faults, options.seed, options.kinds)
    server = Server(options.folder, faults, options.port)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    print(f"{options.folder} on {server.url}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        for kind in options.kinds:
            print(f"{faults.count[kind]:7}  {kind}")
        print(f"{len(server.log)} requests, {sum(request.sent for request in server.log):,} bytes")


if __name__ == "__main__":
    main()
