import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from earlyexit.training.losses import distance, weighted_loss


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    probabilities = exponentials / exponentials.sum(1, keepdims=True)
    return float(-np.log(probabilities[np.arange(len(labels)), labels]).mean())


def softened(logits: np.ndarray, temperature: float) -> np.ndarray:
    exponentials = np.exp(logits / temperature)
    probabilities: np.ndarray = exponentials / exponentials.sum(1, keepdims=True)
    return probabilities


def divergence(logits: np.ndarray, teacher: np.ndarray, temperature: float) -> float:
    p, q = softened(teacher, temperature), softened(logits, temperature)
    return float((p * np.log(p / q)).sum(1).mean()) * temperature**2


@given(
    seed=st.integers(0, 2**32 - 1),
    weights=st.lists(st.sampled_from([0.0, 0.1, 0.3, 1.0, 2.5]), min_size=1, max_size=4).filter(any),
    count=st.integers(1, 9),
)
def test_is_equation_1(seed: int, weights: list[float], count: int) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (len(weights), count, 2))
    labels = rng.integers(0, 2, count)
    expected = sum(w * cross_entropy(z, labels) for z, w in zip(logits, weights, strict=True))
    found = weighted_loss(list(torch.from_numpy(logits)), torch.from_numpy(labels), weights)
    assert float(found) == pytest.approx(expected, rel=1e-9)


@given(
    seed=st.integers(0, 2**32 - 1),
    weights=st.lists(st.sampled_from([0.0, 0.3, 1.0]), min_size=1, max_size=4).filter(any),
    share=st.floats(0, 1),
    second=st.sampled_from([None, 0.0, 0.4, 1.0]),
    temperature=st.sampled_from([0.5, 1.0, 2.0, 4.0]),
)
def test_distillation_mixes_the_labels_with_the_softened_teachers(
    seed: int, weights: list[float], share: float, second: float | None, temperature: float
) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (len(weights), 5, 2))
    labels = rng.integers(0, 2, 5)
    shares = [share] if second is None else [share * second, share * (1 - second)]
    teachers = [(part, rng.normal(0, 3, (5, 2))) for part in shares]
    expected = sum(
        w
        * (
            (1 - share) * cross_entropy(z, labels)
            + sum(part * divergence(z, teacher, temperature) for part, teacher in teachers)
        )
        for z, w in zip(logits, weights, strict=True)
    )
    taught = [(part, torch.from_numpy(teacher)) for part, teacher in teachers]
    found = weighted_loss(list(torch.from_numpy(logits)), torch.from_numpy(labels), weights, taught, temperature)
    assert float(found) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_a_student_that_answers_as_its_teacher_has_nothing_to_learn() -> None:
    logits = torch.tensor([[1.0, -2.0], [0.5, 3.0]], requires_grad=True)
    loss = distance(logits, logits.detach().clone() + 5, 3.0, 2)
    loss.backward()  # type: ignore[no-untyped-call]
    assert float(loss.detach()) == pytest.approx(0, abs=1e-6)
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, torch.zeros_like(logits), atol=1e-6, rtol=0)


def test_the_temperature_leaves_the_gradient_its_size() -> None:
    sizes = []
    for temperature in (10.0, 20.0):
        logits = torch.tensor([[1.0, -1.0]], requires_grad=True)
        distance(logits, torch.tensor([[-1.0, 1.0]]), temperature, 1).backward()  # type: ignore[no-untyped-call]
        assert logits.grad is not None
        sizes.append(float(logits.grad.norm()))
    assert sizes[0] == pytest.approx(sizes[1], rel=0.02)


def test_each_classifier_gets_the_gradient_of_its_weight() -> None:
    torch.manual_seed(0)
    labels = torch.tensor([0, 1, 1])
    logits = [torch.randn(3, 2, requires_grad=True) for _ in range(3)]
    weighted_loss(logits, labels, [0.5, 0, 2]).backward()  # type: ignore[no-untyped-call]
    alone = [(torch.softmax(z.detach(), 1) - torch.eye(2)[labels]) / 3 for z in logits]
    assert logits[1].grad is None
    for z, w, slope in zip(logits, [0.5, 0, 2], alone, strict=True):
        if z.grad is not None:
            torch.testing.assert_close(z.grad, w * slope)


def test_a_weight_of_0_hides_even_a_broken_classifier() -> None:
    labels = torch.tensor([0])
    good, broken = torch.zeros(1, 2), torch.full((1, 2), torch.nan)
    assert float(weighted_loss([broken, good], labels, [0, 1])) == pytest.approx(np.log(2))


@given(seed=st.integers(0, 2**32 - 1), cut=st.integers(0, 7), distilled=st.booleans())
def test_the_parts_of_a_batch_add_up_to_its_loss(seed: int, cut: int, distilled: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits, taught = torch.randn(2, 7, 2, generator=generator).double(), torch.randn(7, 2, generator=generator).double()
    labels = torch.randint(0, 2, (7,), generator=generator)

    def loss(rows: slice, count: int | None = None) -> float:
        teachers = [(0.4, taught[rows])] if distilled else []
        return float(weighted_loss([z[rows] for z in logits], labels[rows], [0.3, 1.0], teachers, 2.0, count))

    assert loss(slice(0, cut), 7) + loss(slice(cut, 7), 7) == pytest.approx(loss(slice(None)), rel=1e-9)


@pytest.mark.parametrize(
    ("weights", "message"),
    [([1.0], "1 loss weights for 2"), ([1.0] * 3, "3 loss weights for 2"), ([0.0, 0.0], "all 0")],
)
def test_refuses(weights: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        weighted_loss([torch.zeros(1, 2), torch.zeros(1, 2)], torch.tensor([0]), weights)
