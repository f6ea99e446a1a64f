"""Downloads over HTTP that break and go on: a file gets its final name only when its size and digest are right.

An unfinished download is `<name>.part`, with its origin in `<name>.part.json`. It is resumed with Range and If-Range
(RFC 9110, 13.1.5 and 14.2), after a lost connection as after a kill. Bytes are appended only once the record of their
origin is written, and the record is replaced only while there are none: whatever the moment of a kill, a record that
can be read is that of the bytes.
"""

import email.utils
import errno
import fcntl
import hashlib
import json
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

_DIGEST = re.compile(r"md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}")
_LOCK = ".lock"

_NETWORK = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    urllib3.exceptions.HTTPError,
)
_PASSING = {408, 429, 500, 502, 503, 504}
_UNKNOWN = "the server gives no strong validator by which a resumed file is known to be the same"
_FULL = {errno.ENOSPC, errno.EDQUOT}
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18}|\*)")
_CHUNK = 2**20


@dataclass(frozen=True)
class Remote:
    """A file on a server, the name it gets, and what is known of it.

    Args:
        url: http or https.
        name: a plain file name.
        size: bytes.
        digest: `md5:<hex>` or `sha256:<hex>`, lower case.

    Raises:
        ValueError: one of them is none of that.
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
        if self.name.endswith((".part", ".part.json", ".wrong")):
            raise ValueError(f"{self.name!r}: a name of unfinished or wrong downloads")
        if self.size is not None and self.size < 0:
            raise ValueError(f"{self.name}: a size of {self.size} bytes, 0 or more expected")
        if self.digest is not None and not _DIGEST.fullmatch(self.digest):
            raise ValueError(f"{self.name}: digest {self.digest!r}, md5:<32 hex digits> or sha256:<64> expected")


@dataclass(frozen=True)
class Patience:
    """When a connection counts as lost, and how it is tried again. Times in seconds.

    Args:
        tries: that may fail one after the other without a byte more; as often a file may start again from nothing.
        first_wait: before the second try; doubled with each one, times a jitter of 0.5 to 1.
        longest_wait: of these.
        longest_retry_after: the longest Retry-After that is obeyed in full.
        timeout: of connecting, and of waiting for the next bytes.
        rate: bytes a second; a connection that is slower over `window` is cut and resumed.
        window: what `rate` is measured over.
        sleep, clock, jitter: `jitter` gives numbers in [0, 1).
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
        """Return the wait after that many failures in a row, where the server has asked for `asked`."""
        backoff = min(self.first_wait * 2.0 ** min(failures - 1, 100), self.longest_wait) * (0.5 + self.jitter() / 2)
        return max(backoff, min(asked, self.longest_retry_after))


def fetch(remotes: Sequence[Remote], folder: Path, patience: Patience | None = None) -> list[Path]:
    """Download files into a folder, and return their paths.

    A file that is there is verified and kept, without network; one that is wrong is put aside as `<name>.wrong`, which
    is said. Whatever ends this early keeps what has come: the next call resumes.

    Args:
        remotes: of different names.
        folder: made where it is missing; locked, so that two processes do not write to one file.
        patience: with the network.

    Raises:
        ValueError: two remotes of one name, or the server has another file than expected (size, digest, a web page).
        OSError: the server refuses or cannot be reached, the disk is or would be full, or another process downloads
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
                if error.errno not in _FULL:
                    raise
                raise OSError(
                    f"{folder}: disk full at {download.progress} of {download.remote.name}, which are kept: "
                    "free some space and run again, it resumes there"
                ) from error
    return [folder / name for name in names]


class _Lost(Exception):  # noqa: N818  an event of every long download
    """The connection is lost, or the server is busy: to be tried again, `wait` seconds later if it has said so."""

    def __init__(self, why: str, wait: float = 0.0, needed: int = 1):
        super().__init__(why)
        self.wait = wait
        self.needed = needed  # bytes that the try must have brought to count as progress


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
    """One unfinished download: its part, its record, and what is known of the file on the server."""

    def __init__(self, remote: Remote, folder: Path, patience: Patience):
        self.remote = remote
        self.patience = patience
        self.final = folder / remote.name
        self.part = folder / f"{remote.name}.part"
        self.record = folder / f"{remote.name}.part.json"
        self.size = self.part.stat().st_size if self.part.exists() else 0
        self.resumed = self.size > 0
        self.restarts = 0
        self.validator, self.total = self._read_record() if self.size else (None, None)
        self.total = self.total if remote.size is None else remote.size

    @property
    def whole(self) -> bool:
        return self.size == self.total

    @property
    def resumable(self) -> bool:
        return self.validator is not None or self.remote.digest is not None

    @property
    def progress(self) -> str:
        return f"{self.size:,} of {'?' if self.total is None else f'{self.total:,}'} bytes"

    def run(self, session: requests.Session) -> None:
        """Download what is missing, verify, and give the file its final name."""
        self._transfer(session)
        wrong = _fault(self.part, self.remote)
        if wrong is not None and self.resumed:
            _say(f"{self.remote.name}: {wrong}; it was put together from pieces, so it is downloaded once more")
            self.part.unlink()
            self.size = 0
            self._transfer(session)
            wrong = _fault(self.part, self.remote)
        if wrong is not None:
            page = ": the server has sent a web page" if _is_page(self.part) else ""
            self.part.unlink()
            self.record.unlink(missing_ok=True)
            raise ValueError(
                f"{self.remote.url}: {self.remote.name} has {wrong}{page}; it is removed, the next run starts anew"
            )
        with self.part.open("rb") as file:
            os.fsync(file.fileno())
        self.part.replace(self.final)
        self.record.unlink(missing_ok=True)

    def _transfer(self, session: requests.Session) -> None:
        failures = 0
        # Unbuffered: what has come is in the file when the process is killed.
        with self.part.open("ab", buffering=0) as self.file, _bar(self.remote.name, self.total, self.size) as self.bar:
            while not self.whole:
                before = self.size
                try:
                    self._try(session)
                except _Lost as lost:
                    failures = 1 if self.size - before >= lost.needed else failures + 1
                    if failures > self.patience.tries:
                        raise OSError(
                            f"{self.remote.url}: given up after {failures} tries in a row without progress, the last "
                            f"one: {lost}{self._outlook()}"
                        ) from lost
                    wait = self.patience.wait(failures, lost.wait)
                    _say(f"{self.remote.name}: {lost}; {self.progress}, on again in {wait:.0f} s")
                    self.patience.sleep(wait)

    def _outlook(self) -> str:
        if not self.size:
            return ""
        later = "resumes there" if self.resumable else f"starts from nothing: {_UNKNOWN}"
        return f"; {self.progress} are kept, the next run {later}"

    def _try(self, session: requests.Session) -> None:
        """Ask for what is missing, and append what comes.

        Raises:
            _Lost: before the end.
        """
        if self.size and not self.resumable:
            self._restart(_UNKNOWN)
        if self.total is not None and self.size > self.total:
            self._restart(f"there are {self.size:,} bytes of a file of {self.total:,}")
        headers = {"Accept-Encoding": "identity"}
        if self.size:
            headers["Range"] = f"bytes={self.size}-"
        if self.size and self.validator:
            headers["If-Range"] = self.validator
        try:
            with session.get(self.remote.url, headers=headers, stream=True, timeout=self.patience.timeout) as response:
                if self._accept(response):
                    self._append(response)
        except _NETWORK as error:
            raise _Lost(f"connection lost ({_root(error)})") from error
        except (requests.RequestException, UnicodeError) as error:  # too many redirects, a URL that is none
            raise OSError(f"{self.remote.url}: {error}") from error

    def _accept(self, response: requests.Response) -> bool:
        """Decide on status and headers; return whether the body is what is to be appended.

        Raises:
            _Lost, OSError, ValueError: it is not, and another try may help; is no use; would bring the wrong file.
        """
        status = response.status_code
        if status in _PASSING:
            raise _Lost(f"the server answers {status} {response.reason}", _retry_after(response))
        if status == 416 and self.size:
            return self._unsatisfied(response)
        if status != 200 and not (status == 206 and self.size):
            raise OSError(f"{response.url}: the server answers {status} {response.reason}, no {self.remote.name} there")
        self._refuse_disguise(response)
        return self._continue(response) if status == 206 else self._begin(response)

    def _begin(self, response: requests.Response) -> bool:
        size = _content_length(response)
        expected = self.remote.size
        if size is not None and expected is not None and size != expected:
            raise ValueError(
                f"{response.url}: the server's {self.remote.name} has {size:,} bytes, {expected:,} expected: "
                "a proxy's page or another edition; for another edition, give its size and checksum"
            )
        if self.size:
            self._restart("the server's file has changed, or it cannot resume")
        self.total = size if expected is None else expected
        _check_space(self.part.parent, self.total or 0)
        self.validator = _validator(response)
        record = {"url": self.remote.url, "validator": self.validator, "total": self.total}
        self.record.write_text(json.dumps(record), encoding="utf-8")
        return True

    def _continue(self, response: requests.Response) -> bool:
        found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if not found or int(found[1]) != self.size:
            return self._restart("the server sends another range than asked for")
        if found[2] != "*" and self.total not in (None, int(found[2])):
            return self._restart(f"the server's file now has {int(found[2]):,} bytes instead of {self.total:,}")
        header = "ETag" if (self.validator or "").startswith('"') else "Last-Modified"
        if self.validator and response.headers.get(header, self.validator) != self.validator:
            return self._restart("the server's file has changed")
        self.resumed = True
        return True

    def _unsatisfied(self, response: requests.Response) -> bool:
        same_size = response.headers.get("Content-Range") == f"bytes */{self.size}"
        decidable = self.total is None or (self.remote.size is None and self.remote.digest is not None)
        if not (same_size and decidable):
            return self._restart("the server has no bytes beyond these (416)")
        self.total = self.size
        return False

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

    def _restart(self, why: str) -> bool:
        """Drop what has come; False, as the answer at hand is not to be appended."""
        self.restarts += 1
        if self.restarts > self.patience.tries:
            raise OSError(f"{self.remote.url}: given up after {self.restarts} starts from nothing, the last one: {why}")
        _say(f"{self.remote.name}: {why}; {self.size:,} bytes dropped, again from the start")
        self.file.truncate(0)
        self.size = 0
        self.resumed = False
        self.validator, self.total = None, self.remote.size
        self.bar.reset(self.total)
        self.bar.initial = 0
        return False

    def _read_record(self) -> tuple[str | None, int | None]:
        try:
            record = json.loads(self.record.read_bytes()[: 2**16])
            if record["url"] != self.remote.url:
                return None, None
            validator, total = record["validator"], record["total"]
        except (OSError, ValueError, RecursionError, KeyError, TypeError):
            return None, None
        if not isinstance(validator, str) or not _is_validator(validator):
            return None, None
        return validator, total if type(total) is int else None


def _keep(remote: Remote, folder: Path) -> bool:
    """Return whether the file is there and right; put a wrong one aside, and remove what is left of its download."""
    path = folder / remote.name
    if not path.exists():
        return False
    if not path.is_file():
        raise ValueError(f"{path}: in the way of the download of {remote.url}, and no file")
    if fault := _fault(path, remote):
        path.replace(path.with_name(f"{path.name}.wrong"))
        _say(f"{path}: {fault}; put aside as {path.name}.wrong and downloaded again")
        return False
    for suffix in (".part", ".part.json"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
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


def _validator(response: requests.Response) -> str | None:
    """Return the strong validator of a response: its ETag, or without one a Last-Modified a minute before its Date.

    RFC 9110, 8.8.2.2 asks for a Date at least one second later, and enough that two clocks cannot make the difference;
    RFC 7232, 2.2.2 named 60 seconds. 13.1.5 forbids the date where there is an ETag.
    """
    tag, modified = response.headers.get("ETag"), response.headers.get("Last-Modified")
    if tag is not None:
        return tag if tag.startswith('"') and _is_validator(tag) else None
    changed, date = _seconds(modified), _seconds(response.headers.get("Date"))
    if modified is None or changed is None or date is None or date - changed < 60:
        return None
    return modified if _is_validator(modified) else None


def _is_validator(text: str) -> bool:
    return 0 < len(text) <= 1024 and text.isascii() and text.isprintable() and text == text.strip()


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
    """Return what lies at the bottom of an error of requests, whose own text runs over three layers of pools."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return str(error) or type(error).__name__


def _bar(title: str, total: int | None, initial: int = 0) -> "tqdm[Never]":
    return tqdm(total=total, initial=initial, desc=title, unit="B", unit_scale=True, mininterval=0.5)


def _say(line: str) -> None:
    tqdm.write(line, file=sys.stderr)
