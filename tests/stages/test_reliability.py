from pathlib import Path

import pytest

from earlyexit.common.files import read_json
from earlyexit.evaluation import per_image
from earlyexit.reports import reliability
from earlyexit.tflite.deployment import Deployment
from stages import reliability as stage
from tests.plots import results
from tests.stages.test_plots import write_deployment


def test_writes_the_report_and_prints_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Deployment, "logits_scales", lambda self: results.scales(len(self.names) - 1))
    write_deployment(tmp_path / "models" / "int8" / "early_exit", results.names(3), results.MACS)
    (tmp_path / "models" / "evaluation").mkdir()
    per_image.save(tmp_path / "models" / "evaluation" / "val.safetensors", results.evaluation())
    stage.main()
    expected = reliability.report(results.evaluation(), results.names(3), results.scales(3), results.MACS)
    assert read_json("reports/reliability.json") == expected
    text = Path("reports/reliability.md").read_text()
    assert text == reliability.markdown(expected)
    assert text in capsys.readouterr().out
