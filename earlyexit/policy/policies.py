"""The exit policies that calibration images give, and the file that holds them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from earlyexit.common.files import read_json
from earlyexit.common.validation import first_error
from earlyexit.policy import decision
from earlyexit.policy.calibration import Calibration
from earlyexit.policy.guarantee import Guarantee, guarantee, images_needed
from earlyexit.policy.search import NEVER, accuracy_penalty, allowed, pareto_path, risk_penalty, within
from earlyexit.policy.thresholds import Margin, Thresholds

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_.-]{0,63}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Policy(_Strict):
    """When an image leaves early.

    Attributes:
        name: as in params.yaml's firmware.policy.
        thresholds: an integer margin for each early exit; an image leaves where its margin is greater.
        patience: if not 0, an image also leaves where that many classifiers in a row agree.
        promise: a sentence; None if nothing is promised.
        note: why no image leaves early; None if some do.
    """

    name: Name
    thresholds: list[Margin]
    patience: Annotated[int, Field(ge=0)] = 0
    promise: str | None = None
    note: str | None = None


class ChosenPolicy(Policy):
    """A policy that calibration images gave.

    Attributes:
        kind: how it was found.
        loss: accuracy of the whole network minus accuracy of the cascade, on the calibration images. Without labels,
            the share of images that the two answer differently.
        risk: share of the calibration images that the cascade gets wrong and the whole network right; without labels as
            above.
        cost: mean cost of a calibration image.
    """

    kind: Literal["percentile", "searched", "guaranteed", "patience"]
    loss: float
    risk: float
    cost: float


class Step(_Strict):
    """A point of the searched path: thresholds with their loss and cost, as those of `ChosenPolicy`."""

    thresholds: list[Margin]
    loss: float
    cost: float


class Policies(_Strict):
    """All policies of a network.

    Attributes:
        n: calibration images.
        source: what they are.
        labelled: whether their labels were used.
        unit: of the costs.
        costs: of an image that leaves at each classifier.
        risk, delta: of the guaranteed policy: the risk, and the probability that the promise is broken.
        policies: those of Table I's percentiles first.
        path: the best trades between loss and cost, from the least loss to the least cost.
    """

    n: Annotated[int, Field(ge=1)]
    source: str
    labelled: bool
    unit: str
    costs: list[Annotated[float, Field(gt=0)]]
    risk: float
    delta: float
    policies: list[ChosenPolicy]
    path: list[Step]

    @model_validator(mode="after")
    def _check_exits(self) -> Self:
        rows = [policy.thresholds for policy in self.policies] + [step.thresholds for step in self.path]
        if any(len(row) != len(self.costs) - 1 for row in rows):
            raise ValueError("one threshold for each early exit, one cost for each classifier")
        return self

    def named(self, name: str) -> ChosenPolicy:
        """Return the policy of that name.

        Raises:
            ValueError: there is none; names those that there are.
        """
        for policy in self.policies:
            if policy.name == name:
                return policy
        raise ValueError(f"firmware.policy: no policy {name}; there are {', '.join(p.name for p in self.policies)}")

    def print_summary(self) -> None:
        """Print each policy with what it does on the calibration images, its promise, and why there is none."""
        for policy in self.policies:
            saved = self.costs[-1] / policy.cost
            lost = f"loss {policy.loss:.2%}, risk {policy.risk:.2%}"
            print(f"{policy.name}: {lost}, {saved:.2f}x faster than the whole network on {self.n} images ({self.unit})")
            for sentence in filter(None, (policy.promise, policy.note)):
                print(f"  {sentence}")


def choose(
    calibration: Calibration,
    thresholds: Thresholds,
    costs: Sequence[float],
    unit: str,
    *,
    searched: Mapping[str, float],
    risk: float,
    delta: float,
    patient: Mapping[str, int],
) -> Policies:
    """Return all policies: percentiles of Table I, searched ones, the guaranteed one, patience.

    Args:
        calibration: what policies are chosen on.
        thresholds: of the percentiles.
        costs, unit: of an image that leaves at each classifier.
        searched: for each searched policy, by name, the accuracy that it may lose, as a share of images.
        risk, delta: of the guaranteed policy.
        patient: for each patience policy, by name, the number of classifiers in a row that must agree. Those with more
            than there are classifiers are left out.

    Raises:
        ValueError: there are no images, or none of them can leave early.
    """
    margins, answers = decision.margins(calibration.logits)[:-1], decision.labels(calibration.logits)
    if not margins.any():
        raise ValueError(
            f"none of the {margins.shape[1]} images of {calibration.source} can leave early: all margins are 0 at all "
            "early exits; train the exits for longer (disjoint.epochs, joint.epochs)"
        )
    n, truth = margins.shape[1], calibration.truth
    whole = answers[-1] if truth is None else truth
    penalty = risk_penalty(answers, truth) if truth is None else accuracy_penalty(answers, truth)
    path = pareto_path(margins, penalty, costs)
    promised = guarantee(margins, answers, truth, costs, risk, delta)
    never = [NEVER] * len(margins)

    def policy(
        name: str, kind: str, row: Sequence[int], *, counter: int = 0, text: dict[str, str] | None = None
    ) -> ChosenPolicy:
        decided = decision.decide(calibration.logits, row, counter)
        wrong = decided.labels != whole
        lost = wrong & (answers[-1] == whole)
        return ChosenPolicy.model_validate(
            {
                "name": name,
                "kind": kind,
                "thresholds": list(row),
                "patience": counter,
                "loss": float(np.mean(wrong) - np.mean(answers[-1] != whole)),
                "risk": float(np.mean(lost)),
                "cost": float(np.take(costs, decided.exits).mean()),
                **(text or {}),
            }
        )

    return Policies(
        n=n,
        source=calibration.source,
        labelled=truth is not None,
        unit=unit,
        costs=list(costs),
        risk=risk,
        delta=delta,
        policies=[
            *(policy(f"p{p}", "percentile", thresholds.margins[p]) for p in thresholds.table),
            *(policy(name, "searched", within(path, allowed(loss, n)).thresholds) for name, loss in searched.items()),
            policy("guaranteed", "guaranteed", promised.thresholds, text=_words(promised, n, truth, risk, delta)),
            *(policy(name, "patience", never, counter=k) for name, k in patient.items() if k <= len(answers)),
        ],
        path=[Step(thresholds=step.thresholds, loss=step.penalty / n, cost=step.cost) for step in path],
    )


def load_policies(path: Path | str) -> Policies:
    """Read a file of policies.

    Raises:
        FileNotFoundError, ValueError: the file is missing or not valid; names the file and the fault.
    """
    try:
        return Policies.model_validate(read_json(path))
    except ValidationError as error:
        raise ValueError(f"{path}: not a file of policies: {first_error(error)}; rerun the policy stage") from error


def _words(promised: Guarantee, n: int, truth: np.ndarray | None, risk: float, delta: float) -> dict[str, str]:
    """Return the promise, or why there is none."""
    failure = "is answered otherwise than by the whole network"
    if truth is not None:
        failure = "is answered wrongly where the whole network is right"
    if promised.holds:
        return {
            "promise": f"With confidence {1 - delta:.4g}, a share of at most {risk:g} of images like the calibration "
            f"images {failure}: {promised.failures} of the {promised.tested} images that tested it."
        }
    needed = images_needed(risk, delta)
    if n < needed:
        reason = f"a risk of {risk:g} with delta {delta:g} needs at least {needed} calibration images, there are {n}"
    else:
        reason = f"no thresholds keep a risk of {risk:g} with delta {delta:g} on {promised.tested} calibration images"
    return {"note": f"No image leaves early: {reason}."}
