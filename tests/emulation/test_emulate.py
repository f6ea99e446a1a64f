from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from earlyexit.emulation import emulate, report
from earlyexit.emulation.emulate import Emulated
from earlyexit.firmware import source
from earlyexit.policy import decision
from earlyexit.policy.thresholds import Thresholds
from earlyexit.tflite.deployment import Deployment
from tests import tiny_network
from tests.firmware import baseline
from tests.plots import results

MEMORY = (64 * 1024, 16 * 1024)
LIMITS = [10, 20]


def library(network: Deployment) -> dict[str, str]:
    return source.generate(network, LIMITS[: len(network.names) - 1])


@pytest.fixture(scope="module")
def early_exit(deployed: Deployment) -> Emulated:
    return emulate.emulate(deployed, library(deployed), deployed.quantize(tiny_network.images(3, seed=8)), MEMORY)


@pytest.fixture(scope="module")
def whole() -> Emulated:
    network = baseline.network()
    return emulate.emulate(network, library(network), network.quantize(tiny_network.images(3, seed=8)))


@pytest.fixture(scope="module")
def thresholds() -> Thresholds:
    return results.thresholds(2, (50, 95))


@pytest.fixture(scope="module")
def found(early_exit: Emulated, whole: Emulated, thresholds: Thresholds) -> dict[str, Any]:
    return report.report(early_exit, whole, thresholds, results.evaluation(exits=2).int8_early_exit)


def test_segments_add_up(found: dict[str, Any], early_exit: Emulated) -> None:
    segments = list(found["segments"].values())
    assert list(found["segments"]) == early_exit.network.names
    assert [entry["macs"] for entry in segments] == early_exit.network.macs
    assert segments[2]["until"] == pytest.approx(sum(entry["instructions"] for entry in segments), abs=2)
    assert segments[2]["macs_until"] == sum(early_exit.network.macs)
    until = np.cumsum([entry["instructions"] for entry in segments])
    for outcome, taken in zip(early_exit.trace.outcomes, early_exit.trace.cascade, strict=True):
        assert taken.instructions == pytest.approx(until[outcome.exit], rel=0.01)


def test_the_cascade_is_the_mean_over_the_exits(found: dict[str, Any], whole: Emulated, thresholds: Thresholds) -> None:
    logits = results.evaluation(exits=2).int8_early_exit
    for percentile in (50, 95):
        row = found["cascade"][f"p{percentile}"]
        exits = decision.decide(logits, thresholds.margins[percentile]).exits
        until = np.array([entry["until"] for entry in found["segments"].values()])
        macs_until = np.array([entry["macs_until"] for entry in found["segments"].values()])
        assert row["instructions"] == pytest.approx(until[exits].mean(), abs=2)
        assert row["speedup"] == pytest.approx(whole.trace.instructions.mean() / until[exits].mean(), rel=1e-4)
        assert row["speedup_macs"] == pytest.approx(sum(whole.network.macs) / macs_until[exits].mean())
    assert found["cascade"]["p50"]["speedup"] > found["cascade"]["p95"]["speedup"]


def test_layers_add_up(found: dict[str, Any], early_exit: Emulated) -> None:
    rows = found["layers"]["early_exit"]
    for name, entry in found["segments"].items():
        inside = [row for row in rows if row["segment"] == name]
        assert sum(row["macs"] for row in inside) == entry["macs"]
        assert 0.95 * entry["instructions"] < sum(row["instructions"] for row in inside) <= entry["instructions"] + 1
    assert rows[0]["kind"] == "conv"
    assert (rows[0]["in"], rows[0]["out"]) == ("40x40x3", "20x20x8")
    sums = report.kinds(rows)
    assert sum(entry["macs"] for entry in sums.values()) == sum(early_exit.network.macs)
    assert [entry["instructions"] for entry in sums.values()] == sorted(
        (entry["instructions"] for entry in sums.values()), reverse=True
    )


def test_memory_is_that_of_the_image(found: dict[str, Any], early_exit: Emulated) -> None:
    flash, ram = (found["memory"]["early_exit"][kind] for kind in ("flash", "ram"))
    weights = sum(row["macs"] > 0 for row in found["layers"]["early_exit"])
    assert flash["network_constants"] > 100 * weights
    assert flash["total"] == flash["network_constants"] + flash["network_code"] + flash["kernels"]
    assert flash["total"] + flash["test_firmware"] == early_exit.image.flash()
    arena = int(library(early_exit.network)["ee.h"].split("#define EE_ARENA_BYTES ")[1].split()[0])
    assert ram["arena"] == arena
    assert ram["total"] == ram["arena"] + ram["state"] + ram["stack"] <= MEMORY[1]
    assert 100 < ram["stack"] < 2048


def test_the_text_has_all_figures(found: dict[str, Any]) -> None:
    text = report.markdown(found)
    for entry in found["segments"].values():
        assert f"{entry['until']:,}" in text
    for row in found["cascade"].values():
        assert f"{row['speedup']:.2f}x ({row['speedup_macs']:.2f}x)" in text
    assert f"{found['memory']['early_exit']['ram']['total']:,}" in text
    assert "not cycles" in text


def test_equal_runs_give_equal_counts(deployed: Deployment) -> None:
    images, text = deployed.quantize(tiny_network.images(2, seed=8)), library(deployed)
    one, other = (emulate.emulate(deployed, text, images, MEMORY) for _ in range(2))
    assert one.image.content == other.image.content
    assert one.trace.segments == other.trace.segments
    assert one.trace.cascade == other.trace.cascade


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("logits", "logits of exit2: the firmware's differ from TFLM for 1 of 3 images, first for number 2"),
        ("features", "features behind exit1: the firmware's differ from TFLM for 2 of 3 images, first for number 1"),
        ("outcomes", "exit and label: the firmware's differ from the exit policy for 1 of 3 images"),
    ],
)
def test_an_answer_that_differs_is_named(early_exit: Emulated, change: str, message: str) -> None:
    trace = early_exit.trace
    logits, features, outcomes = trace.logits.copy(), [x.copy() for x in trace.features], list(trace.outcomes)
    if change == "logits":
        logits[1, 2, 0] ^= 1
    elif change == "features":
        features[0][1:, 5] ^= 1
    else:
        outcomes[1] = replace(outcomes[1], label=1 - outcomes[1].label)
    images = early_exit.network.quantize(tiny_network.images(3, seed=8))
    wrong = replace(trace, logits=logits, features=features, outcomes=outcomes)
    with pytest.raises(ValueError, match=message):
        emulate.check(early_exit.network, images, wrong)


def test_a_device_that_is_too_small(deployed: Deployment) -> None:
    images = deployed.quantize(tiny_network.images(1))
    with pytest.raises(ValueError, match=r"of FLASH; the largest parts: .* of ee_kernels\.c"):
        emulate.emulate(deployed, library(deployed), images, (4096, 1 << 16))
