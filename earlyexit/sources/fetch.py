"""Downloads over HTTP that can be resumed: a file gets its final name only when its size and digest are right.

An unfinished download is `<name>.part`. Where a digest is known, it is resumed with Range (RFC 9110, 14.2), after a
lost connection as after a kill: the digest of the whole file tells whether the pieces belong together. A file without
a digest is downloaded from its start each time.
"""

import email.utils
import fcntl
import hashlib
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Never
from urllib.parse import urljoin, urlsplit

import numpy as np
import requests
import urllib3
from tqdm import tqdm

from earlyexit.common.files import FULL

_DIGEST = re.compile(r"md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}")
_LOCK = ".lock"

_NETWORK = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    urllib3.exceptions.HTTPError,
)
_PASSING = {408, 429, 500, 502, 503, 504}
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18}|\*)")
_CHUNK = 2**20


@dataclass(frozen=True)
class Remote:
    """A file on a server.

    Args:
        url: an http or https address.
        name: the plain file name that the download gets.
        size: its bytes, where known.
        digest: `md5:<hex>` or `sha256:<hex>`, lower case, where known.

    Raises:
        ValueError: an argument is not of that kind.
    """

    url: str
    name: str
    size: int | None = None
    digest: str | None = None

    def __post_init__(self) -> None:
        if not _is_http(self.url):
            raise ValueError(f"{self.url!r}: not a URL that can be downloaded, http://... or https://... expected")
        if self.name in {"", ".", "..", _LOCK} or not self.name.isprintable() or set(self.name) & set("/\\"):
            raise ValueError(f"{self.name!r}: not a plain file name")
        if self.name.endswith((".part", ".wrong")):
            raise ValueError(f"{self.name!r}: the endings .part and .wrong mark unfinished and wrong files")
        if self.size is not None and self.size < 0:
            raise ValueError(f"{self.name}: a size of {self.size} bytes, 0 or more expected")
        if self.digest is not None and not _DIGEST.fullmatch(self.digest):
            raise ValueError(f"{self.name}: digest {self.digest!r}, md5:<32 hex digits> or sha256:<64> expected")


@dataclass(frozen=True)
class Patience:
    """When a connection counts as lost, and how it is retried. Times are in seconds.

    Args:
        tries: how many tries in a row may fail without bringing the file further than before.
        first_wait: the wait before the second try. It doubles with each failure, and is multiplied by a jitter of 0.5
            to 1.
        longest_wait: the limit of that wait.
        longest_retry_after: the longest Retry-After of a server that is obeyed in full.
        timeout: for connecting, and for the next bytes to come.
        rate: the least bytes per second; a slower connection is cut and resumed.
        window: the time over which `rate` is measured.
        sleep: waits that many seconds.
        clock: returns the time.
        jitter: returns random numbers in [0, 1).
    """

    tries: int = 8
    first_wait: float = 1.0
    longest_wait: float = 60.0
    longest_retry_after: float = 300.0
    timeout: float = 30.0
    rate: float = 1000.0
    window: float = 60.0
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    jitter: Callable[[], float] = np.random.default_rng().random

    def wait(self, failures: int, asked: float) -> float:
        """Return the wait after `failures` in a row, where the server has asked for a wait of `asked`."""
        backoff = min(self.first_wait * 2.0 ** min(failures - 1, 100), self.longest_wait) * (0.5 + self.jitter() / 2)
        return max(backoff, min(asked, self.longest_retry_after))


def fetch(remotes: Sequence[Remote], folder: Path, patience: Patience | None = None) -> list[Path]:
    """Download files into a folder, and return their paths.

    A file that is already there is verified and kept, without network. A wrong one is renamed to `<name>.wrong`, with
    a message. Bytes that have come are kept when this ends early: the next call resumes.

    Args:
        remotes: the files, each with a name of its own.
        folder: is made where it is missing, and locked, so that two processes do not write to one file.
        patience: how often and how long to try.

    Raises:
        ValueError: two remotes have one name, or the server has another file than expected (size, digest, a web page).
        OSError: the server refuses or cannot be reached, the disk is full or too small, or another process downloads
            into the folder.
    """
    names = [remote.name for remote in remotes]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{', '.join(twice)}: more than one download of that name")
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder), _Session() as session:
        missing = [_Download(remote, folder, patience or Patience()) for remote in remotes if not _keep(remote, folder)]
        _check_space(folder, sum(max(0, (download.total or 0) - download.size) for download in missing))
        for download in missing:
            try:
                download.run(session)
            except OSError as error:
                if error.errno not in FULL:
                    raise
                raise OSError(
                    f"{folder}: {error.strerror} at {download.progress} of {download.remote.name}: free some space, or "
                    "use a disk that holds files of that size, and run again: the download resumes there"
                ) from error
    return [folder / name for name in names]


class _Lost(Exception):  # noqa: N818  an event of every long download
    """The connection is lost, or the server is busy: try again.

    Args:
        why: for the user.
        wait: seconds that the server has asked for.
        needed: bytes that the try must have brought to count as progress.
    """

    def __init__(self, why: str, wait: float = 0.0, needed: int = 1):
        super().__init__(why)
        self.wait = wait
        self.needed = needed


class _Session(requests.Session):
    """Follows redirects, but never from https to http."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        target = super().get_redirect_target(resp)
        if target is None:
            return None
        full = urljoin(resp.url, target)
        if not _is_http(full) or (_is_http(resp.url, {"https"}) and not _is_http(full, {"https"})):
            raise OSError(f"{resp.url}: redirected to {full}, which is refused: not http, or no longer https")
        return target


class _Download:
    """One unfinished download: its part, and the size of the whole file once it is known."""

    def __init__(self, remote: Remote, folder: Path, patience: Patience):
        self.remote = remote
        self.patience = patience
        self.final = folder / remote.name
        self.part = folder / f"{remote.name}.part"
        self.resumable = remote.digest is not None
        self.size = self.part.stat().st_size if self.resumable and self.part.exists() else 0
        self.total = remote.size
        self.resumed = self.size > 0

    @property
    def whole(self) -> bool:
        return self.size == self.total

    @property
    def progress(self) -> str:
        return f"{self.size:,} of {'?' if self.total is None else f'{self.total:,}'} bytes"

    def run(self, session: requests.Session) -> None:
        """Download what is missing, verify, and give the file its final name."""
        self._transfer(session)
        wrong = _fault(self.part, self.remote)
        if wrong is not None and self.resumed:
            _say(f"{self.remote.name}: {wrong}; it was resumed, so it is downloaded once more from its start")
            self.size, self.total, self.resumed = 0, self.remote.size, False
            self._transfer(session)
            wrong = _fault(self.part, self.remote)
        if wrong is not None:
            page = ": the server has sent a web page" if _is_page(self.part) else ""
            self.part.unlink()
            raise ValueError(
                f"{self.remote.url}: {self.remote.name} has {wrong}{page}; it is removed, the next run starts anew"
            )
        with self.part.open("rb") as file:
            os.fsync(file.fileno())
        self.part.replace(self.final)

    def _transfer(self, session: requests.Session) -> None:
        failures, furthest = 0, self.size
        # Unbuffered: what has come is in the file when the process is killed.
        with self.part.open("ab", buffering=0) as self.file, _bar(self.remote.name, self.total, self.size) as self.bar:
            self.file.truncate(self.size)
            while not self.whole:
                try:
                    self._try(session)
                except _Lost as lost:
                    failures = 1 if self.size - furthest >= lost.needed else failures + 1
                    furthest = max(furthest, self.size)
                    if failures > self.patience.tries:
                        kept = f"; {self.progress} are kept, the next run resumes there" if self.resumable else ""
                        raise OSError(
                            f"{self.remote.url}: given up after {failures} tries in a row without progress, the last "
                            f"one: {lost}{kept}"
                        ) from lost
                    wait = self.patience.wait(failures, lost.wait)
                    _say(f"{self.remote.name}: {lost}; {self.progress}, next try in {wait:.0f} s")
                    self.patience.sleep(wait)

    def _try(self, session: requests.Session) -> None:
        """Ask for what is missing, and append what comes.

        Raises:
            _Lost: the connection ended before the file did.
        """
        if not self.resumable or (self.total is not None and self.size > self.total):
            self._restart()
        headers = {"Accept-Encoding": "identity"}
        if self.size:
            headers["Range"] = f"bytes={self.size}-"
        try:
            with session.get(self.remote.url, headers=headers, stream=True, timeout=self.patience.timeout) as response:
                if self._accept(response):
                    self._append(response)
        except _NETWORK as error:
            raise _Lost(f"connection lost ({_root(error)})") from error
        except (requests.RequestException, UnicodeError) as error:  # too many redirects, a URL that is none
            raise OSError(f"{self.remote.url}: {error}") from error

    def _accept(self, response: requests.Response) -> bool:
        """Decide on status and headers; return whether the body is to be appended.

        Raises:
            _Lost: another try may help.
            OSError: the server refuses.
            ValueError: the server has another file.
        """
        status = response.status_code
        if status in _PASSING:
            raise _Lost(f"the server answers {status} {response.reason}", _retry_after(response))
        if status == 416 and self.size:
            self.resumed, self.total = True, self.size  # The server has no byte more: the digest decides.
            return False
        if status != 200 and not (status == 206 and self.size):
            raise OSError(f"{response.url}: the server answers {status} {response.reason}, no {self.remote.name} there")
        self._refuse_disguise(response)
        if status == 200:
            self._restart()  # Where a range was asked for, the server cannot resume.
            self._expect(response, _content_length(response))
            _check_space(self.part.parent, self.total or 0)
            return True
        found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if not found or int(found[1]) != self.size:
            self._restart()
            raise _Lost("the server sends another range than asked for, again from the start")
        self._expect(response, None if found[2] == "*" else int(found[2]))
        self.resumed = True
        return True

    def _expect(self, response: requests.Response, size: int | None) -> None:
        """Note the size of the whole file that the server names."""
        expected = self.remote.size
        if size is not None and expected is not None and size != expected:
            raise ValueError(
                f"{response.url}: the server's {self.remote.name} has {size:,} bytes, {expected:,} expected: "
                "a proxy's page or another edition; for another edition, give its size and checksum"
            )
        self.total = size if expected is None else expected

    def _refuse_disguise(self, response: requests.Response) -> None:
        kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind in {"text/html", "application/xhtml+xml"} and not self.remote.name.endswith((".html", ".htm")):
            raise ValueError(
                f"{response.url}: the server has answered with a web page ({kind}) instead of {self.remote.name}: "
                "perhaps the login page of a network, or a proxy; see it in a browser"
            )
        encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
        # Some servers call the .gz of a .tar.gz its encoding. Nothing is ever decoded here, so that does no harm.
        misnamed = encoding in {"gzip", "x-gzip"} and self.remote.name.endswith((".gz", ".tgz"))
        if encoding != "identity" and not misnamed:
            raise ValueError(f"{response.url}: sent in {encoding} encoding although identity was asked for: a proxy?")

    def _append(self, response: requests.Response) -> None:
        patience = self.patience
        enough = int(patience.rate * patience.window)
        since, size = patience.clock(), self.size
        # read1 returns what has come; read would wait for a full chunk, and a slow drip would never time out.
        while chunk := response.raw.read1(_CHUNK, decode_content=False):
            rest = memoryview(chunk)
            while rest:
                written = self.file.write(rest)
                self.size += written
                rest = rest[written:]
            self.bar.update(len(chunk))
            if self.remote.size is not None and self.size > self.remote.size:
                raise ValueError(f"{response.url}: more than the {self.remote.size:,} bytes expected: another edition?")
            if patience.clock() - since >= patience.window:
                if self.size - size < enough:
                    raise _Lost(f"less than {patience.rate:,.0f} bytes a second for {patience.window:g} s", 0.0, enough)
                since, size = patience.clock(), self.size
        if self.total is None:
            self.total = self.size
        if not self.whole:
            raise _Lost("connection ended early")

    def _restart(self) -> None:
        """Drop what has come."""
        self.file.truncate(0)
        self.size, self.total, self.resumed = 0, self.remote.size, False
        self.bar.reset(self.total)
        self.bar.initial = 0


def _keep(remote: Remote, folder: Path) -> bool:
    """Return whether the file is there and right; rename a wrong one, and remove the part of a right one."""
    path = folder / remote.name
    if not path.exists():
        return False
    if not path.is_file():
        raise ValueError(f"{path}: not a file, but in the way of the download of {remote.url}")
    if fault := _fault(path, remote):
        path.replace(path.with_name(f"{path.name}.wrong"))
        _say(f"{path}: {fault}; put aside as {path.name}.wrong and downloaded again")
        return False
    path.with_name(f"{path.name}.part").unlink(missing_ok=True)
    return True


def _fault(path: Path, remote: Remote) -> str | None:
    """Return what is wrong with a file; None where size and digest are as expected."""
    size = path.stat().st_size
    if remote.size is not None and size != remote.size:
        return f"{size:,} bytes, {remote.size:,} expected"
    if remote.digest is None:
        return None
    found = _digest(path, remote.digest.partition(":")[0], f"verify {remote.name}")
    return None if found == remote.digest else f"checksum {found}, {remote.digest} expected"


def _digest(path: Path, algorithm: str, title: str) -> str:
    state = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as file, _bar(title, path.stat().st_size) as bar:
        while chunk := file.read(_CHUNK):
            state.update(chunk)
            bar.update(len(chunk))
    return f"{algorithm}:{state.hexdigest()}"


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(
            f"{folder}: {needed:,} bytes are still to be downloaded, {free:,} are free there: "
            f"free {needed - free:,} more, or take another disk"
        )


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / _LOCK).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OSError(f"{folder}: another process downloads into it: wait until it is done, or end it") from None
        yield


def _is_http(url: str, schemes: Set[str] = frozenset({"http", "https"})) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in schemes and bool(parts.hostname) and url.isprintable()


def _is_page(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(1024).lstrip().lower().startswith((b"<!doctype html", b"<html"))


def _content_length(response: requests.Response) -> int | None:
    found = re.fullmatch(r"[0-9]{1,18}", response.headers.get("Content-Length", ""))
    return int(found[0]) if found else None


def _retry_after(response: requests.Response) -> float:
    """Return the seconds that a server asks to wait, as a number or as a date; 0 where it asks for none."""
    asked = response.headers.get("Retry-After", "")
    if re.fullmatch(r"[0-9]{1,9}", asked):
        return float(asked)
    until, date = _seconds(asked), _seconds(response.headers.get("Date"))
    return max(0.0, until - (time.time() if date is None else date)) if until is not None else 0.0


def _seconds(date: str | None) -> float | None:
    """Return an HTTP date in seconds since 1970; None where it is none."""
    try:
        return email.utils.parsedate_to_datetime(date or "").timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def _root(error: BaseException) -> str:
    """Return the message of the innermost error: that of requests repeats those of three layers below it."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return str(error) or type(error).__name__


def _bar(title: str, total: int | None, initial: int = 0) -> "tqdm[Never]":
    return tqdm(total=total, initial=initial, desc=title, unit="B", unit_scale=True, mininterval=0.5)


def _say(line: str) -> None:
    tqdm.write(line, file=sys.stderr)
