"""The pictures of the page as Vega-Lite charts, each with the rows of data behind it; one run, or several in each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from earlyexit.page.run import Run

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b77f00", "#3d8fc4")
"""Okabe and Ito's colours, which people with any colour vision can tell apart. Their orange and sky blue are darkened:
each colour has a contrast of 3 or more on the white and on the black page."""
_GREY = "#7a7f87"
_SHAPES = {"percentile": "circle", "searched": "square", "guaranteed": "diamond", "patience": "triangle-up"}


@dataclass(frozen=True)
class Picture:
    """A chart with its words.

    Attributes:
        name: an identifier.
        title, caption: above and below the chart.
        spec: Vega-Lite, as JSON.
        rows: the data behind it, for a table.
    """

    name: str
    title: str
    caption: str
    spec: dict[str, Any]
    rows: list[dict[str, Any]]


def all_pictures(runs: Sequence[Run]) -> dict[str, Picture]:
    """Return every picture by its name, with all `runs` in each."""
    made = [
        frontier(runs),
        reliability(runs),
        learning_curves(runs),
        layer_error(runs),
        cycles(runs),
        arena(runs),
        budget(runs),
    ]
    return {picture.name: picture for picture in made}


def frontier(runs: Sequence[Run]) -> Picture:
    """Return accuracy against speedup: all percentiles, the policies, and a mark for the chosen thresholds."""
    curve = [
        {
            "run": run.name,
            "policy": None,
            "kind": None,
            **{key: row[key] for key in ("percentile", "accuracy", "speedup_emulated")},
        }
        for run in runs
        for row in run.tables["frontier"]
    ]
    points = [
        {
            "run": run.name,
            "policy": name,
            "kind": policy["kind"],
            "percentile": None,
            "accuracy": policy["val"]["accuracy"],
            "speedup_emulated": policy["val"]["speedup_emulated"],
        }
        for run in runs
        for name, policy in run.policies.items()
    ]
    x = alt.X(
        "speedup_emulated:Q", title="Speedup (estimated Cortex-M4 cycles)", scale=_free(), axis=alt.Axis(tickCount=8)
    )
    y = alt.Y("accuracy:Q", title="Accuracy on val", scale=_free(), axis=alt.Axis(format=".1%"))
    several = len(runs) > 1
    kinds = [kind for kind in _SHAPES if any(point["kind"] == kind for point in points)]
    by_kind = alt.Color(
        "kind:N", title="kind of policy", scale=alt.Scale(domain=kinds, range=list(COLOURS[: len(kinds)]))
    )
    shapes = alt.Scale(domain=kinds, range=[_SHAPES[kind] for kind in kinds])
    line = (
        alt.Chart(_data(curve))
        .mark_line()
        .encode(
            x,
            y,
            order="percentile:Q",
            color=_run_colours(runs) if several else alt.value(COLOURS[0]),
            tooltip=_tips(curve, "policy", "kind"),
        )
    )
    marks = (
        alt.Chart(_data(points))
        .mark_point(filled=True, size=80, opacity=1)
        .encode(
            x,
            y,
            shape=alt.Shape("kind:N", title="kind of policy", scale=shapes),
            color=_run_colours(runs) if several else by_kind,
            tooltip=_tips(points, "percentile"),
        )
    )
    here = (
        alt.Chart(alt.NamedData("here"))
        .mark_point(size=300, strokeWidth=3, opacity=1, color=COLOURS[4])
        .encode(
            alt.X("speedup_emulated:Q"),
            alt.Y("accuracy:Q"),
            color=_run_colours(runs) if several else alt.value(COLOURS[4]),
        )
    )
    chart = alt.layer(line, marks, here).properties(width="container", height=320)
    spec = chart.to_dict()
    built_in = {run.params["firmware"]["policy"] for run in runs}
    spec["datasets"]["here"] = [point for point in points if point["policy"] in built_in]
    return Picture(
        "frontier",
        "Accuracy against speed",
        "Line: all percentiles. Points: exit policies. Ring: the thresholds chosen above.",
        spec,
        [*points, *curve],
    )


def reliability(runs: Sequence[Run]) -> Picture:
    """Return accuracy by confidence of each classifier."""
    keys = ("classifier", "confidence", "accuracy", "images")
    rows = [
        {"run": run.name, **{key: row[key] for key in keys}} for run in runs for row in run.tables["plots/reliability"]
    ]
    rows = [row for row in rows if row["images"]]
    diagonal = (
        alt.Chart(_data([{"x": 0.5}, {"x": 1}])).mark_line(strokeDash=[4, 4], color=_GREY).encode(x="x:Q", y="x:Q")
    )
    lines = (
        alt.Chart(_data(rows))
        .mark_line()
        .encode(
            alt.X(
                "confidence:Q", title="Mean confidence", scale=alt.Scale(domain=[0.5, 1]), axis=alt.Axis(format=".0%")
            ),
            alt.Y("accuracy:Q", title="Share of right answers", scale=_free(), axis=alt.Axis(format=".0%")),
            color=_classifiers(runs),
            tooltip=_tips(rows),
        )
    )
    chart = alt.layer(diagonal, *_lines(lines, runs)).properties(width="container", height=280)
    return Picture(
        "reliability",
        "Reliability",
        "Share of right answers of each INT8 classifier by its confidence on val; equal on the dashed line.",
        chart.to_dict(),
        rows,
    )


def learning_curves(runs: Sequence[Run]) -> Picture:
    """Return accuracy on calibration images over all epochs."""
    rows = []
    for run in runs:
        for row in run.tables["plots/learning_curves"]:
            for name in run.record["names"]:
                if (value := row.get(f"calibration_{name}")) is not None:
                    keys = {key: row[key] for key in ("stage", "step")}
                    rows.append({"run": run.name, **keys, "classifier": name, "accuracy": value})
    lines = (
        alt.Chart(_data(rows))
        .mark_line()
        .encode(
            alt.X("step:Q", title="Epoch: baseline, disjoint, joint"),
            alt.Y("accuracy:Q", title="Accuracy on calibration images", scale=_free(), axis=alt.Axis(format=".0%")),
            color=_classifiers(runs),
            detail="stage:N",
            tooltip=_tips(rows),
        )
    )
    chart = alt.layer(*_lines(lines, runs)).properties(width="container", height=280)
    return Picture(
        "learning_curves",
        "Learning curves",
        "Accuracy of each FP32 classifier on calibration images, which no weight was fitted to.",
        chart.to_dict(),
        rows,
    )


def layer_error(runs: Sequence[Run]) -> Picture:
    """Return the signal-to-noise ratio of every INT8 layer."""
    keys = ("layer", "segment", "operator", "shape", "sqnr", "sqnr_alone")
    rows = [
        {"run": run.name, **{key: row[key] for key in keys}} for run in runs for row in run.tables["plots/layer_error"]
    ]
    chart = (
        alt.Chart(_data(rows))
        .mark_point(filled=True, size=55, opacity=1)
        .encode(
            alt.X("layer:Q", title="Layer", scale=_free()),
            alt.Y("sqnr:Q", title="Signal to quantization noise (dB)", scale=_free()),
            color=alt.Color("operator:N", title="operator", scale=alt.Scale(range=list(COLOURS))),
            shape=_by_run(runs, alt.Shape),
            tooltip=_tips(rows),
        )
        .properties(width="container", height=260)
    )
    return Picture(
        "layer_error",
        "INT8 error by layer",
        "Signal to noise of each INT8 layer against FP32, with the errors of earlier layers; higher is better.",
        chart.to_dict(),
        rows,
    )


def cycles(runs: Sequence[Run]) -> Picture:
    """Return the estimated cycles of every layer, coloured by segment."""
    rows = [
        {
            "run": run.name,
            "number": number,
            **{key: row[key] for key in ("segment", "layer", "in", "out", "cycles", "macs")},
        }
        for run in runs
        for number, row in enumerate(run.reports["emulated"]["layers"]["early_exit"], start=1)
    ]
    chart = (
        alt.Chart(_data(rows))
        .mark_bar()
        .encode(
            alt.X("number:O", title="Layer", axis=alt.Axis(labelOverlap=True, labelSeparation=6, labelAngle=0)),
            alt.Y("cycles:Q", title="Estimated cycles", axis=alt.Axis(format="~s")),
            color=_classifiers(runs, "segment"),
            xOffset=alt.XOffset("run:N") if len(runs) > 1 else alt.Undefined,
            opacity=alt.Opacity(
                "run:O", title="run", scale=alt.Scale(domain=[run.name for run in runs], range=[1, 0.55])
            )
            if len(runs) > 1
            else alt.Undefined,
            tooltip=_tips(rows),
        )
        .properties(width="container", height=260)
    )
    caption = f"Estimated cycles of a Cortex-M4 by layer and segment. {' '.join(map(_segments, runs))}"
    return Picture("cycles", "Cycles by layer and segment", caption, chart.to_dict(), rows)


def arena(runs: Sequence[Run]) -> Picture:
    """Return the arena of the C library: a rectangle for each buffer, layers against bytes."""
    rows = [
        {
            "run": run.name,
            "buffer": buffer["name"],
            "first layer": run.record["arena"]["layers"][buffer["first"]],
            "from": buffer["from"],
            "to": buffer["from"] + buffer["bytes"],
            "bytes": buffer["bytes"],
            "first": buffer["first"] + 1,
            "last": buffer["last"] + 1,
        }
        for run in runs
        for buffer in run.record["arena"]["buffers"]
    ]
    chart = (
        alt.Chart(_data(rows))
        .transform_calculate(start="datum.first - 0.5", end="datum.last + 0.5")
        .mark_rect(strokeWidth=1 if len(runs) == 1 else 2, opacity=0.85)
        .encode(
            alt.X("start:Q", title="Layer", scale=alt.Scale(zero=False, nice=False), axis=alt.Axis(format="d")),
            alt.X2("end:Q"),
            alt.Y("from:Q", title="Bytes of the arena", axis=alt.Axis(format=",d")),
            alt.Y2("to:Q"),
            tooltip=_tips(rows),
            **_by_bytes() if len(runs) == 1 else _first_filled(runs),
        )
        .properties(width="container", height=300)
    )
    sizes = ", ".join(f"{run.name} {run.record['arena']['bytes']:,}".strip() for run in runs)
    return Picture(
        "arena",
        "The arena over time",
        "Each buffer of the C library is a rectangle: its bytes, and the layers between which it is in use. Where two "
        f"overlap, a layer writes its output over the part of its input that it has read. Arena: {sizes} bytes.",
        chart.to_dict(),
        rows,
    )


def budget(runs: Sequence[Run]) -> Picture:
    """Return flash and RAM against the budget."""
    rows: list[dict[str, Any]] = []
    for run in runs:
        memory, backbone = run.reports["memory"], run.params["model"]["backbone"]
        limits = {kind: run.params["memory"][f"{kind}_limit"][backbone] for kind in ("flash", "sram")}
        linked = memory["linked"]["early_exit"]
        used = {
            ("flash", "TFLM"): memory["early_exit"]["flash"],
            ("flash", "C library"): linked["flash"]["total"],
            ("sram", "TFLM"): memory["early_exit"]["sram"],
            ("sram", "C library"): linked["ram"]["total"],
        }
        for (kind, what), count in used.items():
            label = f"{'RAM' if kind == 'sram' else 'Flash'}, {what}"
            row = {
                "run": run.name,
                "what": label,
                "bytes": count,
                "budget": limits[kind],
                "share": count / limits[kind],
            }
            rows.append(row)
    bars = (
        alt.Chart(_data(rows))
        .mark_bar()
        .encode(
            alt.X("share:Q", title="Share of the budget", axis=alt.Axis(format=".0%", tickCount=5)),
            alt.Y("what:N", title=None, sort=None, axis=alt.Axis(labelLimit=160)),
            color=_run_colours(runs) if len(runs) > 1 else alt.value(COLOURS[0]),
            yOffset=alt.YOffset("run:N") if len(runs) > 1 else alt.Undefined,
            tooltip=_tips(rows),
        )
    )
    rule = alt.Chart(_data([{"limit": 1}])).mark_rule(color=COLOURS[1], strokeWidth=2).encode(x="limit:Q")
    chart = alt.layer(bars, rule).properties(width="container", height=140)
    return Picture(
        "budget",
        "Flash and RAM against the budget",
        "With TensorFlow Lite Micro (TFLM): .tflite files; arena, and features kept beside it. As C library: linked "
        "image; arena, state and stack. Line: the budget (memory.flash_limit, memory.sram_limit).",
        chart.to_dict(),
        rows,
    )


def _data(rows: Sequence[dict[str, Any]]) -> alt.InlineData:
    return alt.InlineData(values=list(rows))


def _free() -> alt.Scale:
    return alt.Scale(zero=False, nice=True)


def _tips(rows: Sequence[dict[str, Any]], *hidden: str) -> list[alt.Tooltip]:
    """Return a tooltip that shows every column of the rows but `hidden`; the run only where it has a name."""
    left_out = {*hidden} if any(row["run"] for row in rows) else {*hidden, "run"}
    return [
        alt.Tooltip(name, type="quantitative" if isinstance(value, int | float) else "nominal", title=name)
        for row in rows[:1]
        for name, value in row.items()
        if name not in left_out
    ]


def _segments(run: Run) -> str:
    """Return the cycles of each segment as a sentence."""
    found = run.reports["emulated"]
    cycles = ", ".join(f"{name} {entry['cycles']:,}" for name, entry in found["segments"].items())
    return f"{f'{run.name}: s' if run.name else 'S'}egments, mean over {found['images']} images: {cycles}."


def _by_bytes() -> dict[str, Any]:
    return {
        "color": alt.Color("bytes:Q", title="bytes", scale=alt.Scale(scheme="viridis"), legend=None),
        "stroke": alt.value("white"),
    }


def _first_filled(runs: Sequence[Run]) -> dict[str, Any]:
    """Return rectangles of several runs that do not hide each other: those of the first filled, of others outlines."""
    domain = [run.name for run in runs]
    opacities = alt.Scale(domain=domain, range=[0.45, *[0] * (len(runs) - 1)])
    return {
        "color": _run_colours(runs),
        "stroke": alt.Stroke("run:N", title="run", scale=alt.Scale(domain=domain, range=list(COLOURS[: len(runs)]))),
        "fillOpacity": alt.FillOpacity("run:O", title="run", scale=opacities),
    }


def _run_colours(runs: Sequence[Run]) -> alt.Color:
    return alt.Color(
        "run:N", title="run", scale=alt.Scale(domain=[run.name for run in runs], range=list(COLOURS[: len(runs)]))
    )


def _lines(lines: alt.Chart, runs: Sequence[Run]) -> list[alt.Chart]:
    """Return lines with a point at each value, the runs as dashes.

    The points are a layer of their own without dashes. Together they would have one legend, which shows no dash.
    """
    return [lines.encode(strokeDash=_by_run(runs)), lines.mark_point(filled=True, size=20, opacity=1)]


def _by_run(runs: Sequence[Run], channel: Any = alt.StrokeDash) -> Any:
    """Return the runs as dashes of lines, or as shapes of points; nothing where there is one."""
    legend = (
        alt.Legend(symbolType="stroke", symbolSize=400, symbolStrokeColor=_GREY)
        if channel is alt.StrokeDash
        else alt.Legend()
    )
    return channel("run:N", title="run", sort=None, legend=legend) if len(runs) > 1 else alt.Undefined


def _classifiers(runs: Sequence[Run], field: str = "classifier") -> alt.Color:
    names = list(dict.fromkeys(name for run in runs for name in run.record["names"]))
    return alt.Color(f"{field}:N", title=field, scale=alt.Scale(domain=names, range=list(COLOURS[: len(names)])))
