import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from errno import EFBIG
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
        return Patience(tries=4, sleep=self.sleeps.append, jitter=lambda: 0.0, timeout=2)

    def remote(self, server: Server | str, digest: bool = True, size: bool = True) -> Remote:
        url = server if isinstance(server, str) else server.url
        return Remote(
            f"{url}/zips/a.zip", "a.zip", len(self.content) if size else None, md5(self.content) if digest else None
        )

    def edition(self, number: int) -> bytes:
        return bytes((value + number) % 256 for value in self.content)


def md5(content: bytes) -> str:
    return f"md5:{hashlib.md5(content).hexdigest()}"


def site_in(folder: Path, content: bytes) -> Site:
    site = Site(folder / "served", folder / "downloads", content)
    site.path.parent.mkdir(parents=True)
    site.downloads.mkdir()
    site.path.write_bytes(content)
    old = time.time() - 3600
    os.utime(site.path, (old, old))
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
        ({"name": "b.part"}, "a name of unfinished or wrong downloads"),
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
    with pytest.raises(ValueError, match=r"a\.zip: in the way of the download of http://a/zips/a\.zip"):
        fetch([site.remote("http://a")], site.downloads)


# Lost connections


@pytest.mark.parametrize("cut", [0, 1, 2500, SIZE - 1])
@pytest.mark.parametrize("digest", [True, False])
def test_a_cut_connection_is_resumed(site: Site, cut: int, digest: bool) -> None:
    with serving(site.served, Fault(cut=cut)) as server:
        fetch([site.remote(server, digest)], site.downloads, site.patience)
        assert ranges(server) == [None, f"bytes={cut}-" if cut else None]
        assert sent(server) == SIZE
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
        assert site.names == {"a.zip.part", "a.zip.part.json"}
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
        fetch([site.remote(server)], site.downloads, replace(site.patience, timeout=0.1))
        assert site.final.read_bytes() == site.content
        assert len(site.sleeps) == 1


def test_a_slow_drip_is_cut_and_resumed(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    patience = replace(site.patience, rate=10_000, window=0.05)
    with serving(site.served, Fault(drip=300)) as server:
        fetch([site.remote(server)], site.downloads, patience)
        assert len(server.log) == 2
        assert server.log[1].range is not None
    assert site.final.read_bytes() == site.content
    assert "less than 10,000 bytes a second for 0.05 s" in capsys.readouterr().err


def test_a_drip_without_end_is_given_up(site: Site) -> None:
    patience = replace(site.patience, rate=10_000, window=0.02)
    with serving(site.served, then=Fault(drip=300)) as server:
        refused(site, site.remote(server), OSError, "given up after 5 tries .* less than 10,000 bytes a sec", patience)
        assert len(server.log) == 5
    assert site.part.stat().st_size > 5


@pytest.mark.parametrize("chunked", [True, False])
def test_no_length(site: Site, chunked: bool) -> None:
    with serving(site.served, Fault(chunked=chunked, cut=70)) as server:
        fetch([site.remote(server, digest=False, size=False)], site.downloads, site.patience)
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
@pytest.mark.parametrize(("asked", "low", "high"), [(20, 18, 20), (10**6, 300, 300), (0, 0.5, 0.5)])
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


def test_416_for_a_part_that_is_too_long(site: Site) -> None:
    site.part.write_bytes(site.content + b"more")
    with serving(site.served) as server:
        fetch([site.remote(server, size=False)], site.downloads, site.patience)
        assert [request.status for request in server.log] == [416, 200]
    assert site.final.read_bytes() == site.content


def test_416_in_the_middle(site: Site) -> None:
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


@pytest.mark.parametrize(
    "fault",
    [
        Fault(ignore_range=True),
        Fault(shift=1),
        Fault(validators="weak", ignore_if_range=True),
    ],
)
def test_an_answer_that_does_not_go_on(site: Site, fault: Fault) -> None:
    with serving(site.served, Fault(cut=100), fault) as server:
        fetch([site.remote(server, digest=False)], site.downloads, site.patience)
    assert site.final.read_bytes() == site.content


@pytest.mark.parametrize("validators", ["strong", "date"])
@pytest.mark.parametrize("obedient", [True, False])
def test_a_file_that_changes_between_two_parts(site: Site, validators: str, obedient: bool) -> None:
    first = Fault(cut=100, validators=validators)  # type: ignore[arg-type]
    later = replace(first, cut=None, edition=1, ignore_if_range=not obedient)
    patience = replace(site.patience, sleep=lambda _: os.utime(site.path, (1e9, 1e9)))
    with serving(site.served, first, then=later) as server:
        fetch([site.remote(server, digest=False)], site.downloads, patience)
        assert ranges(server) == ([None, "bytes=100-"] if obedient else [None, "bytes=100-", None])
    assert site.final.read_bytes() == site.edition(1)


def grow(site: Site) -> None:
    site.path.write_bytes(site.content + b"more")


def shrink(site: Site) -> None:
    site.path.write_bytes(b"x" * 100)


def test_a_file_that_grows_between_two_parts(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    longer = site.content + b"more"
    patience = replace(site.patience, sleep=lambda _: grow(site))
    with serving(site.served, Fault(cut=100, validators="none"), then=Fault(validators="none")) as server:
        remote = replace(site.remote(server, size=False), digest=md5(longer))
        fetch([remote], site.downloads, patience)
        assert ranges(server) == [None, "bytes=100-", None]
    assert site.final.read_bytes() == longer
    assert "a.zip: the server's file now has 5,004 bytes instead of 5,000" in capsys.readouterr().err


def test_a_file_that_shrinks_to_what_has_come(site: Site) -> None:
    patience = replace(site.patience, sleep=lambda _: shrink(site))
    with serving(site.served, Fault(cut=100), then=Fault(ignore_if_range=True)) as server:
        fetch([site.remote(server, digest=False, size=False)], site.downloads, patience)
        assert [request.status for request in server.log] == [200, 416, 200]
    assert site.final.read_bytes() == b"x" * 100


def test_a_changed_file_without_validators_is_found_by_its_digest(site: Site) -> None:
    with serving(site.served, Fault(cut=100, edition=1, validators="none")) as server:
        fetch([site.remote(server)], site.downloads, site.patience)
        assert ranges(server) == [None, "bytes=100-", None]
    assert site.final.read_bytes() == site.content


@pytest.mark.parametrize("validators", ["weak", "none"])
@pytest.mark.parametrize("digest", [True, False])
def test_without_a_strong_validator_only_a_digest_resumes(site: Site, validators: str, digest: bool) -> None:
    fault = Fault(cut=100, validators=validators)  # type: ignore[arg-type]
    with serving(site.served, fault) as server:
        fetch([site.remote(server, digest)], site.downloads, site.patience)
        assert ranges(server) == [None, "bytes=100-" if digest else None]
        assert server.log[1].if_range is None
    assert site.final.read_bytes() == site.content


def test_what_cannot_be_resumed_is_given_up_at_last(site: Site) -> None:
    with (
        serving(site.served, then=Fault(cut=100, validators="none")) as server,
        pytest.raises(OSError, match=r"given up after 5 .* the server gives no strong validator"),
    ):
        fetch([site.remote(server, digest=False)], site.downloads, site.patience)


@pytest.mark.parametrize(("age", "strong"), [(3600, True), (61, True), (30, False), (-3600, False)])
def test_a_date_is_strong_after_a_minute(site: Site, age: int, strong: bool) -> None:
    when = time.time() - age
    os.utime(site.path, (when, when))
    with serving(site.served, then=Fault(cut=2500, validators="date")) as server:
        fetch([site.remote(server)], site.downloads, site.patience)
        assert server.log[1].range == "bytes=2500-"
        assert (server.log[1].if_range is not None) == strong


def test_the_validator_is_that_behind_the_redirect(site: Site) -> None:
    redirect = Fault(location="?mirror")
    with serving(site.served, redirect, Fault(cut=100), redirect) as server:
        fetch([site.remote(server, digest=False)], site.downloads, site.patience)
        assert [request.path for request in server.log] == ["/zips/a.zip", "/zips/a.zip?mirror"] * 2
        assert ranges(server) == [None, None, "bytes=100-", "bytes=100-"]
        assert server.log[3].if_range is not None
        assert sent(server) == SIZE
    assert site.final.read_bytes() == site.content


def test_ranges_that_are_always_wrong(site: Site) -> None:
    with serving(site.served, then=Fault(cut=100, shift=1)) as server:
        refused(site, site.remote(server), OSError, "given up after 5 starts from nothing, .* another range than asked")


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


@pytest.mark.parametrize("then", [Fault(), Fault(corrupt=True)])
def test_a_wrong_checksum_of_a_resumed_file(site: Site, then: Fault, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(site.served, Fault(cut=100, corrupt=True), Fault(), then=then) as server:
        if then.corrupt:
            refused(site, site.remote(server), ValueError, "a.zip has checksum")
            assert site.names == set()
        else:
            fetch([site.remote(server)], site.downloads, site.patience)
            assert site.final.read_bytes() == site.content
        assert ranges(server) == [None, "bytes=100-", None]
    assert "put together from pieces, so it is downloaded once more" in capsys.readouterr().err


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


def test_a_disk_that_fills_up_keeps_what_has_come(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit on the size of files stands for the end of the disk: the same short write, another error number."""
    monkeypatch.setattr(module, "_FULL", {EFBIG})
    with serving(site.served) as server:
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, limits[1]))
        try:
            refused(site, site.remote(server), OSError, r"disk full at 3,000 of 5,000 bytes of a\.zip, which are kept")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        fetch([site.remote(server)], site.downloads, site.patience)
        assert ranges(server) == [None, "bytes=3000-"]
    assert site.final.read_bytes() == site.content


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk(site: Site) -> None:
    site.part.symlink_to("/dev/full")
    with serving(site.served) as server, pytest.raises(OSError, match=r"disk full at 0 of 5,000 bytes of a\.zip"):
        fetch([site.remote(server)], site.downloads, site.patience)


# Kills


SCRIPT = """
import sys
from pathlib import Path
from earlyexit.sources.fetch import Remote, fetch
url, folder, size, digest = sys.argv[1:]
fetch([Remote(url, "a.zip", int(size), digest or None)], Path(folder))
"""


@pytest.mark.parametrize("digest", [True, False])
def test_kill_9(tmp_path: Path, digest: bool) -> None:
    rng = np.random.default_rng(0)
    site = site_in(tmp_path, rng.bytes(1_000_000))
    marks = sorted(rng.integers(1, 900_000, size=2).tolist())
    with serving(site.served, then=Fault(drip=2e6)) as server:
        remote = site.remote(server, digest)
        command = [sys.executable, "-c", SCRIPT, remote.url, str(site.downloads), str(remote.size), remote.digest or ""]
        for mark in marks:
            with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
                wait_for(site.part, mark)
                refused(site, remote, OSError, "downloads: another process downloads into it")
                process.send_signal(signal.SIGKILL)
            kept = site.part.stat().st_size
            assert not site.final.exists()
        fetch([remote], site.downloads, site.patience)
        assert server.log[-1].range == f"bytes={kept}-"
        assert server.log[-1].sent == len(site.content) - kept
    assert site.final.read_bytes() == site.content
    assert site.names == {"a.zip"}


def wait_for(path: Path, size: int) -> None:
    end = time.monotonic() + 20
    while not path.exists() or path.stat().st_size < size:
        assert time.monotonic() < end
        time.sleep(0.001)


# Whatever was left, whatever happens


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all examples; each puts its file and its plan there."""
    folder = tmp_path_factory.mktemp("served")
    with serving(folder) as server:
        yield server


def patient() -> Patience:
    return Patience(tries=12, sleep=lambda _: None, timeout=2, rate=1e5, window=0.02)


RECORDS: list[Callable[[bytes], bytes | None]] = [
    lambda _: None,
    lambda right: right,
    lambda right: right[:-1],
    lambda right: right[: len(right) // 2],
    lambda _: b"",
    lambda _: b"\xff\x00",
    lambda _: b"[" * 100_000,
    lambda _: b"[]",
    lambda _: b"{}",
    lambda right: json.dumps(json.loads(right) | {"url": "http://elsewhere"}).encode(),
    lambda right: json.dumps(json.loads(right) | {"validator": '"stale"'}).encode(),
    lambda right: json.dumps(json.loads(right) | {"validator": "a\r\nHost: b"}).encode(),
    lambda right: json.dumps(json.loads(right) | {"validator": 1}).encode(),
    lambda right: json.dumps(json.loads(right) | {"total": "many"}).encode(),
    lambda right: json.dumps(json.loads(right) | {"total": None}).encode(),
]


@pytest.mark.usefixtures("at_the_end_of_the_stack")
@pytest.mark.parametrize("record", RECORDS)
@pytest.mark.parametrize("digest", [True, False])
def test_any_record_of_a_part(site: Site, record: Callable[[bytes], bytes | None], digest: bool) -> None:
    with serving(site.served) as server:
        remote = site.remote(server, digest, size=False)
        leave(site, remote, site.content[:1000], record)
        fetch([remote], site.downloads, site.patience)
    assert site.final.read_bytes() == site.content
    assert site.names == {"a.zip"}


def test_a_part_from_elsewhere(site: Site) -> None:
    with serving(site.served) as server:
        remote = site.remote(server, digest=False)
        leave(site, remote, b"x" * 1000, lambda right: right.replace(b"http://", b"https://"))
        fetch([remote], site.downloads, site.patience)
        assert server.log[-1].range is None
    assert site.final.read_bytes() == site.content


def leave(site: Site, remote: Remote, part: bytes, record: Callable[[bytes], bytes | None]) -> None:
    """Leave a part, and a record made from the right one; what a kill may leave, and worse."""
    tag = requests.head(remote.url, timeout=2).headers["ETag"]
    right = json.dumps({"url": remote.url, "validator": tag, "total": len(site.content)}).encode()
    site.part.write_bytes(part)
    if (found := record(right)) is not None:
        site.part.with_name("a.zip.part.json").write_bytes(found)


@settings(max_examples=100)
@given(
    content=st.binary(max_size=3000),
    cuts=st.lists(st.tuples(st.integers(0, 3000), st.sampled_from(["strong", "weak", "date", "none"])), max_size=6),
    left=st.none() | st.integers(0, 3000),
    record=st.sampled_from(RECORDS),
    digest=st.booleans(),
    size=st.booleans(),
)
def test_cut_anywhere_after_a_kill_anywhere(
    world: Server,
    content: bytes,
    cuts: list[tuple[int, str]],
    left: int | None,
    record: Callable[[bytes], bytes | None],
    digest: bool,
    size: bool,
) -> None:
    with tempfile.TemporaryDirectory(dir=world.folder) as folder:
        site = site_in(Path(folder), content)
        url = f"{world.url}/{Path(folder).name}/served"
        remote = site.remote(url, digest, size)
        world.plan = lambda _: Fault()
        if left is not None:
            leave(site, remote, content[:left], record)
        plan = iter([Fault(cut=cut, validators=kind) for cut, kind in cuts])  # type: ignore[arg-type]
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


def test_retry_after_is_counted_from_the_date_of_the_server() -> None:
    response = requests.Response()
    now = datetime(2001, 1, 1, tzinfo=UTC)
    response.headers["Date"] = format_datetime(now, usegmt=True)
    response.headers["Retry-After"] = format_datetime(now + timedelta(seconds=40), usegmt=True)
    assert module._retry_after(response) == 40
