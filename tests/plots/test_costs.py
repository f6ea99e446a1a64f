from typing import Any

import pytest

from earlyexit.plots import costs, style
from tests.plots import results


def report(exits: int = 2) -> dict[str, Any]:
    names = [*(f"exit{i + 1}" for i in range(exits)), "final"]
    layers = [
        {"segment": name, "kind": kind, "cycles": count, "macs": 1}
        for name in names
        for kind, count in (("conv", 100), ("depthwise", 50), ("pointwise", 40), ("add", 5), ("mean", 3), ("dense", 1))
    ]
    segments = {
        name: {"cycles": 200, "cycles_until": 200 * (i + 1), "macs": 10, "macs_until": 10 * (i + 1)}
        for i, name in enumerate(names)
    }
    return {
        "images": 20,
        "segments": segments,
        "baseline": {"cycles": 500, "macs": 40},
        "layers": {"early_exit": layers, "baseline": layers[:12]},
    }


def test_times_add_up() -> None:
    table = costs.measured(results.names(3), results.costs())
    assert table["time_until"].tolist() == [330, 120.5, 200.5, 260.5, 350.75]
    assert table["macs_until"].tolist() == [1300, 400, 700, 900, 1400]
    assert table["time_share"][2] == pytest.approx(200.5 / 330)
    assert table["macs_share"][0] == 1


def test_cycles_add_up() -> None:
    table = costs.emulated(report())
    assert table["classifier"].tolist() == ["baseline", "exit1", "exit2", "final"]
    assert table["cycles_until"].tolist() == [500, 200, 400, 600]
    assert table["cycles_share"].tolist() == pytest.approx([1, 0.4, 0.8, 1.2])
    assert table["macs_share"].tolist() == pytest.approx([1, 0.25, 0.5, 0.75])
    kinds = table[["stem", "depthwise", "pointwise", "add", "other"]].to_numpy()
    assert kinds.sum(1).tolist() == table["cycles_until"].tolist()
    assert kinds[2].tolist() == [200, 100, 80, 10, 10]


@pytest.mark.parametrize("exits", [0, 1, 3, 6])
def test_bars_are_as_long_as_the_costs(exits: int) -> None:
    found = report(exits)
    table = costs.emulated(found)
    figure = costs.draw_emulated(table, found)
    axes = figure.axes[0]
    ends = [max(bar.get_x() + bar.get_width() for bar in bars) for bars in zip(*axes.containers, strict=True)]
    assert ends == pytest.approx((table["cycles_until"] / 1e6).tolist())
    texts = [text.get_text() for text in axes.texts]
    assert any("n = 20 images; cycles estimated" in text for text in texts)
    assert figure.get_figwidth() == style.WIDTH
    figure.draw_without_rendering()
