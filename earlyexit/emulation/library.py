"""Call the C library on the emulated Cortex-M4: segment by segment, or as a cascade under exit policies."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from earlyexit.emulation.emulator import REFILL, Cost, Machine
from earlyexit.emulation.image import Image
from earlyexit.policy.policies import Policy

_RESULT = np.dtype([("label", "u1"), ("exit", "u1"), ("margin", "<i2")])  # ee_result in ee.h


@dataclass(frozen=True)
class Trace:
    """What the segments answer for N images, and their costs.

    Attributes:
        logits: of each segment, int8 (segments, N, 2).
        features: of each segment but the last, int8 (N, bytes).
        segments: cost of `ee_run_segment`, for each segment and image, without copying the input to the arena.
        stack: the most bytes of stack that a call took, `ee_run` through all segments included.
    """

    logits: NDArray[np.int8]
    features: list[NDArray[np.int8]]
    segments: list[list[Cost]]
    stack: int

    @property
    def instructions(self) -> NDArray[np.int64]:
        """Instructions of each segment and image, (segments, N)."""
        return np.array([[cost.instructions for cost in costs] for costs in self.segments], np.int64)

    @property
    def cycles(self) -> NDArray[np.int64]:
        """Estimated cycles of each segment and image, (segments, N)."""
        return np.array([[cost.cycles for cost in costs] for costs in self.segments], np.int64)


@dataclass(frozen=True)
class Decided:
    """What `ee_run` decides for N images under each of P exit policies, and what it costs.

    Attributes:
        logits: of `ee_run_segment`, int8 (segments, N, 2).
        outcomes: label, number of the exit from 0, and margin, int64 (P, N, 3).
        cycles, instructions: of `ee_run`, without copying the image to the arena, int64 (P, N).
    """

    logits: NDArray[np.int8]
    outcomes: NDArray[np.int64]
    cycles: NDArray[np.int64]
    instructions: NDArray[np.int64]


class Library:
    """The functions of ee.h on a machine of their own, after `ee_init`. The parameters are those of `Machine`.

    Raises:
        ValueError: as `Machine`; or a function returns an error code.
    """

    def __init__(
        self, image: Image, watched: Sequence[str] = (), refill: int = REFILL, *, loads_only: bool = False
    ) -> None:
        self.machine = Machine(image, watched, refill=refill, loads_only=loads_only)
        self.start()
        self._place = self._address("ee_input")

    def start(self) -> None:
        """Set the policy that is built in."""
        self._checked("ee_init")

    def put(self, pixels: NDArray[np.int8]) -> None:
        """Write an image to where the network takes it."""
        self.machine.write(self._place, pixels)

    def run_segment(self, segment: int) -> NDArray[np.int8]:
        """Run a segment on the image, or on the features of the segment before it; return its two logits."""
        self._checked("ee_run_segment", segment, self._place if segment == 0 else 0, self.machine.exchange)
        return self.machine.read(self.machine.exchange, 2)

    def features(self, segment: int, count: int) -> NDArray[np.int8]:
        """Return the `count` bytes of features that the segment has left."""
        return self.machine.read(self._address("ee_features", segment), count)

    def run(self) -> tuple[int, int, int]:
        """Run the cascade on the image; return the label, the number of the exit from 0, and the margin there."""
        self._checked("ee_run", self._place, self.machine.exchange)
        label, leaves, margin = np.frombuffer(self.machine.read(self.machine.exchange, 4).tobytes(), _RESULT)[0]
        return int(label), int(leaves), int(margin)

    def set_policy(self, policy: Policy) -> None:
        """Set thresholds and patience."""
        for number, threshold in enumerate(policy.thresholds):
            self._checked("ee_set_threshold", number, threshold)
        self._checked("ee_set_patience", policy.patience)

    def policy(self, exits: int) -> tuple[list[int], int]:
        """Return the thresholds of so many early exits, and the patience."""
        thresholds = [self.machine.call("ee_get_threshold", number) for number in range(exits)]
        return thresholds, self.machine.call("ee_get_patience")

    def _address(self, name: str, *arguments: int) -> int:
        return self.machine.call(name, *arguments) & 0xFFFF_FFFF

    def _checked(self, name: str, *arguments: int) -> None:
        status = self.machine.call(name, *arguments)
        if status != 0:
            numbers = ", ".join(map(str, arguments[:1]))
            raise ValueError(f"{name}({numbers}) answered {status} instead of EE_OK")


def run(
    image: Image,
    inputs: NDArray[np.int8],
    features: Sequence[int],
    watched: Sequence[str] = (),
    refill: int = REFILL,
) -> Trace:
    """Run each segment of the network in `image` on every input.

    Unaligned loads are counted for the first input and charged to all, since counting them is slow: the addresses that
    a network loads from do not depend on the pixels.

    Args:
        image: with the functions of ee.h.
        inputs: INT8 images (N, H, W, 3).
        features: bytes of the features of each segment but the last.
        watched: functions whose calls are recorded one by one.
        refill: cycles of a pipeline refill after a taken branch.

    Raises:
        ValueError: as `Library`.
    """
    library = Library(image, watched, refill)
    logits = np.empty((len(features) + 1, len(inputs), 2), np.int8)
    left = [np.empty((len(inputs), count), np.int8) for count in features]
    segments: list[list[Cost]] = [[] for _ in logits]
    unaligned = _unaligned_loads(image, inputs[0], len(logits), watched)
    for number, pixels in enumerate(tqdm(inputs, desc="emulated Cortex-M4", unit="image", delay=2)):
        library.put(pixels)
        for segment, costs in enumerate(segments):
            with library.machine.counting() as found:
                logits[segment, number] = library.run_segment(segment)
            costs.append(_sum(found[0], unaligned[segment]))
            if segment < len(left):
                left[segment][number] = library.features(segment, features[segment])
    library.put(inputs[0])
    library.run()  # for its stack
    return Trace(logits, left, segments, library.machine.stack())


def decide(
    image: Image, inputs: NDArray[np.int8], segments: int, policies: Sequence[Policy | None], refill: int = REFILL
) -> Decided:
    """Run the cascade in `image` on every input under every exit policy, and each segment once.

    Args:
        image: with the functions of ee.h.
        inputs: INT8 images (N, H, W, 3).
        segments: their number.
        policies: None for the one that is built in.
        refill: cycles of a pipeline refill after a taken branch.

    Raises:
        ValueError: as `Library`.
    """
    library = Library(image, refill=refill)
    logits = np.empty((segments, len(inputs), 2), np.int8)
    outcomes = np.empty((len(policies), len(inputs), 3), np.int64)
    costs = np.empty((2, len(policies), len(inputs)), np.int64)
    unaligned = np.cumsum([cost.cycles for cost in _unaligned_loads(image, inputs[0], segments)])
    for number, pixels in enumerate(tqdm(inputs, desc="emulated cascade", unit="image", delay=2)):
        library.put(pixels)
        for segment in range(segments):
            logits[segment, number] = library.run_segment(segment)
        for place, policy in enumerate(policies):
            library.start()
            if policy is not None:
                library.set_policy(policy)
            library.put(pixels)
            with library.machine.counting() as found:
                outcomes[place, number] = library.run()
            leaves = outcomes[place, number, 1]
            costs[:, place, number] = found[0].cycles + unaligned[leaves], found[0].instructions
    return Decided(logits, outcomes, *costs)


def _unaligned_loads(image: Image, pixels: NDArray[np.int8], segments: int, watched: Sequence[str] = ()) -> list[Cost]:
    """Return for each segment the extra cycles of its loads from unaligned addresses, and nothing else."""
    library = Library(image, watched, loads_only=True)
    library.put(pixels)
    costs: list[Cost] = []
    for segment in range(segments):
        with library.machine.counting() as found:
            library.run_segment(segment)
        costs += found
    return costs


def _sum(cost: Cost, extra: Cost) -> Cost:
    """Return `cost` with the cycles of `extra`, which ran the same functions and made the same calls."""
    functions = dict(cost.functions)
    for name, more in extra.functions.items():
        functions[name] = functions[name].plus(more.cycles)
    pairs = zip(cost.calls, extra.calls, strict=True)
    calls = tuple((name, count.plus(more.cycles)) for (name, count), (_, more) in pairs)
    return Cost(cost.instructions, cost.cycles + extra.cycles, functions, calls)
