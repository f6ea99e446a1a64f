import signal
import time
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earlyexit.emulation.compiler import build
from earlyexit.emulation.emulator import Machine
from earlyexit.emulation.image import Image
from tests.emulation import standin
from tests.emulation.slow_emulator import SlowMachine
from tests.waiting import LONG, LONGER

EMPTY = "int main(void) { for (;;) { } }\n"
# Long and short instructions, conditional ones (IT blocks), calls in calls, a switch, and what must fail.
FUNCTIONS = """
#include <stdint.h>
uint32_t state = 7;
int32_t mixed(int32_t n, int32_t m)
{
    int64_t sum = 0x123456789;
    for (int32_t i = 0; i < n; i++) {
        sum += (int64_t)i * m;
        if (sum > 0x7FFFFFFFF) { sum -= m; }
        if ((sum & 3) == 1 && i > 3) { sum ^= 0x55555; }
        switch (i & 7) { case 0: sum += 3; break; case 1: sum >>= 1; break; case 5: sum = -sum; break; default: sum++; }
    }
    return (int32_t)(sum >> 3);
}
__attribute__((noinline)) int32_t deep(int32_t n)
{
    volatile int32_t here[16] = {n};
    return n ? here[0] + deep(n - 1) : 0;
}
int32_t repeat(int32_t n) { int32_t sum = 0; while (n > 0) { sum += deep(n--) & (int32_t)state; } return sum; }
int32_t forever(void) { for (;;) { } }
int32_t outside(void) { return *(volatile int32_t *)0x40000000; }
int32_t unknown(void) { __asm__ volatile(".short 0xde00"); return 0; }
"""


@pytest.fixture(scope="module")
def functions() -> Image:
    names = ["mixed", "deep", "repeat", "outside", "unknown", "forever", "state"]
    return build({"f.c": FUNCTIONS, "main.c": EMPTY}, roots=names)


@pytest.fixture(scope="module")
def machines(functions: Image) -> Iterator[tuple[Machine, SlowMachine]]:
    yield Machine(functions, ["deep"]), SlowMachine(functions)


@pytest.fixture(scope="module")
def library() -> Image:
    return build(standin.SOURCES)


@settings(max_examples=40, deadline=None)
@given(n=st.integers(0, 60), m=st.integers(-(2**31), 2**31 - 1))
def test_counts_every_instruction(machines: tuple[Machine, SlowMachine], n: int, m: int) -> None:
    fast, slow = machines
    for name, arguments in (("mixed", (n, m)), ("repeat", (n,))):
        with fast.counting() as costs:
            fast.call(name, *arguments)
        assert costs[0].instructions == slow.call(name, *(argument & 0xFFFFFFFF for argument in arguments))
        assert tuple(map(sum, zip(*costs[0].functions.values(), strict=True))) == (
            costs[0].instructions,
            costs[0].cycles,
        )


def test_knows_which_function_and_which_call(machines: tuple[Machine, SlowMachine]) -> None:
    machine, slow = machines
    with machine.counting() as costs:
        assert machine.call("repeat", 2) == (3 & 7) + (1 & 7)
    assert set(costs[0].functions) == {"repeat", "deep"}
    names, counts = zip(*costs[0].calls, strict=True)
    assert names == ("deep",) * 5  # 2, 1, 0; then 1, 0
    assert costs[0].functions["deep"].instructions == slow.call("deep", 2) + slow.call("deep", 1)
    assert (
        sum(count.instructions for count in counts) < costs[0].instructions
    )  # what comes before the first call is nobody's


def test_several_calls_add_up(machines: tuple[Machine, SlowMachine]) -> None:
    machine, slow = machines
    with machine.counting() as costs:
        machine.call("mixed", 3, 4)
        machine.call("repeat", 1)
    assert costs[0].instructions == slow.call("mixed", 3, 4) + slow.call("repeat", 1)


def test_measures_the_stack(functions: Image) -> None:
    machine = Machine(functions)
    machine.call("mixed", 1, 1)
    little = machine.stack()
    machine.call("deep", 20)
    much = machine.stack()
    machine.call("mixed", 1, 1)
    assert little < 100
    assert 20 * 64 < much < 20 * 120
    assert machine.stack() == much
    machine.call("deep", 30)
    assert (machine.stack() - much) % 10 == 0
    assert (machine.stack() - much) // 10 == pytest.approx(much / 21, rel=0.1)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("outside", "outside: .* in outside"),
        ("unknown", "unknown: .* in"),
        ("walk", "no symbol walk"),
        ("state", "no func"),
    ],
)
def test_says_what_goes_wrong(functions: Image, name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Machine(functions).call(name, 1)


def test_an_interrupt_ends_it_at_once(functions: Image) -> None:
    machine = Machine(functions, timeout=LONGER)
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    begin = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            machine.call("forever")
    finally:
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - begin < LONG
    assert machine.call("mixed", 0, 0) == 0x123456789 >> 3


def test_a_call_that_takes_too_long_is_named_and_ended(functions: Image) -> None:
    machine = Machine(functions, timeout=2)
    with pytest.raises(ValueError, match=r"^forever: not done after 2 seconds$"):
        machine.call("forever")
    assert machine.call("mixed", 0, 0) == 0x123456789 >> 3


def test_initial_values_are_in_place(functions: Image) -> None:
    machine = Machine(functions)
    assert machine.read(functions.symbol("state").address, 4).tolist() == [7, 0, 0, 0]


@pytest.mark.parametrize("offset", [0, 1, 2, 3])
def test_memory_functions_of_the_target(offset: int) -> None:
    source = """
    #include <string.h>
    void copy(char *to, const char *from, unsigned n) { memcpy(to, from, n); }
    void move(char *to, const char *from, unsigned n) { memmove(to, from, n); }
    void fill(char *to, int value, unsigned n) { memset(to, value, n); }
    """
    machine = Machine(build({"f.c": source, "main.c": EMPTY}, roots=["copy", "move", "fill"]))
    before = np.random.default_rng(0).integers(-128, 128, 200).astype(np.int8)
    base = machine.exchange
    for n in (0, 1, 3, 4, 15, 16, 17, 64, 77):
        for name, to, source_at in (("copy", 100, offset), ("move", 3, offset), ("move", offset + 7, 5)):
            machine.write(base, before)
            machine.call(name, base + to, base + source_at, n)
            expected = before.copy()
            expected[to : to + n] = before[source_at : source_at + n]
            assert np.array_equal(machine.read(base, 200), expected)
        machine.write(base, before)
        machine.call("fill", base + 8 + offset, 0x1FD, n)
        expected = before.copy()
        expected[8 + offset : 8 + offset + n] = -3
        assert np.array_equal(machine.read(base, 200), expected)


def test_an_unknown_watched_function(library: Image) -> None:
    with pytest.raises(ValueError, match="no symbol ee_product"):
        Machine(library, ["ee_product"])
