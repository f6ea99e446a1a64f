"""Render the page: one HTML file that needs no network."""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import vl_convert
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from earlyexit.common.markdown import NOTHING, percent, times
from earlyexit.page import record
from earlyexit.page.pictures import all_pictures
from earlyexit.page.run import Run, differing, leaves
from earlyexit.reports import shift, table1
from earlyexit.task import CLASSES

_TEMPLATES = Path(__file__).with_name("templates")


def page(runs: Sequence[Run], thumbnails: Mapping[str, Any] | None = None) -> str:
    """Return the page of a run, or of several side by side.

    Args:
        runs: at least one.
        thumbnails: of the first run, as `thumbnails.choose` returns them; None for none.
    """
    pictures = all_pictures(runs)
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {"script": _script, "cell": _cell}
    return environment.get_template("page.html").render(
        runs=runs,
        several=len(runs) > 1,
        headline=[_headline(run) for run in runs],
        table1={
            "heads": table1.heads([row for run in runs for row in run.reports["table1"]]),
            "rows": [row for run in runs for row in _table1(run)],
        },
        shift=[shift.tables(run.reports["shift"]) for run in runs],
        shift_notes=[shift.notes(run.reports["shift"]) for run in runs],
        pictures=pictures,
        specs={name: picture.spec for name, picture in pictures.items()},
        data=[_interactive(run) for run in runs],
        confusion=[_confusion(run) for run in runs],
        classes=CLASSES,
        thumbnails=thumbnails,
        promises=[_promises(run) for run in runs],
        differing=differing(list(runs)),
        params=[leaves(run.params) for run in runs],
        origin=[_origin(run) for run in runs],
        style=Markup((_TEMPLATES / "page.css").read_text(encoding="utf-8")),
        code=Markup((_TEMPLATES / "page.js").read_text(encoding="utf-8")),
        bundle=Markup(_bundle()),
    )


@cache
def _bundle() -> str:
    """Return Vega, Vega-Lite and Vega-Embed for a <script> element, in the version that Altair writes."""
    version = "_".join(alt.SCHEMA_VERSION.split(".")[:2])
    bundle: str = vl_convert.javascript_bundle(vl_version=version)  # type: ignore[call-arg]
    return bundle.replace("</script", "<\\/script")


def _script(content: Any) -> Markup:
    """Return JSON that is safe in a <script> element, with sorted keys: no character of it can end the element."""
    text = json.dumps(content, sort_keys=True, allow_nan=False, separators=(",", ":"))
    for mark in "<>&\u2028\u2029":
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return Markup(text)


def _cell(value: Any) -> str:
    """Return a value of a picture's data as text."""
    if value is None:
        return NOTHING
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _headline(run: Run) -> str:
    """Return the result in one line: the policy that is built into the C library."""
    policy = run.policies[run.params["firmware"]["policy"]]
    val, baseline = policy["val"], run.rows["int8_baseline"]
    return (
        f"INT8, {run.record['n']:,} val images, policy {policy['name']}: {percent(val['accuracy'])} % right at "
        f"{times(val['speedup_emulated'])} the speed of the network without exits, which is right in "
        f"{percent(baseline['accuracy'])} % (estimated Cortex-M4 cycles; {times(val['speedup_measured'])} as measured)."
    )


def _table1(run: Run) -> list[list[str]]:
    prefix = f"{run.name}: " if run.name else ""
    found = [table1.cells(row) for row in run.reports["table1"]]
    return [[f"{prefix}{name}", *numbers] for name, *numbers in found]


def _interactive(run: Run) -> dict[str, Any]:
    """Return what the page computes with, in the browser."""
    keys = ("name", "thresholds", "patience")
    policies = [
        {**{key: policy[key] for key in keys}, "measured": policy["val"]["speedup_measured"]}
        for policy in run.policies.values()
    ]
    held = ("names", "n", "labels", "answers", "margins", "percentiles", "costs")
    return {
        "run": run.name,
        **{key: run.record[key] for key in held},
        "policies": policies,
        "built_in": run.params["firmware"]["policy"],
        "clock_mhz": run.params["emulate"]["clock_mhz"],
    }


def _confusion(run: Run) -> list[dict[str, Any]]:
    """Return a table of answers by truth for each classifier alone."""
    labels, answers, _ = record.unpacked(run.record)
    counts = [np.bincount(2 * labels + row, minlength=4).reshape(2, 2).tolist() for row in answers]
    return [{"name": name, "counts": rows} for name, rows in zip(run.record["names"], counts, strict=True)]


def _promises(run: Run) -> list[str]:
    return [
        f"{name}: {policy['promise'] or policy['note']}"
        for name, policy in run.policies.items()
        if policy["promise"] or policy["note"]
    ]


def _origin(run: Run) -> dict[str, str]:
    """Return where the run comes from: data, seeds, versions, commit, machine."""
    found = run.record["origin"]
    return {
        "data": found["data"],
        "exits": found["exits"],
        "seeds": f"data.seed {run.params['data']['seed']}, train.seed {run.params['train']['seed']}",
        "commit": found["commit"],
        "machine": ", ".join(f"{key} {value}" for key, value in found["machine"].items()),
        "versions": ", ".join(f"{key} {value}" for key, value in found["versions"].items()),
    }
