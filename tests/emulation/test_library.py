import numpy as np
import pytest

from earlyexit.emulation import library
from earlyexit.emulation.compiler import build
from earlyexit.emulation.image import Image
from earlyexit.emulation.library import Library
from earlyexit.policy import decision
from tests.emulation import standin
from tests.emulation.slow_emulator import SlowMachine
from tests.policies import policy


@pytest.fixture(scope="module")
def image() -> Image:
    return build(standin.SOURCES)


def test_runs_segments(image: Image) -> None:
    inputs = standin.inputs(8)
    trace = library.run(image, inputs, standin.FEATURES, ["ee_sum"])
    expected = [standin.segments(pixels) for pixels in inputs]
    for segment, features in enumerate(trace.features):
        assert np.array_equal(features, [left[segment] for left in expected])
    assert np.array_equal(trace.logits, standin.logits(inputs))
    slow = SlowMachine(image)
    slow.call("ee_init")
    for number, pixels in enumerate(inputs):
        slow.uc.mem_write(image.symbol("arena").address, pixels.tobytes())
        for segment in range(3):
            place = image.symbol("arena").address if segment == 0 else 0
            assert trace.instructions[segment, number] == slow.call("ee_run_segment", segment, place, slow.exchange)
    assert (trace.cycles > trace.instructions).all()
    assert all(len(cost.calls) == 1 for costs in trace.segments for cost in costs)


def test_the_stack_is_that_of_the_cascade(image: Image) -> None:
    room = 'char room[512]; __asm__ volatile("" : : "r"(memset(room, 0, 512)) : "memory");'
    deep = standin.SOURCE.replace("int agreeing = 0;", f"int agreeing = 0; {room}")
    trace, deeper = (
        library.run(build({**standin.SOURCES, "ee.c": text}), standin.inputs(1), standin.FEATURES)
        for text in (standin.SOURCE, deep)
    )
    assert 0 < trace.stack < 400
    assert 450 <= deeper.stack - trace.stack <= 540


def test_decides_under_every_policy(image: Image) -> None:
    inputs = standin.inputs(12)
    policies = [None, policy([10, 5]), policy([255, 255], 2), policy([50, 255], 3)]
    found = library.decide(image, inputs, 3, policies)
    assert np.array_equal(found.logits, standin.logits(inputs))
    seen = set()
    for row, chosen in enumerate(policies):
        given = chosen or policy(standin.THRESHOLDS, standin.PATIENCE)
        expected = decision.decide(found.logits, given.thresholds, given.patience)
        margins = decision.margins(found.logits)[expected.exits, np.arange(12)]
        assert found.outcomes[row].T.tolist() == [expected.labels.tolist(), expected.exits.tolist(), margins.tolist()]
        seen |= set(expected.exits.tolist())
    assert seen == {0, 1, 2}


def test_a_cascade_costs_what_its_segments_cost(image: Image) -> None:
    inputs = standin.inputs(6)
    trace = library.run(image, inputs, standin.FEATURES)
    found = library.decide(image, inputs, 3, [policy([0, 0]), policy([255, 255])])
    for row, (_, exits, _) in enumerate(found.outcomes.transpose(0, 2, 1)):
        for number, leaves in enumerate(exits):
            for counted, segments in ((found.cycles, trace.cycles), (found.instructions, trace.instructions)):
                own = counted[row, number] - segments[: leaves + 1, number].sum()
                assert abs(own) < 60 * (leaves + 1)


def test_says_which_policy_is_set(image: Image) -> None:
    made = Library(image)
    assert made.policy(2) == (standin.THRESHOLDS, standin.PATIENCE)
    made.set_policy(policy([7, 8], 3))
    assert made.policy(2) == ([7, 8], 3)
    made.start()
    assert made.policy(2) == (standin.THRESHOLDS, standin.PATIENCE)


def test_an_error_code_ends_the_run() -> None:
    sources = {**standin.SOURCES, "ee.c": standin.SOURCE.replace("segment >= EE_SEGMENTS", "segment == 1")}
    with pytest.raises(ValueError, match=r"ee_run_segment\(1\) answered -2"):
        library.run(build(sources), standin.inputs(1), standin.FEATURES)
