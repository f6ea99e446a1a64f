import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earlyexit.sources.checksums import read_checksums

MD5 = hashlib.md5(b"a").hexdigest()
SHA256 = hashlib.sha256(b"a").hexdigest()


def written(tmp_path: Path, content: str | bytes) -> Path:
    path = tmp_path / "sums"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_both_digests_text_and_binary(tmp_path: Path) -> None:
    path = written(tmp_path, f"# mine\n{MD5}  a b.zip\r\n\n{SHA256.upper()} *./zips/c.zip\n{MD5}\td\n{MD5}  d")
    assert read_checksums(path) == {"a b.zip": f"md5:{MD5}", "c.zip": f"sha256:{SHA256}", "d": f"md5:{MD5}"}


@pytest.mark.parametrize("tool", ["md5sum", "sha256sum"])
@pytest.mark.parametrize("options", [[], ["--binary"]])
def test_what_the_tools_write(tmp_path: Path, tool: str, options: list[str]) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"no {tool}")
    archive = tmp_path / "a.zip"
    archive.write_bytes(b"a")
    output = subprocess.run([tool, *options, archive], capture_output=True, check=True).stdout
    expected = f"md5:{MD5}" if tool == "md5sum" else f"sha256:{SHA256}"
    assert read_checksums(written(tmp_path, output)) == {"a.zip": expected}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (f"{MD5}  a\nnonsense\n", "line 2: 'nonsense', '<md5 or sha256 in hex>  <name>' expected"),
        (f"{MD5}\n", "line 1"),
        (f"{MD5[1:]}  a\n", "line 1"),
        (f"MD5 (a) = {MD5}\n", "line 1"),
        (f"\\{MD5}  a\\nb\n", "line 1"),
        (f"{MD5}  ..\n", "line 1: '..' is not a file name"),
        (f"{MD5}  zips/\n", "line 1"),
        (f"{MD5}  a\0b\n", "line 1"),
        (f"{MD5}  a\n{SHA256}  zips/a\n", "line 2: a second, different checksum of a"),
        ("\n# nothing\n", "no checksum"),
        (b"\xff\xfe", "UTF-8"),
        (b" " * (2**20 + 1), "at most 1,048,576 bytes"),
    ],
)
def test_other_content_is_refused(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(ValueError) as caught:
        read_checksums(path)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="sums: no such checksum file"):
        read_checksums(tmp_path / "sums")
    with pytest.raises(ValueError, match="not a checksum file"):
        read_checksums(tmp_path)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode) | st.just(f"{MD5}  a".encode()))
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = written(tmp_path_factory.getbasetemp(), content)
    try:
        digests = read_checksums(path)
    except ValueError as error:
        assert str(path) in str(error)
    else:
        assert digests
        assert all("/" not in name and name not in {".", ".."} for name in digests)
