"""`python -m experiments.screenshots`: docs/report.png and docs/report_360.png, of reports/report.html.

It needs requirements-dev.txt and Chromium.
"""

import io
import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from earlyexit.common.files import replacing
from stages import run as run_script

PAGE = Path("reports/report.html")
PATIENCE = 300_000
"""Milliseconds that each step in the browser may take."""
WIDTHS = {"docs/report.png": 1280, "docs/report_360.png": 360}


def chromium() -> str | None:
    """Return the path of the system's Chromium; None if there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((found for name in names if (found := shutil.which(name))), None)


def take(page: Path, widths: dict[str, int]) -> None:
    """Write a screenshot of the page at each width, down to the end of the thresholds and what they give.

    Args:
        page: an HTML file of `render.page`.
        widths: in pixels, by the PNG file to write.

    Raises:
        ValueError: there is no such page, or no Chromium.
    """
    if not page.is_file():
        raise ValueError(f"{page}: not found; run `dvc repro report`")
    if (found := chromium()) is None:
        raise ValueError("no chromium on the PATH; install it, e.g. apt-get install chromium")
    with sync_playwright() as playwright:
        # As root, Chromium starts without its sandbox only; the page is our own.
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"], timeout=PATIENCE)
        for path, width in widths.items():
            view = browser.new_page(viewport={"width": width, "height": 900}, color_scheme="light")
            view.set_default_timeout(PATIENCE)
            view.goto(page.resolve().as_uri())
            view.wait_for_selector("body[data-ready]")
            end = view.locator("#chosen-title").bounding_box()
            assert end is not None
            shown = view.screenshot(full_page=True, clip={"x": 0, "y": 0, "width": width, "height": end["y"]})
            with replacing(path) as part:
                Image.open(io.BytesIO(shown), formats=["PNG"]).convert("RGB").save(part, "PNG", optimize=True)
            view.close()
        browser.close()


def main() -> None:
    """Write both screenshots."""
    take(PAGE, WIDTHS)
    print(f"{', '.join(WIDTHS)}: look at them before you commit them")


if __name__ == "__main__":
    run_script(main)
