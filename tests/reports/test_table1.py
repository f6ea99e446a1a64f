import json
import math
from typing import Any

import numpy as np
import pytest

from earlyexit.evaluation.costs import Costs
from earlyexit.evaluation.per_image import Evaluation
from earlyexit.paper import TABLE1
from earlyexit.policy import decision
from earlyexit.policy.thresholds import calibrate
from earlyexit.reports import table1

MACS = [100, 200, 400]
COSTS = {
    "macs": Costs(650, [100, 300, 700]),
    "measured": Costs(120.0, [30.0, 70.0, 130.0]),
    "emulated": Costs(90, [20, 55, 95]),
}
CASCADE = {"p40": 60.0, "p75": 80.0, "p95": 110.0}
KEYS = [
    "configuration",
    "accuracy",
    "accuracy_low",
    "accuracy_high",
    "early_exit_rate",
    "exit_share",
    "mean_macs",
    "speedup_macs",
    "speedup_measured",
    "speedup_emulated",
    "n",
    "paper",
]


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 300)
    towards = np.where(labels[:, None] == [0, 1], 25, -25)
    int8 = [np.clip(rng.normal(towards, noise), -128, 127).astype(np.int8) for noise in (60, 45, 30, 28)]
    fp32 = [np.float32(z) + np.float32(rng.normal(0, 1, z.shape)) for z in int8]
    return Evaluation(
        np.arange(300), labels, np.stack(fp32[3:]), np.stack(int8[3:]), np.stack(fp32[:3]), np.stack(int8[:3])
    )


@pytest.fixture(scope="module")
def rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    margins = decision.margins(evaluation.int8_early_exit)
    thresholds = calibrate(margins, [40, 75, 95], ["exit1", "exit2", "final"], [0.1] * 3)
    return table1.rows(evaluation, thresholds, COSTS, CASCADE)


def test_rows_and_keys_are_those_promised(rows: list[dict[str, Any]]) -> None:
    assert [row["configuration"] for row in rows] == ["fp32", "int8_baseline", "no_early_exit", "p40", "p75", "p95"]
    assert all(list(row) == KEYS for row in rows)
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows


def test_rows_hold_what_a_loop_over_the_images_finds(evaluation: Evaluation, rows: list[dict[str, Any]]) -> None:
    logits = evaluation.int8_early_exit
    for row in rows[3:]:
        percentile = int(row["configuration"][1:])
        thresholds = decision.percentiles(decision.margins(logits[:2]), percentile).tolist()
        right, work, exits = 0, 0, [0, 0, 0]
        for i, label in enumerate(evaluation.labels):
            k = next(k for k in range(3) if k == 2 or decision.margins(logits[k, i]) > thresholds[k])
            right += decision.labels(logits[k, i]) == label
            work += sum(MACS[: k + 1])
            exits[k] += 1
        assert row["accuracy"] == pytest.approx(right / 300)
        assert row["accuracy_low"] < row["accuracy"] < row["accuracy_high"]
        assert row["exit_share"] == pytest.approx([n / 300 for n in exits])
        assert row["early_exit_rate"] == pytest.approx(sum(exits[:2]) / 300)
        assert row["mean_macs"] == pytest.approx(work / 300)
        assert row["speedup_macs"] == pytest.approx(650 * 300 / work)
        assert row["speedup_measured"] == pytest.approx(120 / CASCADE[row["configuration"]])
        assert row["speedup_emulated"] == pytest.approx(90 * 300 / np.dot(exits, [20, 55, 95]))
        assert row["n"] == 300


def test_networks_without_exits(evaluation: Evaluation, rows: list[dict[str, Any]]) -> None:
    fp32, int8 = rows[:2]
    assert fp32["accuracy"] == np.mean(evaluation.fp32_early_exit[2].argmax(1) == evaluation.labels)
    assert int8["accuracy"] == np.mean(decision.labels(evaluation.int8_baseline[0]) == evaluation.labels)
    assert [int8[key] for key in ("mean_macs", "speedup_macs", "speedup_measured", "speedup_emulated")] == [
        650,
        1,
        1,
        1,
    ]
    for row in (fp32, int8):
        assert row["exit_share"] is None
        assert row["early_exit_rate"] is None
    assert fp32["mean_macs"] is fp32["speedup_macs"] is fp32["speedup_measured"] is fp32["speedup_emulated"] is None


def test_the_network_without_early_exits_is_its_final_classifier(
    evaluation: Evaluation, rows: list[dict[str, Any]]
) -> None:
    row = rows[2]
    assert row["accuracy"] == np.mean(decision.labels(evaluation.int8_early_exit[-1]) == evaluation.labels)
    assert (row["early_exit_rate"], row["exit_share"], row["mean_macs"]) == (0, [0, 0, 1], 700)
    speedups = [row[key] for key in ("speedup_macs", "speedup_measured", "speedup_emulated")]
    assert speedups == pytest.approx([650 / 700, 120 / 130, 90 / 95])


def test_the_papers_numbers_stand_beside_the_paper_s_rows(rows: list[dict[str, Any]]) -> None:
    paper = {row["configuration"]: row["paper"] for row in rows}
    assert paper["fp32"] == {"accuracy": 0.8765, "early_exit_rate": None, "speedup": None}
    assert paper["int8_baseline"] == {"accuracy": 0.8109, "early_exit_rate": None, "speedup": 1.0}
    assert paper["p40"] is None
    assert paper["p75"] == {"accuracy": 0.8051, "early_exit_rate": 0.2956, "speedup": 1.15}
    assert paper["p95"] == {"accuracy": 0.8066, "early_exit_rate": 0.0133, "speedup": 1.01}
    assert TABLE1["p50"] == {"accuracy": 0.7945, "early_exit_rate": 0.7305, "speedup": 1.54}


@pytest.mark.parametrize(("kind", "name"), [("int8", "Teacher (INT8)"), ("fp32", "Teacher (FP32)")])
def test_a_teacher_stands_first_and_changes_nothing_else(
    evaluation: Evaluation, rows: list[dict[str, Any]], kind: str, name: str
) -> None:
    margins = decision.margins(evaluation.int8_early_exit)
    thresholds = calibrate(margins, [40, 75, 95], ["exit1", "exit2", "final"], [0.1] * 3)
    answers = np.where(np.arange(300) < 270, evaluation.labels, 1 - evaluation.labels)
    first, *others = table1.rows(evaluation, thresholds, COSTS, CASCADE, (kind, answers))
    assert others == rows
    assert list(first) == KEYS
    assert (first["configuration"], first["accuracy"], first["n"]) == (f"teacher_{kind}", 0.9, 300)
    assert first["accuracy_low"] < 0.9 < first["accuracy_high"]
    assert {first[key] for key in KEYS[4:10]} == {None}
    assert table1.cells(first) == [name, "90.00", *[table1.cells(first)[2]], *["-"] * 9]
    curve = [frontier_row(50, 0.5, 2.0)]
    assert table1.metrics([first, *others], CLASSIFIERS, curve, []) == table1.metrics(rows, CLASSIFIERS, curve, [])


def test_an_unpruned_baseline_is_a_row_before_the_pruned_one_and_changes_nothing_else(
    evaluation: Evaluation, rows: list[dict[str, Any]]
) -> None:
    margins = decision.margins(evaluation.int8_early_exit)
    thresholds = calibrate(margins, [40, 75, 95], ["exit1", "exit2", "final"], [0.1] * 3)
    accuracy = {"value": 0.8, "low": 0.75, "high": 0.84, "n": 300}
    measured = {"accuracy": accuracy, "macs": 1300, "cycles": 120, "instructions": 100, "speedup_measured": 0.9}
    first, row, *others = table1.rows(evaluation, thresholds, COSTS, CASCADE, unpruned=measured)
    assert [first, *others] == rows
    assert list(row) == KEYS
    assert table1.cells(row) == [
        *("INT8 (Baseline, unpruned)", "80.00", "75.00–84.00", "-", "-", "0.00"),
        *("0.50x", "0.90x", "0.75x", "-", "-", "-"),
    ]
    assert (row["configuration"], row["mean_macs"], row["n"]) == ("int8_unpruned", 1300, 300)
    assert "over the INT8 baseline, which is pruned:" in table1.markdown([first, row, *others])
    assert "pruned" not in table1.markdown(rows)
    curve = [frontier_row(50, 0.5, 2.0)]
    assert table1.metrics([first, row, *others], CLASSIFIERS, curve, []) == table1.metrics(rows, CLASSIFIERS, curve, [])


def test_markdown_is_a_table_of_the_same_numbers(rows: list[dict[str, Any]]) -> None:
    text = table1.markdown(rows)
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    head, rule, *body = cells
    assert {len(line) for line in cells} == {len(head)}
    assert all(set(cell) <= set("-:") for cell in rule)
    names = [line[0] for line in body]
    assert names == ["FP32 (PyTorch)", "INT8 (Baseline)", "EE, no early exit", "EE (p40)", "EE (p75)", "EE (p95)"]
    for row, line in zip(rows, body, strict=True):
        found = dict(zip(head, line, strict=True))
        assert found["Val Acc. (%)"] == f"{100 * row['accuracy']:.2f}"
        assert found["95 % interval"] == f"{100 * row['accuracy_low']:.2f}–{100 * row['accuracy_high']:.2f}"
        assert found["Speedup (measured)"] == (f"{row['speedup_measured']:.2f}x" if row["speedup_measured"] else "-")
        assert found["paper: Speedup"] == (
            "-" if not (row["paper"] or {}).get("speedup") else f"{row['paper']['speedup']:.2f}x"
        )
    shares = body[4][4].split(" / ")
    assert head[4] == "Exits 1/2/final"
    assert [float(share) for share in shares] == pytest.approx([100 * s for s in rows[4]["exit_share"]], abs=0.06)
    assert "n = 300" in text


def frontier_row(percentile: int, accuracy: float, speedup: float) -> dict[str, float]:
    return {"percentile": percentile, "accuracy": accuracy, "accuracy_low": 0, "speedup_measured": speedup}


KEPT = {"accuracy": 0.7, "risk": 0.01, "speedup_emulated": 2.5, "speedup_macs": 3.0}
POLICIES = [
    {"name": name, "kind": kind, "val": {**KEPT, "accuracy": accuracy}}
    for name, kind, accuracy in [
        ("p40", "percentile", 0.6),
        ("searched_0", "searched", 0.74),
        ("searched_0.01", "searched", 0.73),
        ("guaranteed", "guaranteed", 0.75),
        ("patience2", "patience", 0.7),
    ]
]
CLASSIFIERS = {"exit1": 0.5, "exit2": 0.7, "final": 0.75}


def test_metrics_name_the_fastest_row_that_loses_little(rows: list[dict[str, Any]]) -> None:
    reference = max(rows[1]["accuracy"], rows[2]["accuracy"])
    losses = [(10, 0.0101, 4.0), (20, 0.01, 3.0), (30, 0.006, 2.5), (40, 0.005, 2.0), (50, 0.0, 1.5)]
    curve = [frontier_row(p, reference - loss, speedup) for p, loss, speedup in losses]
    found = table1.metrics(rows, CLASSIFIERS, curve, POLICIES)
    assert found["within_one_point"]["percentile"] == 20
    assert found["within_half_point"] == {"percentile": 40, "speedup_measured": 2.0}
    none = table1.metrics(rows, CLASSIFIERS, [frontier_row(0, 0.0, 9.0)], [])
    assert not {"within_half_point", "within_one_point"} & none.keys()


def test_metrics_are_a_screen_of_numbers_by_configuration(rows: list[dict[str, Any]]) -> None:
    curve = [frontier_row(50, rows[1]["accuracy"], 2.0)]
    found = table1.metrics(rows, CLASSIFIERS, curve, POLICIES)
    assert list(found)[:5] == ["fp32", "int8_baseline", *CLASSIFIERS]
    assert list(found["fp32"]) == list(found["final"]) == ["accuracy"]
    speedups = ["speedup_macs", "speedup_measured", "speedup_emulated"]
    assert list(found["p75"]) == ["accuracy", "early_exit_rate", *speedups]
    assert found["searched_0"] == {"accuracy": 0.74, "speedup_emulated": 2.5}
    assert found["guaranteed"] == {"accuracy": 0.75, "risk": 0.01, "speedup_emulated": 2.5}
    assert not {"searched_0.01", "patience2", "no_early_exit"} & found.keys()
    for row in (row for row in rows if row["configuration"] in found):
        for key, value in found[row["configuration"]].items():
            assert value == row[key]
            assert math.isfinite(value)
    assert sum(map(len, found.values())) <= 30
