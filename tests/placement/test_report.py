from typing import Any

import pytest

from earlyexit.model.architecture import Attached
from earlyexit.placement import report
from earlyexit.placement.search import Search, searches
from tests.placement import found

GIVEN = Attached(exits=["block2", "block4"], head="pooled")


def made(budget: tuple[int, int] = (10**9, 10**9)) -> list[Search]:
    choices = [found.alternatives(head, 5, seed=1) for head in ("separable", "pooled")]
    return list(searches(found.candidates(5, 60), choices, unit="cycles", loss=0.02, budget=budget))


@pytest.fixture
def content() -> dict[str, Any]:
    return report.report(made(), 3, 0.02, GIVEN)


def rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|") and "---" not in line]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]


def test_the_cheapest_set_is_chosen(content: dict[str, Any]) -> None:
    assert len(content["best"]) == 2 * 3
    assert content["chosen"]["cost"] == min(one["cost"] for one in content["best"])
    assert content["given"]["cost"] >= content["chosen"]["cost"]
    assert content["pays"]
    assert content["beyond_budget"] == []
    assert [row["sets"] for row in content["sets"]] == [5, 5, 10, 10, 10, 10]
    assert {(one["block"], one["head"]) for one in content["candidates"]} == {
        (f"block{k}", head) for k in range(1, 6) for head in ("separable", "pooled")
    }


def test_a_candidate_costs_what_an_image_costs_that_leaves_there(content: dict[str, Any]) -> None:
    search = made()[1]
    for place in range(5):
        (entry,) = [
            one for one in content["candidates"] if (one["block"], one["head"]) == (f"block{place + 1}", "pooled")
        ]
        assert entry["cost"] == search.costs.of((place,))[0]


def test_sets_beyond_the_budget_are_shown_where_they_would_be_cheaper(content: dict[str, Any]) -> None:
    limits = content["chosen"]["flash"] - 1, 10**9
    less = report.report(made(limits), 3, 0.02, GIVEN)
    assert less["chosen"]["cost"] > content["chosen"]["cost"]
    assert content["chosen"]["exits"] in [one["exits"] for one in less["beyond_budget"]]
    assert all(one["flash"] > limits[0] for one in less["beyond_budget"])
    text = report.markdown(less)
    assert f"{', '.join(content['chosen']['exits'])} (over budget)" in [row[0] for row in rows(text)]


def test_a_budget_that_leaves_nothing() -> None:
    with pytest.raises(ValueError, match=r"^memory.flash_limit, memory.sram_limit: no set of at most 2 exits"):
        report.report(made((10, 10)), 2, 0.02, GIVEN)


def test_markdown_marks_the_chosen_set_and_the_given_one(content: dict[str, Any]) -> None:
    table = rows(report.markdown(content))
    chosen, given = content["chosen"], content["given"]
    (bold,) = [row for row in table if row[0].startswith("**")]
    assert bold[:2] == [f"**{', '.join(chosen['exits'])}**", chosen["head"]]
    assert f"{chosen['speedup']:.2f}x" in bold
    (row,) = [row for row in table if row[0] == "block2, block4 (given)"]
    assert f"{round(given['cost']):,}" in row
    assert "early exits pay nowhere" not in report.markdown(content)


def test_says_that_nothing_pays(content: dict[str, Any]) -> None:
    text = report.markdown({**content, "pays": False})
    assert "No set is cheaper than the baseline" in text


def test_given_exits_of_another_head_are_not_compared(content: dict[str, Any]) -> None:
    other = report.report(made(), 1, 0.02, GIVEN.model_copy(update={"head": "strided"}))
    assert other["given"] is None
    assert "(given)" not in report.markdown(other)


def test_given_exits_are_named_and_nothing_else() -> None:
    text = report.markdown({"placement": "given", **GIVEN.model_dump()})
    assert (
        text == "exits.placement is given: exits after block2, block4, head pooled. `make placement` searches others.\n"
    )
