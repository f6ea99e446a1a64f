from pathlib import Path

import pytest
from PIL import Image

from earlyexit.page import render
from earlyexit.tflite.deployment import Deployment
from experiments import screenshots
from tests.page import made


@pytest.mark.skipif(screenshots.chromium() is None, reason="no chromium")
def test_a_screenshot_has_its_width_and_is_small(tmp_path: Path, deployed: Deployment) -> None:
    made.write(tmp_path, deployed)
    page = tmp_path / "report.html"
    page.write_text(render.page([made.read(tmp_path)]), encoding="utf-8")
    files = {str(tmp_path / "wide.png"): 1280, str(tmp_path / "narrow.png"): 360}
    screenshots.take(page, files)
    for path, width in files.items():
        with Image.open(path) as image:
            assert image.width == width
            assert image.height > 900
            assert len(image.convert("RGB").getcolors(1 << 24) or []) > 20  # not blank
        assert Path(path).stat().st_size < 400_000


def test_no_page_and_no_browser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"report.html: not found; run `dvc repro report`"):
        screenshots.take(tmp_path / "report.html", {})
    (tmp_path / "report.html").touch()
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ValueError, match="no chromium"):
        screenshots.take(tmp_path / "report.html", {})
