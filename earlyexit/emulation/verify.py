"""Run the cascade of the C library on the emulated Cortex-M4 under every exit policy; check decisions and cycles."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earlyexit.emulation import library
from earlyexit.emulation.compiler import build
from earlyexit.emulation.emulate import ROOMY, evenly_spread
from earlyexit.emulation.emulator import REFILL
from earlyexit.emulation.image import Image
from earlyexit.emulation.library import Decided, Library
from earlyexit.evaluation.costs import Costs
from earlyexit.policy import decision
from earlyexit.policy.policies import Policy

TOLERANCE = 0.005
"""Between the counted cycles of a cascade and those computed from its segments: room for the decisions themselves."""
_THREADS = 2


def choose_images(exits: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return the numbers of `count` images, ascending: some of each exit under each policy, the others evenly spread.

    Where `count` is too small for every exit of every policy, those of the first policies come first.

    Args:
        exits: at which each image leaves, (policies, N).
        count: of images; at most N.
    """
    chosen: list[int] = []
    for row in exits:
        for leaves in sorted(set(row.tolist()) - set(row[chosen].tolist())):
            there = np.flatnonzero(row == leaves)
            chosen.append(int(there[len(there) // 2]))
    spread = evenly_spread(count, exits.shape[1]).tolist()
    return np.sort(list(dict.fromkeys([*chosen, *spread]))[:count])


def verify(
    files: Mapping[str, str],
    images: NDArray[np.int8],
    policies: Sequence[Policy],
    built_in: str,
    cycles: Costs,
    refill: int = REFILL,
) -> dict[str, Any]:
    """Return how often each policy leaves at each exit, and the mean cycles of `ee_run`, counted and computed.

    Args:
        files: text of the library's files, by name.
        images: INT8 (N, H, W, 3).
        policies: all of them.
        built_in: name of the one that the library was generated with; it runs as it is after `ee_init`.
        cycles: of an image that leaves at each classifier.
        refill: cycles of a pipeline refill after a taken branch.

    Raises:
        ValueError: the library starts with another policy, a decision differs from the policy's on the logits of the
            library's own segments, or the counted cycles are not the computed ones.
    """
    flash, ram = ROOMY
    image = build(files, flash=flash, ram=ram)
    given = next(policy for policy in policies if policy.name == built_in)
    started = Library(image).policy(len(given.thresholds))
    if started != (given.thresholds, given.patience):
        raise ValueError(
            f"the firmware starts with thresholds {started[0]} and patience {started[1]}, the policy {built_in} has "
            f"{given.thresholds} and {given.patience}; rerun the firmware stage"
        )
    to_set = [None if policy.name == built_in else policy for policy in policies]
    decided = _decide(image, images, len(cycles.until), to_set, refill)
    return {
        "unit": "estimated cycles of ee_run per image on a Cortex-M4, mean over the images",
        "images": len(images),
        "built_in": built_in,
        "decisions": len(policies) * len(images),
        "policies": {
            policy.name: _checked(policy, decided.logits, outcomes, counted, cycles)
            for policy, outcomes, counted in zip(policies, decided.outcomes, decided.cycles, strict=True)
        },
    }


def _decide(
    image: Image, images: NDArray[np.int8], segments: int, policies: Sequence[Policy | None], refill: int
) -> Decided:
    """Return the result of `library.decide`, with the images divided among threads."""
    parts = np.array_split(images, min(_THREADS, len(images)))
    with ThreadPoolExecutor(_THREADS) as pool:
        found = list(pool.map(lambda part: library.decide(image, part, segments, policies, refill), parts))
    return Decided(
        *(np.concatenate([getattr(part, name) for part in found], 1) for name in Decided.__dataclass_fields__)
    )


def _checked(
    policy: Policy,
    logits: NDArray[np.int8],
    outcomes: NDArray[np.int64],
    counted: NDArray[np.int64],
    cycles: Costs,
) -> dict[str, Any]:
    expected = decision.decide(logits, policy.thresholds, policy.patience)
    margins = decision.margins(logits)[expected.exits, np.arange(len(outcomes))]
    differs = (outcomes != np.stack([expected.labels, expected.exits, margins], 1)).any(1)
    if differs.any():
        number = int(differs.argmax())
        label, leaves, margin = outcomes[number].tolist()
        raise ValueError(
            f"{policy.name}: {int(differs.sum())} of {len(outcomes)} decisions of ee_run differ from the policy's, "
            f"first for image {number}: it leaves at classifier {leaves + 1} with label {label} and margin {margin}, "
            f"expected {expected.exits[number] + 1}, {expected.labels[number]} and {margins[number]}"
        )
    shares = decision.exit_shares(expected.exits, len(logits))
    mean, computed = float(counted.mean()), cycles.mean(shares)
    if abs(mean - computed) > TOLERANCE * computed:
        raise ValueError(
            f"{policy.name}: ee_run takes {mean:,.0f} cycles, its segments {computed:,.0f}: more than "
            f"{TOLERANCE:.1%} apart"
        )
    counts = np.bincount(expected.exits, minlength=len(logits)).tolist()
    return {"exits": counts, "cycles": round(mean), "cycles_computed": round(computed)}
