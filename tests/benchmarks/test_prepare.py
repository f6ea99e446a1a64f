from pathlib import Path

from benchmarks import prepare
from earlyexit.params import load
from tests import ROOT


def test_generated_photographs_are_prepared_and_timed(tmp_path: Path) -> None:
    prepare.write_members(tmp_path / "raw", 300)
    data = load(ROOT / "params.yaml").data
    with prepare.Peak() as peak:
        assert prepare.whole(tmp_path / "raw", data, workers=1) > 0
    assert prepare.bare(tmp_path / "raw", data, workers=1) > 0
    assert 10e6 < peak.bytes < 10e9
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]
