"""Report the search for exits: the candidates, the best sets, and what the budget ruled out."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from earlyexit.budget import alternatives
from earlyexit.budget.alternatives import over_budget
from earlyexit.common.markdown import NOTHING, bold, percent, table, thousands, times
from earlyexit.model.architecture import Attached
from earlyexit.placement.search import ExitSet, Search

UNITS = {"cycles": "estimated cycles of a Cortex-M4", "macs": "multiply-accumulates"}


def report(searches: Sequence[Search], most: int, loss: float, given: Attached) -> dict[str, Any]:
    """Search the sets of 1 to `most` exits of every kind of head; return all that is worth knowing.

    Args:
        searches: one for each kind of head.
        most: exits of a set.
        loss: accuracy that a set may lose.
        given: the exits of params.yaml, for comparison.

    Raises:
        ValueError: no set is within the budget.
    """
    sizes = range(1, most + 1)
    pairs = [search.best(size) for size in sizes for search in searches]
    best = [one for one, _ in pairs if one is not None]
    if not best:
        raise ValueError(f"memory.flash_limit, memory.sram_limit: no set of at most {most} exits is within the budget")
    chosen = min(best, key=lambda one: (one.cost, len(one.exits)))
    first = searches[0]
    compared = [s for s in searches if s.found.head == given.head]
    return {
        "placement": "searched",
        "unit": first.unit,
        "loss": loss,
        "n": first.ranks.shape[1],
        "baseline": first.costs.whole,
        "budget": {"flash": first.budget[0], "sram": first.budget[1]},
        "candidates": [_candidate(search, place) for search in searches for place in range(len(search.found.blocks))],
        "best": [asdict(one) for one in best],
        "chosen": asdict(chosen),
        "pays": chosen.cost < first.costs.whole,
        "given": asdict(_by_name(compared[0], given.exits)) if compared else None,
        "sets": [over_budget(search.found, size, *search.budget) for size in sizes for search in searches],
        "beyond_budget": [asdict(other) for _, other in pairs if other is not None and other.cost < chosen.cost],
    }


def markdown(found: dict[str, Any]) -> str:
    """Return the report as Markdown tables."""
    if found["placement"] == "given":
        exits = ", ".join(found["exits"])
        return (
            f"exits.placement is given: exits after {exits}, head {found['head']}. `make placement` searches others.\n"
        )
    chosen, unit = found["chosen"], UNITS[found["unit"]]
    heads = ["exits", "head", "thresholds (percentiles)", "exit shares (%)", "loss (points)", f"mean {unit}"]
    heads += ["speedup", "flash", "SRAM"]
    rows = [_row(one, marked=one == chosen) for one in found["best"]]
    rows += [_row(one, note="over budget") for one in found["beyond_budget"]]
    if found["given"]:
        rows.append(_row(found["given"], note="given"))
    budget = found["budget"]
    lines = [
        *table(heads, rows, labels=4),
        "",
        "For each number of exits and kind of head, the cheapest set that loses at most "
        f"{_points(found['loss'])} points against the final classifier, thresholds chosen with it, on {found['n']:,} "
        "calibration images; FP32, backbone frozen. Bold: chosen. Speedup over the baseline's "
        f"{thousands(round(found['baseline']))} {unit}. Budget: "
        f"{budget['flash']:,} bytes of flash, {budget['sram']:,} of SRAM.",
        "",
        *([] if found["pays"] else [_NOTHING_PAYS, ""]),
        *_candidates(found),
        "",
        "Accuracy of each candidate alone; cost of an image that leaves there, of the baseline's.",
        "",
        alternatives.markdown(found["sets"], *budget.values()),
    ]
    return "\n".join(lines)


_NOTHING_PAYS = "No set is cheaper than the baseline: of this network, early exits pay nowhere at this loss."


def _candidate(search: Search, place: int) -> dict[str, Any]:
    until, head = search.costs.until[place], search.costs.heads[place]
    return {
        "block": search.found.blocks[place],
        "head": search.found.head,
        "accuracy": search.accuracy - float(search.penalty[place].mean()),
        "cost": until + head,
        "head_cost": head,
    }


def _by_name(search: Search, exits: Sequence[str]) -> ExitSet:
    return search.judge(tuple(search.found.blocks.index(name) for name in exits))


def _row(one: dict[str, Any], *, marked: bool = False, note: str = "") -> list[str]:
    exits = ", ".join(one["exits"])
    thresholds = " / ".join(NOTHING if p is None else f"p{p}" for p in one["percentiles"])
    shares = " / ".join(percent(share, 1) for share in one["exit_share"])
    cost = thousands(round(one["cost"]))
    numbers = [_points(one["loss"]), cost, times(one["speedup"]), thousands(one["flash"]), thousands(one["sram"])]
    return [
        bold(exits) if marked else f"{exits} ({note})" if note else exits,
        one["head"],
        thresholds,
        shares,
        *numbers,
    ]


def _candidates(found: dict[str, Any]) -> list[str]:
    kinds = list(dict.fromkeys(row["head"] for row in found["candidates"]))
    blocks = list(dict.fromkeys(row["block"] for row in found["candidates"]))
    cells = {(row["block"], row["head"]): row for row in found["candidates"]}
    rows = []
    for block in blocks:
        entries = [cells[block, kind] for kind in kinds]
        accuracies = [percent(entry["accuracy"]) for entry in entries]
        rows.append([block, *accuracies, *(f"{percent(entry['cost'] / found['baseline'], 1)} %" for entry in entries)])
    return table(["exit after", *(f"{kind} (%)" for kind in kinds), *(f"cost, {kind}" for kind in kinds)], rows)


def _points(loss: float) -> str:
    return f"{100 * loss:.2f}"
