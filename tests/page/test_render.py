import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from markupsafe import escape

from earlyexit.page import pictures, render, thumbnails
from earlyexit.reports import shift, table1
from earlyexit.tflite.deployment import Deployment
from tests.page import made
from tests.plots import results

HOSTILE = "</script><script>alert('x')</script>\"'<img src=x onerror=alert(1)>&amp;\u2028"


class Elements(HTMLParser):
    """Counts elements, and collects attributes that could run code or load something."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.scripts, self.handlers, self.addresses = 0, [], []  # type: ignore[var-annotated]
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        self.addresses += [value for name, value in attrs if name in ("src", "href") and value]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, deployed: Deployment) -> Path:
    folder = tmp_path_factory.mktemp("run")
    made.write(folder, deployed)
    return folder


def specs_of(text: str) -> dict[str, Any]:
    found = re.search(r'id="specs">(.*?)</script>', text)
    assert found
    specs: dict[str, Any] = json.loads(found[1])
    return specs


def test_the_page_is_whole_small_and_the_same_each_time(folder: Path) -> None:
    text = render.page([made.read(folder)])
    assert text == render.page([made.read(folder)])
    assert len(text.encode()) < 4_000_000
    found = Elements(text)
    assert found.scripts == 4
    assert found.handlers == []
    assert all(address.startswith(("#", "data:")) for address in found.addresses)
    assert list(specs_of(text)) == sorted(
        ["frontier", "reliability", "learning_curves", "layer_error", "cycles", "arena", "budget"]
    )
    for heading in (
        "Table I",
        "Choose thresholds",
        "Each exit alone",
        "Shift: other cameras",
        "On the device",
        "Where this comes from",
    ):
        assert f">{heading}</h2>" in text
    assert "What differs in params" not in text


def test_table_1_is_that_of_the_report(folder: Path) -> None:
    run = made.read(folder)
    text = render.page([run])
    table = text[text.index('id="table1"') : text.index("</table>", text.index('id="table1"'))]
    for row in run.rows.values():
        assert "".join(f"<td>{cell}</td>" for cell in table1.cells(row)[1:]) in table
    assert table.count("<tr>") == 1 + len(run.rows)


def test_the_tables_of_shift_are_those_of_the_report(folder: Path) -> None:
    run = made.read(folder)
    text = render.page([run])
    for table in shift.tables(run.reports["shift"]):
        assert f"<summary>{escape(table.title)}</summary>" in text
        for row in table.rows:
            assert "".join(f"<td>{escape(cell)}</td>" for cell in row[1:]) in text


def test_the_rows_behind_a_picture_have_its_columns(folder: Path, tmp_path: Path, deployed: Deployment) -> None:
    made.write(tmp_path, deployed, n=200)
    for runs in ([made.read(folder)], [made.read(folder, "one"), made.read(tmp_path, "two")]):
        for name, picture in pictures.all_pictures(runs).items():
            assert {tuple(row) for row in picture.rows} == {tuple(picture.rows[0])}, name


def test_a_report_without_rows_leaves_an_empty_picture(folder: Path) -> None:
    run = made.read(folder)
    for rows in run.tables.values():
        rows.clear()
    assert "<figure>" in render.page([run])


def test_colours_can_be_seen_on_both_pages() -> None:
    """WCAG 2.1, 1.4.11: graphics need a contrast of 3."""
    for colour in pictures.COLOURS:
        for page in ("#ffffff", "#0d1117"):
            dark, light = sorted(map(luminance, (colour, page)))
            assert (light + 0.05) / (dark + 0.05) >= 3, (colour, page)


def luminance(colour: str) -> float:
    """WCAG 2.1's relative luminance."""
    values = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(values <= 0.03928, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_two_runs_share_every_picture(folder: Path, tmp_path: Path, deployed: Deployment) -> None:
    made.write(tmp_path, deployed, n=200, changes={"joint.w_final": 0.25})
    text = render.page([made.read(folder, "one"), made.read(tmp_path, "two")])
    assert text.index("What differs in params") < text.index(">Table I<")
    assert re.search(r"joint\.w_final</th><td>1.0</td><td>0.25</td>", text)
    for name, spec in specs_of(text).items():
        runs = {row["run"] for rows in values_of(spec) for row in rows if "run" in row}
        assert runs == {"one", "two"}, name


def values_of(spec: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """All data of a chart: its own and that of its layers."""
    own = [
        data["values"] for data in (part.get("data", {}) for part in [spec, *spec.get("layer", [])]) if "values" in data
    ]
    return [*own, *spec.get("datasets", {}).values()]


def test_nothing_from_data_can_run(tmp_path: Path, deployed: Deployment) -> None:
    made.write(tmp_path, deployed, changes={"data.source": HOSTILE})
    made.change(
        tmp_path,
        "run",
        origin={
            "data": HOSTILE,
            "exits": HOSTILE,
            "commit": HOSTILE,
            "machine": {HOSTILE: HOSTILE},
            "versions": {HOSTILE: HOSTILE},
        },
    )
    run = made.read(tmp_path, HOSTILE)
    for policy in run.reports["policies"]["policies"]:
        policy["promise"] = HOSTILE
    run.tables["plots/layer_error"][0]["operator"] = HOSTILE
    shown = thumbnails.choose(
        results.evaluation(300), np.zeros((300, 2, 2, 3), np.uint8), made.NAMES, [9, 9, 9], HOSTILE
    )
    for runs in ([run], [run, made.read(tmp_path, HOSTILE + "2")]):
        text = render.page(runs, shown)
        found = Elements(text)
        assert found.scripts == 4
        assert found.handlers == []
        assert all(address.startswith(("#", "data:")) for address in found.addresses)
        assert "<img src=x" not in text


def test_thumbnails_are_small_and_of_images_that_leave_there() -> None:
    evaluation = results.evaluation(80)
    images = np.random.default_rng(0).integers(0, 256, (80, 9, 9, 3), dtype=np.uint8)
    found = thumbnails.choose(evaluation, images, made.NAMES, [40, 40, 40], "p50")
    assert [row["name"] for row in found["rows"]] == made.NAMES
    assert sum(row["count"] for row in found["rows"]) == 80
    for row in found["rows"]:
        assert len(row["right"]) + len(row["wrong"]) <= row["count"]
        assert all(image["src"].startswith("data:image/jpeg;base64,") for image in row["right"])
