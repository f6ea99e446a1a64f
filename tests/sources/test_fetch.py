import hashlib
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC
from email.utils import format_datetime
from functools import partial
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from earlyexit.sources import fetch as module
from earlyexit.sources.fetch import Patience, Remote, fetch
from rehearsal.server import Fault, RandomFaults, Server, serving
from tests.waiting import LONG, wait_until

SIZE = 5000
LOST = Fault(cut=0)


@dataclass
class Site:
    """A folder with one file on the side of the server, and one for downloads."""

    served: Path
    downloads: Path
    content: bytes
    sleeps: list[float] = field(default_factory=list)

    @property
    def path(self) -> Path:
        return self.served / "zips" / "a.zip"

    @property
    def final(self) -> Path:
        return self.downloads / "a.zip"

    @property
    def part(self) -> Path:
        return self.downloads / "a.zip.part"

    @property
    def names(self) -> set[str]:
        return {path.name for path in self.downloads.iterdir()} - {".lock"}

    @property
    def patience(self) -> Patience:
        return Patience(tries=4, sleep=self.sleeps.append, jitter=lambda: 0.0, timeout=LONG)

    def remote(self, server: Server | str, digest: bool = True, size: bool = True) -> Remote:
        url = server if isinstance(server, str) else server.url
        return Remote(
            f"{url}/zips/a.zip", "a.zip", len(self.content) if size else None, md5(self.content) if digest else None
        )


def md5(content: bytes) -> str:
    return f"md5:{hashlib.md5(content).hexdigest()}"


def site_in(folder: Path, content: bytes) -> Site:
    site = Site(folder / "served", folder / "downloads", content)
    site.path.parent.mkdir(parents=True)
    site.downloads.mkdir()
    site.path.write_bytes(content)
    return site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return site_in(tmp_path, np.random.default_rng(0).bytes(SIZE))


def refused(site: Site, remote: Remote, error: type[Exception], match: str, patience: Patience | None = None) -> None:
    with pytest.raises(error, match=match):
        fetch([remote], site.downloads, patience or site.patience)


def ranges(server: Server) -> list[str | None]:
    return [request.range for request in server.log]


def sent(server: Server) -> int:
    return sum(request.sent for request in server.log)


@pytest.fixture(scope="module", autouse=True)
def _no_proxy() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "127.0.0.1")
        patch.setenv("no_proxy", "127.0.0.1")
        yield


# Without faults


@pytest.mark.parametrize(("digest", "size"), [(True, True), (True, False), (False, True), (False, False)])
def test_files_arrive(site: Site, digest: bool, size: bool) -> None:
    (site.served / "ids.txt").write_bytes(b"")
    with serving(site.served) as server:
        remotes = [site.remote(server, digest, size), Remote(f"{server.url}/ids.txt", "ids.txt")]
        assert fetch(remotes, site.downloads / "new", site.patience) == [
            site.downloads / "new" / "a.zip",
            site.downloads / "new" / "ids.txt",
        ]
        assert [request.method for request in server.log] == ["GET", "GET"]
    assert (site.downloads / "new" / "a.zip").read_bytes() == site.content
    assert {path.name for path in (site.downloads / "new").iterdir()} == {"a.zip", "ids.txt", ".lock"}
    assert site.sleeps == []


def test_what_is_there_needs_no_network(site: Site) -> None:
    site.final.write_bytes(site.content)
    site.part.write_bytes(b"left by a kill between two steps")
    assert fetch([site.remote("http://127.0.0.1:1")], site.downloads, site.patience) == [site.final]
    assert site.names == {"a.zip"}
    assert site.sleeps == []


def test_a_whole_part_needs_no_network(site: Site) -> None:
    site.part.write_bytes(site.content)
    fetch([site.remote("http://127.0.0.1:1")], site.downloads, site.patience)
    assert site.final.read_bytes() == site.content
    assert site.names == {"a.zip"}


@pytest.mark.parametrize("wrong", [b"short", b"x" * SIZE])
def test_a_wrong_file_is_put_aside(site: Site, wrong: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    site.final.write_bytes(wrong)
    with serving(site.served) as server:
        fetch([site.remote(server)], site.downloads, site.patience)
    assert site.final.read_bytes() == site.content
    assert (site.downloads / "a.zip.wrong").read_bytes() == wrong
    assert "put aside as a.zip.wrong and downloaded again" in capsys.readouterr().err


def test_sha256(site: Site) -> None:
    digest = f"sha256:{hashlib.sha256(site.content).hexdigest()}"
    with serving(site.served) as server:
        fetch([replace(site.remote(server), digest=digest)], site.downloads, site.patience)
        other = replace(site.remote(server), name="b", digest=f"sha256:{64 * '0'}")
        refused(site, other, ValueError, f"checksum {digest}, sha256:0+ expected")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"url": "file:///etc/passwd"}, "'file:///etc/passwd': not a URL that can be downloaded, http"),
        ({"url": "ftp://host/a"}, "not a URL that can be downloaded"),
        ({"url": "http://"}, "not a URL that can be downloaded"),
        ({"url": "http://[::1/a"}, "not a URL that can be downloaded"),
        ({"url": "http://host/a\r\nX: y"}, "not a URL that can be downloaded"),
        ({"url": "a.zip"}, "not a URL that can be downloaded"),
        ({"name": "../a"}, "'../a': not a plain file name"),
        ({"name": "/a"}, "not a plain file name"),
        ({"name": "a\\b"}, "not a plain file name"),
        ({"name": ".."}, "not a plain file name"),
        ({"name": ""}, "not a plain file name"),
        ({"name": ".lock"}, "not a plain file name"),
        ({"name": "a\0"}, "not a plain file name"),
        ({"name": "b.part"}, "the endings .part and .wrong mark unfinished and wrong files"),
        ({"size": -1}, "a: a size of -1 bytes"),
        ({"digest": "md5:abc"}, "a: digest 'md5:abc', md5:<32 hex digits> or sha256:<64> expected"),
        ({"digest": "sha1:" + 40 * "0"}, "a: digest"),
    ],
)
def test_remotes_that_are_refused(change: dict[str, str | int], message: str) -> None:
    arguments = {"url": "http://host/a", "name": "a"} | change
    with pytest.raises(ValueError) as caught:
        Remote(**arguments)  # type: ignore[arg-type]
    assert message in str(caught.value)


def test_two_of_one_name(site: Site) -> None:
    with pytest.raises(ValueError, match=r"a\.zip: more than one download of that name"):
        fetch([site.remote("http://a"), site.remote("http://b")], site.downloads)


def test_a_folder_in_the_way(site: Site) -> None:
    site.final.mkdir()
    with pytest.raises(ValueError, match=r"a\.zip: not a file, but in the way of the download of http://a/zips/a\.zip"):
        fetch([site.remote("http://a")], site.downloads)


# Lost connections


@pytest.mark.parametrize("cut", [0, 1, 2500, SIZE - 1])
@pytest.mark.parametrize("digest", [True, False])
def test_a_cut_connection_is_resumed_where_a_digest_is_known(site: Site, cut: int, digest: bool) -> None:
    with serving(site.served, Fault(cut=cut)) as server:
        fetch([site.remote(server, digest)], site.downloads, site.patience)
        assert ranges(server) == [None, f"bytes={cut}-" if cut and digest else None]
        assert sent(server) == SIZE + (0 if digest else cut)
    assert site.final.read_bytes() == site.content
    assert site.sleeps == [0.5]


def test_progress_resets_the_count_of_failures(site: Site) -> None:
    faults = [LOST, LOST, Fault(cut=100), LOST, LOST, LOST, Fault(cut=1)] * 5
    with serving(site.served, *faults) as server:
        fetch([site.remote(server)], site.downloads, site.patience)
        assert sent(server) == SIZE
    assert site.final.read_bytes() == site.content
    assert site.sleeps[:8] == [0.5, 1.0, 0.5, 1.0, 2.0, 4.0, 0.5, 1.0]


def test_without_progress_it_is_given_up_and_resumed_later(site: Site) -> None:
    with serving(site.served, Fault(cut=1234), *[LOST] * 4) as server:
        refused(
            site, site.remote(server), OSError, r"given up after 5 tries .* 1,234 of 5,000 bytes are kept, the next"
        )
        assert site.names == {"a.zip.part"}
        fetch([site.remote(server)], site.downloads, site.patience)
        assert sent(server) == SIZE
    assert site.names == {"a.zip"}
    assert site.sleeps == [0.5, 0.5 * 2, 2.0, 4.0]


def test_nobody_there(site: Site) -> None:
    nobody = site.remote("http://127.0.0.1:1")
    refused(site, nobody, OSError, r"http://127\.0\.0\.1:1/zips/a\.zip: given up after 5 tries .* refused")
    assert len(site.sleeps) == 4


def test_silence(site: Site) -> None:
    with serving(site.served, Fault(drip=0.5)) as server:
        fetch([site.remote(server)], site.downloads, replace(site.patience, tries=100, timeout=0.1))
        assert ranges(server)[:2] == [None, "bytes=1-"]
    assert site.final.read_bytes() == site.content


def hasty(site: Site) -> Patience:
    """By its clock a second passes with every piece of the file that comes."""
    return replace(site.patience, rate=500, window=2, clock=partial(next, count(0.0)))


def test_a_slow_drip_is_cut_and_resumed(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(site.served, Fault(drip=300)) as server:
        fetch([site.remote(server)], site.downloads, hasty(site))
        assert len(server.log) == 2
        assert server.log[1].range is not None
    assert site.final.read_bytes() == site.content
    assert "less than 500 bytes a second for 2 s" in capsys.readouterr().err


def test_a_drip_without_end_is_given_up(site: Site) -> None:
    with serving(site.served, then=Fault(drip=300)) as server:
        refused(site, site.remote(server), OSError, "given up after 5 tries .* less than 500 bytes a sec", hasty(site))
        assert len(server.log) == 5
    assert site.part.stat().st_size > 5


def test_no_length(site: Site) -> None:
    with serving(site.served, Fault(chunked=True, cut=70)) as server:
        fetch([site.remote(server, size=False)], site.downloads, site.patience)
        assert ranges(server) == [None, "bytes=70-"]
    assert site.final.read_bytes() == site.content


def test_a_body_that_is_short_of_what_is_expected(site: Site) -> None:
    with serving(site.served, Fault(chunked=True, length=-10)) as server:
        fetch([site.remote(server)], site.downloads, site.patience)
        assert ranges(server) == [None, "bytes=4990-"]
    assert site.sleeps == [0.5]


# Answers that pass


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_again(site: Site, status: int, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(site.served, *[Fault(status=status)] * 3) as server:
        fetch([site.remote(server)], site.downloads, site.patience)
    assert site.final.read_bytes() == site.content
    assert site.sleeps == [0.5, 1.0, 2.0]
    assert f"a.zip: the server answers {status}" in capsys.readouterr().err


@pytest.mark.parametrize("date", [True, False])
@pytest.mark.parametrize(("asked", "low", "high"), [(250, 100, 250), (10**6, 300, 300), (0, 0.5, 0.5)])
def test_retry_after(site: Site, date: bool, asked: int, low: float, high: float) -> None:
    with serving(site.served, Fault(status=503, retry_after=asked, retry_date=date)) as server:
        fetch([site.remote(server)], site.downloads, site.patience)
    assert len(site.sleeps) == 1
    assert low <= site.sleeps[0] <= high


def test_waits_double_up_to_a_limit() -> None:
    patience = Patience(jitter=lambda: 0.5)
    assert [patience.wait(failures, 0) for failures in (1, 2, 3, 7, 2000)] == [0.75, 1.5, 3, 45, 45]
    assert patience.wait(1, 12) == 12


# Answers that do not


@pytest.mark.parametrize("status", [204, 304, 400, 401, 403, 404, 410, 416, 501])
def test_a_refusal_is_final(site: Site, status: int) -> None:
    with serving(site.served, Fault(status=status)) as server:
        refused(site, site.remote(server), OSError, rf"{server.url}/zips/a\.zip: the server answers {status}")
        assert len(server.log) == 1
    assert not site.final.exists()


def test_a_refusal_keeps_what_has_come(site: Site) -> None:
    with serving(site.served, Fault(cut=99), Fault(status=404), Fault(cut=2), Fault(page=True)) as server:
        for message in ("404", "web page"):
            with pytest.raises((OSError, ValueError), match=message):
                fetch([site.remote(server)], site.downloads, site.patience)
        fetch([site.remote(server)], site.downloads, site.patience)
        assert sent(server) == SIZE
    assert site.final.read_bytes() == site.content


@pytest.mark.parametrize("partial", [0, 10])
def test_a_web_page(site: Site, partial: int) -> None:
    with serving(site.served, *[Fault(cut=partial)] * bool(partial), Fault(page=True)) as server:
        refused(
            site,
            site.remote(server, digest=False, size=False),
            ValueError,
            r"a\.zip: the server has answered with a web page \(text/html\) instead",
        )
    assert not site.final.exists()


def test_a_web_page_in_disguise(site: Site) -> None:
    site.path.write_bytes(b"\n<!DOCTYPE HTML><html>Log in</html>")
    with serving(site.served) as server:
        refused(
            site,
            site.remote(server, size=False),
            ValueError,
            r"checksum md5:\w+, md5:\w+ expected: the server has sent a web page",
        )


def test_an_encoding_is_refused(site: Site) -> None:
    with serving(
        site.served, Fault(encoding="gzip"), Fault(encoding="identity"), then=Fault(encoding="x-gzip")
    ) as server:
        remote = site.remote(server)
        refused(site, remote, ValueError, r"a\.zip: sent in gzip encoding although identity was asked for")
        fetch([remote, replace(remote, name="a.tar.gz")], site.downloads, site.patience)
    assert site.final.read_bytes() == (site.downloads / "a.tar.gz").read_bytes() == site.content


# Wrong lengths


@pytest.mark.parametrize(("length", "found"), [(-1, "4,999"), (-SIZE, "0"), (1, "5,001")])
def test_another_length_than_expected(site: Site, length: int, found: str) -> None:
    with serving(site.served, Fault(length=length)) as server:
        refused(
            site, site.remote(server), ValueError, rf"a\.zip: the server's a\.zip has {found} bytes, 5,000 expected"
        )
        assert site.part.stat().st_size == 0
        fetch([site.remote(server)], site.downloads, site.patience)
    assert site.final.read_bytes() == site.content


def test_a_length_that_is_too_long_and_nothing_expected(site: Site) -> None:
    with serving(site.served, Fault(length=7)) as server:
        fetch([site.remote(server, size=False)], site.downloads, site.patience)
        assert [request.status for request in server.log] == [200, 416]
    assert site.final.read_bytes() == site.content


def test_a_length_that_is_too_short_and_nothing_expected(site: Site) -> None:
    with serving(site.served, then=Fault(length=-7)) as server:
        refused(site, site.remote(server, size=False), ValueError, r"checksum md5:\w+, md5:\w+ expected; it is removed")
    assert site.names == set()


def test_a_body_that_is_longer_than_expected(site: Site) -> None:
    with serving(site.served, then=Fault(chunked=True)) as server:
        refused(
            site, replace(site.remote(server), size=4000, digest=None), ValueError, "more than the 4,000 bytes expected"
        )
    assert not site.final.exists()


# Resuming


def test_416_for_a_whole_part(site: Site) -> None:
    """Killed after the last byte of a body of unknown length."""
    site.part.write_bytes(site.content)
    with serving(site.served) as server:
        fetch([site.remote(server, size=False)], site.downloads, site.patience)
        assert [request.status for request in server.log] == [416]
    assert site.final.read_bytes() == site.content


def test_416_for_a_part_that_is_not_whole(site: Site) -> None:
    with serving(site.served, Fault(cut=100), Fault(status=416)) as server:
        fetch([site.remote(server)], site.downloads, site.patience)
        assert ranges(server) == [None, "bytes=100-", None]
    assert site.final.read_bytes() == site.content


def test_a_part_longer_than_the_file(site: Site) -> None:
    site.part.write_bytes(b"x" * (SIZE + 1))
    with serving(site.served) as server:
        fetch([site.remote(server)], site.downloads, site.patience)
        assert ranges(server) == [None]
    assert site.final.read_bytes() == site.content


@pytest.mark.parametrize("fault", [Fault(ignore_range=True), Fault(shift=1)])
def test_an_answer_that_does_not_go_on(site: Site, fault: Fault) -> None:
    with serving(site.served, Fault(cut=100), fault) as server:
        fetch([site.remote(server)], site.downloads, site.patience)
    assert site.final.read_bytes() == site.content


def test_another_size_in_the_middle(site: Site) -> None:
    with serving(site.served, Fault(cut=100), Fault(status=404)) as server:
        refused(site, site.remote(server), OSError, "404")
        site.path.write_bytes(site.content + b"more")
        refused(site, site.remote(server), ValueError, "the server's a.zip has 5,004 bytes, 5,000 expected")


def test_a_file_that_changes_between_two_parts_is_found_by_its_digest(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(site.served, Fault(cut=100, edition=1)) as server:
        fetch([site.remote(server)], site.downloads, site.patience)
        assert ranges(server) == [None, "bytes=100-", None]
    assert site.final.read_bytes() == site.content
    assert "it was resumed, so it is downloaded once more from its start" in capsys.readouterr().err


def test_a_part_without_a_digest_is_dropped(site: Site) -> None:
    site.part.write_bytes(b"x" * SIZE)
    with serving(site.served) as server:
        fetch([site.remote(server, digest=False)], site.downloads, site.patience)
        assert ranges(server) == [None]
    assert site.final.read_bytes() == site.content
    assert site.names == {"a.zip"}


@pytest.mark.parametrize("digest", [True, False])
def test_a_file_that_never_comes_further_is_given_up(site: Site, digest: bool) -> None:
    with serving(site.served, then=Fault(cut=100, shift=1)) as server:
        refused(site, site.remote(server, digest), OSError, "given up after 5 tries in a row without progress")
        assert len(server.log) <= 10


def test_resumed_behind_a_redirect(site: Site) -> None:
    redirect = Fault(location="?mirror")
    with serving(site.served, redirect, Fault(cut=100), redirect) as server:
        fetch([site.remote(server)], site.downloads, site.patience)
        assert ranges(server) == [None, None, "bytes=100-", "bytes=100-"]
        assert sent(server) == SIZE
    assert site.final.read_bytes() == site.content


def test_redirects_without_end(site: Site) -> None:
    with serving(site.served, then=Fault(location="?again")) as server:
        refused(site, site.remote(server), OSError, "Exceeded 30 redirects")


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://host/a"])
def test_a_redirect_elsewhere(site: Site, target: str) -> None:
    with serving(site.served, Fault(location=target)) as server:
        refused(site, site.remote(server), OSError, f"a.zip: redirected to {target}, which is refused")


@pytest.mark.parametrize(
    ("url", "target", "refused"),
    [
        ("https://a/b", "http://a/b", True),
        ("https://a/b", "HTTP://a/b", True),
        ("https://a/b", "//c/d", False),
        ("https://a/b", "/d", False),
        ("http://a/b", "https://a/b", False),
    ],
)
def test_a_redirect_out_of_https(url: str, target: str, refused: bool) -> None:
    response = requests.Response()
    response.status_code, response.url, response.headers["Location"] = 302, url, target
    session = module._Session()
    if not refused:
        assert session.get_redirect_target(response) == target
        return
    with pytest.raises(OSError, match="no longer https"):
        session.get_redirect_target(response)


# Checksums


def test_a_wrong_checksum(site: Site) -> None:
    with serving(site.served, Fault(corrupt=True)) as server:
        wrong = md5(bytes([site.content[0] ^ 1]) + site.content[1:])
        message = f"/zips/a.zip: a.zip has checksum {wrong}, {md5(site.content)} expected; it is removed, the next run"
        with pytest.raises(ValueError, match=message):
            fetch([site.remote(server)], site.downloads, site.patience)
        assert len(server.log) == 1
        assert site.names == set()
        fetch([site.remote(server)], site.downloads, site.patience)
    assert site.final.read_bytes() == site.content


def test_a_wrong_checksum_of_a_resumed_file(site: Site) -> None:
    with serving(site.served, Fault(cut=100, corrupt=True), Fault(), Fault(corrupt=True)) as server:
        refused(site, site.remote(server), ValueError, "a.zip has checksum")
        assert ranges(server) == [None, "bytes=100-", None]
    assert site.names == set()


# Disk


def test_space_is_checked_for_all_files_first(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=7000))
    site.part.write_bytes(site.content[:1000])
    with serving(site.served) as server:
        remotes = [site.remote(server), Remote(f"{server.url}/b", "b", size=4000)]
        with pytest.raises(OSError) as caught:
            fetch(remotes, site.downloads, site.patience)
        assert str(caught.value) == (
            f"{site.downloads}: 8,000 bytes are still to be downloaded, 7,000 are free there: "
            "free 1,000 more, or take another disk"
        )
        assert server.log == []
        fetch(remotes[:1], site.downloads, site.patience)


def test_space_is_checked_once_the_size_is_known(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=4999))
    with serving(site.served) as server, pytest.raises(OSError, match="5,000 bytes are still to be downloaded, 4,999"):
        fetch([site.remote(server, size=False)], site.downloads, site.patience)


def test_a_disk_that_fills_up_keeps_what_has_come(site: Site) -> None:
    """A limit on the size of files stands for the end of the disk: the same short write, another error number."""
    with serving(site.served) as server:
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, limits[1]))
        try:
            refused(site, site.remote(server), OSError, r"File too large at 3,000 of 5,000 bytes of a\.zip: free")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        fetch([site.remote(server)], site.downloads, site.patience)
        assert ranges(server) == [None, "bytes=3000-"]
    assert site.final.read_bytes() == site.content


# Kills


SCRIPT = """
import sys
from pathlib import Path
from earlyexit.sources.fetch import Remote, fetch
url, folder, size, digest = sys.argv[1:]
fetch([Remote(url, "a.zip", int(size), digest)], Path(folder))
"""


def test_kill_9(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    site = site_in(tmp_path, rng.bytes(10_000_000))
    marks = sorted(rng.integers(1, 50_000, size=2).tolist())
    with serving(site.served, then=Fault(drip=1e5)) as server:  # it would take 100 seconds
        remote = site.remote(server)
        command = [sys.executable, "-c", SCRIPT, remote.url, str(site.downloads), str(remote.size), str(remote.digest)]
        for mark in marks:
            with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
                wait_until(lambda: site.part.exists() and site.part.stat().st_size >= mark)  # noqa: B023
                refused(site, remote, OSError, "downloads: another process downloads into it")
                process.send_signal(signal.SIGKILL)
            kept = site.part.stat().st_size
            assert not site.final.exists()
        server.plan = lambda _: Fault()
        fetch([remote], site.downloads, site.patience)
        assert server.log[-1].range == f"bytes={kept}-"
        assert server.log[-1].sent == len(site.content) - kept
    assert site.final.read_bytes() == site.content
    assert site.names == {"a.zip"}


# Whatever was left, whatever happens


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all examples; each puts its file and its plan there."""
    folder = tmp_path_factory.mktemp("served")
    with serving(folder) as server:
        yield server


def patient() -> Patience:
    return Patience(tries=12, sleep=lambda _: None, timeout=LONG, rate=1e5, window=0.02)


@settings(max_examples=100)
@given(
    content=st.binary(max_size=3000),
    cuts=st.lists(st.integers(0, 3000), max_size=6),
    left=st.none() | st.integers(0, 3000),
    digest=st.booleans(),
    size=st.booleans(),
)
def test_cut_anywhere_after_a_kill_anywhere(
    world: Server, content: bytes, cuts: list[int], left: int | None, digest: bool, size: bool
) -> None:
    with tempfile.TemporaryDirectory(dir=world.folder) as folder:
        site = site_in(Path(folder), content)
        remote = site.remote(f"{world.url}/{Path(folder).name}/served", digest, size)
        if left is not None:
            site.part.write_bytes(content[:left])
        plan = iter([Fault(cut=cut) for cut in cuts])
        world.plan = lambda _: next(plan, Fault())
        fetch([remote], site.downloads, patient())
        assert site.final.read_bytes() == content
        assert site.names == {"a.zip"}


@settings(max_examples=60)
@given(
    content=st.binary(max_size=3000),
    garbage=st.none() | st.binary(max_size=4000),
    seed=st.integers(0, 2**32),
    share=st.floats(0.2, 1),
)
def test_in_any_weather(world: Server, content: bytes, garbage: bytes | None, seed: int, share: float) -> None:
    with tempfile.TemporaryDirectory(dir=world.folder) as folder:
        site = site_in(Path(folder), content)
        remote = site.remote(f"{world.url}/{Path(folder).name}/served")
        if garbage is not None:
            site.part.write_bytes(garbage)
        world.plan = RandomFaults(share, seed)
        try:
            fetch([remote], site.downloads, patient())
        except (OSError, ValueError) as error:
            assert remote.url in str(error)
            assert "\n" not in str(error)
            assert "a.zip" not in site.names
        world.plan = lambda _: Fault()
        fetch([remote], site.downloads, patient())
        assert site.final.read_bytes() == content
        assert site.names == {"a.zip"}


@settings(max_examples=50)
@given(st.text(max_size=40) | st.datetimes(timezones=st.just(UTC)).map(lambda when: format_datetime(when, usegmt=True)))
def test_any_retry_after_is_a_wait(text: str) -> None:
    response = requests.Response()
    response.headers["Retry-After"] = text
    assert Patience().wait(1, module._retry_after(response)) <= 300
