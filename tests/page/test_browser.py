"""The page in a real browser, opened from disk. Skipped where there is none."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from earlyexit.page import render
from earlyexit.page.run import Run
from earlyexit.tflite.deployment import Deployment
from tests.page import made

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium")


@dataclass
class Opened:
    """A page in the browser, what it printed and what it asked for."""

    page: Page
    printed: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def chosen(self, column: int = 0) -> dict[str, str]:
        """The result of the chosen thresholds, by key."""
        cells: dict[str, list[str]] = {}
        for cell in self.page.query_selector_all("#chosen td"):
            cells.setdefault(cell.get_attribute("data-key") or "", []).append(cell.inner_text())
        return {key: values[column] for key, values in cells.items()}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # As root, Chromium starts without its sandbox only; the page is our own.
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, deployed: Deployment) -> Path:
    folder = tmp_path_factory.mktemp("run")
    made.write(folder, deployed, n=8059)
    return folder


def show(browser: Browser, folder: Path, runs: list[Run], width: int = 1280, scheme: Any = "light") -> Opened:
    file = folder / "report.html"
    file.write_text(render.page(runs), encoding="utf-8")
    opened = Opened(browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme))
    opened.page.on("console", lambda message: opened.printed.append(message.text))
    opened.page.on("pageerror", lambda error: opened.printed.append(str(error)))
    opened.page.on("request", lambda request: opened.requests.append(request.url))
    opened.page.goto(file.as_uri())
    opened.page.wait_for_selector("body[data-ready]")
    return opened


@pytest.fixture(scope="module")
def opened(browser: Browser, folder: Path) -> Opened:
    return show(browser, folder, [made.read(folder)])


def row_of_table_1(opened: Opened, name: str) -> list[str]:
    row = opened.page.locator("#table1 tbody tr").filter(
        has=opened.page.get_by_role("rowheader", name=name, exact=True)
    )
    return row.locator("td").all_inner_texts()


def shown(chosen: dict[str, str]) -> list[str]:
    keys = ("accuracy", "interval", "early_exit_rate", "exit_share", "mean_macs")
    return [chosen[key] for key in (*keys, "speedup_macs", "speedup_measured", "speedup_emulated")]


def test_it_loads_from_disk_without_an_error_or_a_request(opened: Opened, folder: Path) -> None:
    assert opened.printed == []
    assert opened.requests == [(folder / "report.html").as_uri()]
    for chart in opened.page.locator(".chart").all():
        assert chart.locator("svg").count() == 1


def test_the_slider_at_p50_shows_the_row_of_table_1(opened: Opened) -> None:
    slider = opened.page.get_by_label("Percentile of all exits")
    slider.fill("75")
    assert shown(opened.chosen()) == row_of_table_1(opened, "EE (p75)")
    slider.fill("50")
    assert shown(opened.chosen()) == row_of_table_1(opened, "EE (p50)")
    assert opened.page.get_by_role("button", name="p50").get_attribute("aria-pressed") == "true"


def test_thresholds_of_255_show_the_row_without_early_exits(opened: Opened) -> None:
    for name in made.NAMES[:-1]:
        opened.page.get_by_label(f"Threshold of {name}").fill("255")
    chosen, row = shown(opened.chosen()), row_of_table_1(opened, "EE, no early exit")
    assert chosen == row
    assert opened.page.get_by_role("button", name="no early exit").get_attribute("aria-pressed") == "true"


def test_every_policy_is_a_button_that_shows_what_it_keeps(opened: Opened, folder: Path) -> None:
    for name, policy in made.read(folder).policies.items():
        opened.page.get_by_role("button", name=name, exact=True).click()
        chosen, val = opened.chosen(), policy["val"]
        assert chosen["accuracy"] == f"{100 * val['accuracy']:.2f}"
        assert chosen["interval"] == f"{100 * val['accuracy_low']:.2f}–{100 * val['accuracy_high']:.2f}"
        assert chosen["speedup_emulated"] == f"{val['speedup_emulated']:.2f}x"
        assert chosen["speedup_measured"] == f"{val['speedup_measured']:.2f}x"


def test_the_clock_turns_cycles_into_milliseconds(opened: Opened) -> None:
    opened.page.get_by_role("button", name="no early exit").click()
    opened.page.get_by_label("Clock of the Cortex-M4").fill("60")
    cycles = made.emulated()["segments"]["final"]["cycles_until"]
    assert opened.chosen()["milliseconds"] == f"{cycles / 60 / 1000:.1f}"
    opened.page.get_by_label("Clock of the Cortex-M4").fill("120")


def test_moving_a_slider_takes_less_than_50_ms(opened: Opened) -> None:
    """8,059 val images and 4 exits, as many as in Visual Wake Words; the median of 21 moves."""
    times = opened.page.evaluate("""() => Array.from({length: 21}, (_, i) => {
        const slider = document.getElementById("percentile");
        slider.value = 30 + i;
        const start = performance.now();
        slider.dispatchEvent(new Event("input"));
        return performance.now() - start;
    }).sort((a, b) => a - b)""")
    print(f"a move of the slider: median {times[10]:.1f} ms, largest {times[-1]:.1f} ms")
    assert times[10] < 50


def test_controls_are_labelled_and_reached_by_the_keyboard(opened: Opened) -> None:
    unlabelled = opened.page.evaluate(
        "() => [...document.querySelectorAll('input, select')].filter((one) => !one.labels.length).length"
    )
    assert unlabelled == 0
    opened.page.locator(".skip").focus()
    reached = []
    for _ in range(40):
        opened.page.keyboard.press("Tab")
        reached.append(opened.page.evaluate("() => document.activeElement.id || document.activeElement.textContent"))
    controls = ["p50", "no early exit", "percentile", "clock", "threshold-0-0", "threshold-0-2", "patience-0"]
    places = [reached.index(name) for name in controls]
    assert places == sorted(places)
    assert opened.page.locator("figure details summary").count() == opened.page.locator("figure").count()


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (1280, "dark")])
def test_narrow_and_dark(browser: Browser, folder: Path, width: int, scheme: str) -> None:
    opened = show(browser, folder, [made.read(folder)], width, scheme)
    assert opened.page.evaluate("() => document.documentElement.scrollWidth") <= width
    assert opened.printed == []
    background, text = opened.page.evaluate(
        "() => ['backgroundColor', 'color'].map((key) =>"
        " getComputedStyle(document.body)[key].match(/[0-9]+/g).map(Number))"
    )
    assert (sum(background) < sum(text)) == (scheme == "dark")
    opened.page.close()


def test_two_runs_are_chosen_together(browser: Browser, folder: Path, tmp_path: Path, deployed: Deployment) -> None:
    made.write(tmp_path, deployed, n=200)
    runs = [made.read(folder, "one"), made.read(tmp_path, "two")]
    opened = show(browser, tmp_path, runs)
    assert opened.printed == []
    opened.page.get_by_role("button", name="p50").click()
    for column, run in enumerate(runs):
        assert opened.chosen(column)["accuracy"] == f"{100 * run.rows['p50']['accuracy']:.2f}"
    opened.page.close()
