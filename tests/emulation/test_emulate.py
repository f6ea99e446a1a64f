from dataclasses import replace
from typing import Any

import pytest

from earlyexit.emulation import emulate, report
from earlyexit.emulation.emulate import Emulated
from earlyexit.firmware import source
from earlyexit.tflite.deployment import Deployment
from tests import tiny_network
from tests.firmware import baseline

MEMORY = (64 * 1024, 16 * 1024)


@pytest.fixture(scope="module")
def early_exit(deployed: Deployment) -> Emulated:
    return emulate.emulate(deployed, deployed.quantize(tiny_network.images(3, seed=8)), MEMORY)


@pytest.fixture(scope="module")
def whole() -> Emulated:
    network = baseline.network()
    return emulate.emulate(network, network.quantize(tiny_network.images(3, seed=8)))


@pytest.fixture(scope="module")
def found(early_exit: Emulated, whole: Emulated) -> dict[str, Any]:
    return report.report(early_exit, whole, 100)


def test_weights_of_four_bits_take_less_flash_and_few_more_cycles(four_bits: Deployment, early_exit: Emulated) -> None:
    """Every logit and feature is compared with TFLM's and LiteRT's."""
    found = emulate.emulate(four_bits, four_bits.quantize(tiny_network.images(3, seed=8)), MEMORY)
    assert found.trace.cycles.sum() <= 1.15 * early_exit.trace.cycles.sum()
    four, eight = (report.memory(one)["flash"]["network_constants"] for one in (found, early_exit))
    assert four < 0.85 * eight  # of so small a network much is starts and multipliers
    rows = report.layer_costs(found)
    assert [row["layer"] for row in rows] == [row["layer"] for row in report.layer_costs(early_exit)]
    assert all(row["cycles"] > 0 for row in rows)


def test_layers_of_eight_and_four_bits_in_one_network(
    deployed: Deployment, four_bits: Deployment, early_exit: Emulated
) -> None:
    """A depthwise convolution of four bits calls the kernel of eight, which is that of other layers here."""
    mixed = replace(deployed, models=[*deployed.models[:1], *four_bits.models[1:]])
    images = mixed.quantize(tiny_network.images(3, seed=8))
    rows, eight = report.layer_costs(emulate.emulate(mixed, images, MEMORY)), report.layer_costs(early_exit)
    four = report.layer_costs(emulate.emulate(four_bits, images, MEMORY))
    first = sum(row["segment"] == deployed.names[0] for row in rows)
    assert any(row["kind"] == "depthwise" for row in rows[:first])
    for row, expected in zip(rows, [*eight[:first], *four[first:]], strict=True):
        assert {**row, "cycles": 0, "instructions": 0} == {**expected, "cycles": 0, "instructions": 0}
        for kind in ("cycles", "instructions"):
            assert row[kind] == pytest.approx(expected[kind], rel=0.01)


def test_segments_add_up(found: dict[str, Any], early_exit: Emulated) -> None:
    segments = list(found["segments"].values())
    assert list(found["segments"]) == early_exit.network.names
    assert [entry["macs"] for entry in segments] == early_exit.network.macs
    for kind in ("cycles", "instructions", "macs"):
        assert segments[2][f"{kind}_until"] == pytest.approx(sum(entry[kind] for entry in segments), abs=2)


def test_layers_add_up(found: dict[str, Any], early_exit: Emulated) -> None:
    rows = found["layers"]["early_exit"]
    for name, entry in found["segments"].items():
        inside = [row for row in rows if row["segment"] == name]
        assert sum(row["macs"] for row in inside) == entry["macs"]
        for kind in ("cycles", "instructions"):
            assert 0.95 * entry[kind] < sum(row[kind] for row in inside) <= entry[kind] + len(inside)
    assert rows[0]["kind"] == "conv"
    assert (rows[0]["in"], rows[0]["out"]) == ("40x40x3", "20x20x8")
    sums = report.kinds(rows)
    assert sum(entry["macs"] for entry in sums.values()) == sum(early_exit.network.macs)
    cycles = [entry["cycles"] for entry in sums.values()]
    assert cycles == sorted(cycles, reverse=True)


def test_memory_is_that_of_the_image(found: dict[str, Any], early_exit: Emulated) -> None:
    flash, ram = (found["memory"]["early_exit"][kind] for kind in ("flash", "ram"))
    weights = sum(row["macs"] > 0 for row in found["layers"]["early_exit"])
    assert flash["network_constants"] > 100 * weights
    assert flash["total"] == flash["network_constants"] + flash["network_code"] + flash["kernels"]
    assert flash["total"] + flash["test_firmware"] == early_exit.image.flash()
    assert ram["arena"] == source.lay_out(source.read(early_exit.network.models)).plan.size
    assert ram["total"] == ram["arena"] + ram["state"] + ram["stack"] <= MEMORY[1]
    assert 100 < ram["stack"] < 2048


def test_the_text_has_all_figures(found: dict[str, Any]) -> None:
    text = report.markdown(found)
    for entry in found["segments"].values():
        assert f"| {entry['cycles_until']:,} | {entry['cycles_until'] / 100_000:.1f} |" in text
    assert f"{found['memory']['early_exit']['ram']['total']:,}" in text
    assert "estimated ms at 100 MHz" in text


def test_equal_runs_give_equal_counts(deployed: Deployment) -> None:
    images = deployed.quantize(tiny_network.images(2, seed=8))
    one, other = (emulate.emulate(deployed, images, MEMORY) for _ in range(2))
    assert one.image.content == other.image.content
    assert one.trace.segments == other.trace.segments


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("logits", "logits of exit2: the firmware's differ from TFLM for 1 of 3 images, first for number 2"),
        ("features", "features behind exit1: the firmware's differ from TFLM for 2 of 3 images, first for number 1"),
    ],
)
def test_an_answer_that_differs_is_named(early_exit: Emulated, change: str, message: str) -> None:
    trace = early_exit.trace
    logits, features = trace.logits.copy(), [x.copy() for x in trace.features]
    if change == "logits":
        logits[1, 2, 0] ^= 1
    else:
        features[0][1:, 5] ^= 1
    images = early_exit.network.quantize(tiny_network.images(3, seed=8))
    wrong = replace(trace, logits=logits, features=features)
    with pytest.raises(ValueError, match=message):
        emulate.check(early_exit.network, images, wrong)


def test_a_device_that_is_too_small(deployed: Deployment) -> None:
    images = deployed.quantize(tiny_network.images(1))
    with pytest.raises(ValueError, match=r"of FLASH; the largest parts: .* of ee_kernels\.c"):
        emulate.emulate(deployed, images, (4096, 1 << 16))


@pytest.mark.parametrize(("count", "images", "expected"), [(3, 9, [0, 4, 8]), (5, 3, [0, 1, 2]), (1, 4, [0])])
def test_images_are_spread_evenly(count: int, images: int, expected: list[int]) -> None:
    assert emulate.evenly_spread(count, images).tolist() == expected
