"""The figure of the error of every layer, against the errors that it shows."""

from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from earlyexit.plots import style
from earlyexit.plots.layer_error import draw
from earlyexit.quantization import layer_error
from earlyexit.quantization.layer_error import LayerError


def entry(segment: int, index: int, operator: str, head: bool, sqnr: float) -> LayerError:
    return LayerError(
        images=32,
        segment=segment,
        classifier=["exit1", "final"][segment - 1],
        index=index,
        operator=operator,
        head=head,
        shape=(4, 4, 8),
        scale=0.02,
        zero_point=-128 if operator.endswith("CONV_2D") else 3,
        sqnr=sqnr,
        sqnr_alone=sqnr + 10,
        sqnr_rounding=sqnr + 11,
        max_error=2.5,
        bias=-0.1,
        clipped=0.0,
    )


ERRORS = [
    entry(1, 0, "CONV_2D", False, 40.25),
    entry(1, 1, "ADD", False, 31.25),
    entry(1, 2, "MEAN", True, 36.25),
    entry(1, 3, "FULLY_CONNECTED", True, 34.25),
    entry(2, 0, "DEPTHWISE_CONV_2D", False, 29.25),
    entry(2, 1, "MEAN", False, 30.25),
    entry(2, 2, "FULLY_CONNECTED", False, 28.25),
]


def layers(errors: list[LayerError]) -> pd.DataFrame:
    """The table as it comes back from the file that the ptq stage writes."""
    return pd.read_csv(StringIO(pd.DataFrame(layer_error.table(errors)).to_csv(index=False)))


def lines(errors: list[LayerError], **look: str) -> list[list[tuple[float, float]]]:
    """The points of the lines of one look, in the order of drawing."""
    drawn = draw(layers(errors)).axes[0].lines
    return [
        [(float(x), float(y)) for x, y in np.asarray(line.get_xydata())]
        for line in drawn
        if all(getattr(line, f"get_{key}")() == value for key, value in look.items())
    ]


def test_a_table_that_was_written_draws_the_same(tmp_path: Path) -> None:
    table = layers([*ERRORS[:-1], replace(ERRORS[-1], sqnr=np.inf)])
    style.save_table(tmp_path / "layers.csv", table)
    read = pd.read_csv(tmp_path / "layers.csv")
    pd.testing.assert_frame_equal(read, table, check_dtype=False)
    for name, found in (("one.png", table), ("two.png", read)):
        style.save_figure(tmp_path / name, draw(found))
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    with Image.open(tmp_path / "one.png") as picture:
        assert picture.width == round(style.WIDTH * style.DPI)


def test_the_backbone_is_one_line_and_a_head_forks_off() -> None:
    backbone, *_ = lines(ERRORS, linestyle="-")
    assert backbone == [(1, 40.25), (2, 31.25), (5, 29.25), (6, 30.25), (7, 28.25)]
    heads = [points for points in lines(ERRORS, linestyle=":") if len(points) > 1]
    assert heads == [[(2, 31.25), (3, 36.25), (4, 34.25)]]


def test_every_layer_alone_has_its_mark() -> None:
    assert lines(ERRORS, linestyle="None", marker="o", color=style.REFERENCE) == [[(1, 50.25)]]
    assert lines(ERRORS, linestyle="None", marker="D", color=style.PAPER) == [[(2, 41.25)]]
    assert lines(ERRORS, linestyle="None", marker="^", color=style.REFERENCE) == [[(5, 39.25)]]
    assert lines(ERRORS, linestyle="None", marker="s", color=style.PAPER) == [
        [(3, 46.25), (4, 44.25), (6, 40.25), (7, 38.25)]
    ]


@pytest.mark.parametrize("errors", [ERRORS[4:], ERRORS[:1], [replace(ERRORS[0], sqnr=np.inf, sqnr_alone=-np.inf)]])
def test_few_layers_and_none_in_error_can_be_drawn(errors: list[LayerError]) -> None:
    draw(layers(errors)).draw_without_rendering()
