from pathlib import Path
from types import SimpleNamespace

import pytest

from earlyexit.common.files import write_json
from earlyexit.firmware import packages, source, tflm
from earlyexit.tflite import deployment
from earlyexit.tflite.deployment import Deployment
from stages import firmware as stage
from tests.policies import policies, policy


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deployed: Deployment) -> Path:
    """A workflow up to the stage, for the policy p75: thresholds 149 and 74, patience 2."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stage, "load", lambda: SimpleNamespace(firmware=SimpleNamespace(policy="p75")))
    (tmp_path / "models/int8/early_exit").mkdir(parents=True)
    deployment.save(tmp_path / "models/int8/early_exit", deployed, "litert")
    found = policies(policy([9, 9]), policy([149, 74], 2, name="p75", promise="little."))
    write_json(tmp_path / "models/policies.json", found.model_dump())
    return tmp_path


def test_writes_the_library_and_the_arrays(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stage.main()
    folder = Path("models/firmware")
    written = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    arrays = {"ee_tflm.h", "ee_tflm.c", "segment0.c", "segment1.c", "segment2.c", "example_main.cc"}
    assert written > {f"src/{name}" for name in source.LIBRARY} | {packages.HOST_EXAMPLE, "library.json"}
    assert {name for name in written if name.startswith("tflm/")} == {f"tflm/{name}" for name in arrays}
    header = packages.read_library(folder)["ee.h"]
    assert " * The exit policy that is built in: p75.\n * Promise: little.\n" in header
    assert "#define EE_PATIENCE 2 " in header
    assert "#define EE_THRESHOLD_0 149 " in header
    assert "#define EE_THRESHOLD_1 74 " in header
    assert Path("models/firmware/tflm/example_main.cc").read_text() == tflm.EXAMPLE.read_text()
    assert "bytes" in capsys.readouterr().out


def test_leaves_what_was_there_where_it_fails(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.main()
    before = Path("models/firmware/src/ee.h").read_bytes()

    def fail(*_: object) -> dict[str, str]:
        raise ValueError("no")

    monkeypatch.setattr(tflm, "generate", fail)
    with pytest.raises(ValueError, match="no"):
        stage.main()
    assert Path("models/firmware/src/ee.h").read_bytes() == before
    assert [path.name for path in Path("models").iterdir() if path.name.startswith(".")] == []
