import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earlyexit.budget.blueprint import blueprint
from earlyexit.common.pixels import Normalization
from earlyexit.firmware import emit, layers, plan, source
from earlyexit.params import load, overridden
from earlyexit.policy import decision
from earlyexit.tflite import arena
from earlyexit.tflite.deployment import Deployment
from earlyexit.tflite.reader import logits_and_features
from tests import ROOT, tiny_network
from tests.firmware import library
from tests.firmware.library import Library, Source, Status
from tests.policies import policy

THRESHOLDS = [12, 20]
PATIENCE = 3


def files(network: Deployment, thresholds: list[int] | None = None, patience: int = PATIENCE) -> dict[str, str]:
    return source.generate(network, policy(THRESHOLDS if thresholds is None else thresholds, patience))


@dataclass(frozen=True)
class Known:
    """What TFLM answers to some images: logits (segments, N, 2), the features that each segment leaves (N, bytes)."""

    images: np.ndarray
    logits: np.ndarray
    features: list[np.ndarray]


def known(network: Deployment, images: np.ndarray) -> Known:
    x = network.quantize(images)
    logits, features = [], []
    for model in network.models:
        answer, left = logits_and_features(arena.run(model, x))
        logits.append(answer)
        if left is not None:
            x = left
            features.append(x.reshape(len(x), -1))
    return Known(network.quantize(images), np.array(logits), features)


@pytest.fixture(scope="module")
def truth(deployed: Deployment) -> Known:
    return known(deployed, tiny_network.images(24, seed=5))


@pytest.fixture(scope="module", params=["plain", "dsp"])
def compiled(request: pytest.FixtureRequest, deployed: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Library:
    """The library under sanitizers, with the portable kernels, and with those for the DSP extension."""
    sources = files(deployed)
    if request.param == "plain":
        return Library(tmp_path_factory.mktemp("plain"), sources)
    emulated = Path(__file__).with_name("ee_emulated_dsp.h").read_text(encoding="utf-8")
    sources["ee_emulated_dsp.h"] = emulated
    return Library(tmp_path_factory.mktemp("dsp"), sources, defines=["EE_EMULATE_DSP"])


def check_exact(made: Library, truth: Known) -> None:
    """Segment by segment: features and logits are TFLM's, whether features stay in the arena or come from outside."""
    count = len(truth.logits)
    sizes = [left.shape[1] for left in truth.features]
    for number, image in enumerate(truth.images):
        calls = [library.init(), library.run_segment(0, Source.OUTSIDE, image)]
        for segment in range(1, count):
            calls += [library.features(segment - 1, sizes[segment - 1]), library.run_segment(segment, Source.NOTHING)]
        answers = made.call(calls)
        assert [status for status, _ in answers] == [0, 0, *[1, 0] * (count - 1)]
        assert [data for _, data in answers[1::2]] == [row.tobytes() for row in truth.logits[:, number]]
        assert [data for _, data in answers[2::2]] == [left[number].tobytes() for left in truth.features]
    last = [library.init()]
    for segment in range(1, count):
        last += [library.run_segment(segment, Source.OUTSIDE, left) for left in truth.features[segment - 1]]
    assert [data for _, data in made.call(last)[1:]] == [row.tobytes() for rows in truth.logits[1:] for row in rows]


def check_cascade(made: Library, truth: Known, thresholds: list[int], patience: int = 0) -> None:
    decisions = decision.decide(truth.logits, thresholds, patience)
    calls = [library.init(), *(library.set_threshold(number, limit) for number, limit in enumerate(thresholds))]
    calls.append(library.set_patience(patience))
    calls += [library.run(place, image) for image in truth.images for place in (Source.IN_PLACE, Source.OUTSIDE)]
    answers = made.call(calls)
    assert {status for status, _ in answers} == {Status.OK}
    found = np.array([np.frombuffer(data, np.int32) for _, data in answers[2 + len(thresholds) :]])
    margins = decision.margins(truth.logits)[decisions.exits, np.arange(len(truth.images))]
    expected = np.stack([decisions.labels, decisions.exits, margins], axis=1).repeat(2, axis=0)
    np.testing.assert_array_equal(found, expected)


def test_equals_tflm_and_litert_byte_for_byte(deployed: Deployment, compiled: Library, truth: Known) -> None:
    check_exact(compiled, truth)
    x: np.ndarray | None
    for number, image in enumerate(truth.images):
        x = image
        for segment, reference in enumerate(deployed.segments(reference=True)):
            assert x is not None
            logits, x = reference(x)
            # LiteRT rounds a fully connected layer with a scale for each output in another way than TFLM does.
            assert np.abs(logits.astype(int) - truth.logits[segment, number]).max() <= 1
            assert x is None or np.array_equal(x.ravel(), truth.features[segment][number])


@pytest.mark.parametrize("quantile", [0, 0.3, 0.7, 1])
def test_cascade_decides_as_the_policy_does(compiled: Library, truth: Known, quantile: float) -> None:
    margins = decision.margins(truth.logits[:-1])
    check_cascade(compiled, truth, np.quantile(margins, quantile, axis=1, method="lower").astype(int).tolist())


def test_cascade_that_always_and_never_leaves(compiled: Library, truth: Known) -> None:
    check_cascade(compiled, truth, [-1, -1])
    check_cascade(compiled, truth, [255, 255])


@settings(max_examples=40)
@given(st.lists(st.integers(0, 60), min_size=2, max_size=2), st.sampled_from([0, 2, 3]))
def test_cascade_decides_as_any_policy_does(
    compiled: Library, truth: Known, thresholds: list[int], patience: int
) -> None:
    check_cascade(compiled, truth, thresholds, patience)


def test_patience_alone_decides(compiled: Library, truth: Known) -> None:
    agree = decision.labels(truth.logits[0]) == decision.labels(truth.logits[1])
    assert 0 < agree.sum() < len(agree)
    check_cascade(compiled, truth, [255, 255], 2)


def test_the_policy_that_is_built_in_decides_unless_another_is_set(
    deployed: Deployment, truth: Known, tmp_path: Path
) -> None:
    margins = decision.margins(truth.logits[:-1])
    thresholds, patience = np.quantile(margins, 0.8, axis=1, method="lower").astype(int).tolist(), 2
    made = Library(tmp_path, files(deployed, thresholds, patience))
    runs = [library.run(Source.OUTSIDE, image) for image in truth.images]
    answers = made.call([library.init(), *(library.get_threshold(n) for n in (0, 1)), library.get_patience(), *runs])
    assert [status for status, _ in answers[1:4]] == [*thresholds, patience]
    decisions = decision.decide(truth.logits, thresholds, patience)
    found = np.array([np.frombuffer(data, np.int32)[:2] for _, data in answers[4:]])
    np.testing.assert_array_equal(found, np.stack([decisions.labels, decisions.exits], 1))


def test_another_compiler_and_another_quantizer(deployments: dict[str, Deployment], tmp_path: Path) -> None:
    network = deployments["tensorflow"]
    made = Library(tmp_path, files(network), compiler="clang")
    truth = known(network, tiny_network.images(6, seed=6))
    check_exact(made, truth)
    check_cascade(made, truth, THRESHOLDS)
    levels = np.frombuffer(made.call([library.quantize()])[0][1], np.int8)
    np.testing.assert_array_equal(levels, network.quantize(np.arange(256, dtype=np.uint8)))


def test_weights_of_four_bits(four_bits: Deployment, tmp_path: Path) -> None:
    made = Library(tmp_path, files(four_bits))
    truth = known(four_bits, tiny_network.images(6, seed=7))
    check_exact(made, truth)
    check_cascade(made, truth, THRESHOLDS)


def test_one_segment_is_a_network_too(deployed: Deployment, tmp_path: Path, truth: Known) -> None:
    """The baseline of a comparison has no early exit; its input may be no pixel minus 128."""
    alone = replace(deployed, models=deployed.models[-1:], names=["final"], pixels=Normalization(offset=0, divisor=40))
    made = Library(tmp_path, files(alone, [], 0))
    inputs = truth.features[-1][:4]
    runs = [library.run(Source.OUTSIDE, x) for x in inputs]
    last = [library.set_patience(0), library.set_patience(2), library.get_threshold(0), library.quantize()]
    answers = made.call([library.init(), *runs, *last])
    logits = truth.logits[-1][:4].astype(int)
    expected = [[int(z1 > z0), 0, abs(z1 - z0)] for z0, z1 in logits]
    assert [np.frombuffer(data, np.int32).tolist() for _, data in answers[1:-4]] == expected
    assert [status for status, _ in answers[-4:-1]] == [Status.OK, Status.RANGE, Status.RANGE]
    levels = np.frombuffer(answers[-1][1], np.int8)
    np.testing.assert_array_equal(levels, alone.quantize(np.arange(256, dtype=np.uint8)))


@dataclass
class Model:
    """The interface as its header describes it; images and features are known by the number of the image."""

    truth: Known
    thresholds: list[int] = field(default_factory=list)
    patience: int = 0
    ready: int = 0
    image: int = 0

    @property
    def count(self) -> int:
        return len(self.truth.logits)

    def init(self) -> int:
        self.thresholds, self.patience, self.ready = list(THRESHOLDS), PATIENCE, 0
        return Status.OK

    def get_patience(self) -> int:
        return self.patience if self.thresholds else Status.STATE

    def set_patience(self, classifiers: int) -> int:
        if not self.thresholds:
            return Status.STATE
        if classifiers not in (0, *range(2, self.count + 1)):
            return Status.RANGE
        self.patience = classifiers
        return Status.OK

    def get_threshold(self, number: int) -> int:
        if not self.thresholds:
            return Status.STATE
        return self.thresholds[number] if number < len(THRESHOLDS) else Status.RANGE

    def set_threshold(self, number: int, margin: int) -> int:
        if not self.thresholds:
            return Status.STATE
        if number >= len(THRESHOLDS) or not -1 <= margin <= 255:
            return Status.RANGE
        self.thresholds[number] = margin
        return Status.OK

    def run_segment(self, segment: int, place: Source, image: int, logits: bool) -> tuple[int, bytes]:
        if not self.thresholds:
            return Status.STATE, b""
        if segment >= self.count:
            return Status.RANGE, b""
        if not logits:
            return Status.NULL, b""
        if error := self._take(segment, place, image):
            return error, b""
        self.ready = segment + 1 if segment + 1 < self.count else 0
        return Status.OK, self.truth.logits[segment, self.image].tobytes()

    def _take(self, segment: int, place: Source, image: int) -> int:
        if place in (Source.OUTSIDE, Source.IN_PLACE):
            self.image = image
            return Status.OK
        if place == Source.ASTRAY:
            return Status.RANGE
        if segment == 0:
            return Status.NULL
        return Status.OK if self.ready == segment else Status.STATE

    def run(self, place: Source, image: int, result: bool) -> tuple[int, bytes]:
        if not self.thresholds:
            return Status.STATE, b""
        if not result:
            return Status.NULL, b""
        if error := self._take(0, place, image):
            return error, b""
        logits = self.truth.logits[:, self.image].astype(int)
        margins = np.abs(logits[:, 1] - logits[:, 0])
        labels = (logits[:, 1] > logits[:, 0]).tolist()
        limits = [*self.thresholds, -1]
        leaves = next(n for n in range(self.count) if margins[n] > limits[n] or self._agree(labels[: n + 1]))
        self.ready = leaves + 1 if leaves + 1 < self.count else 0
        return Status.OK, np.array([labels[leaves], leaves, margins[leaves]], np.int32).tobytes()

    def _agree(self, labels: list[bool]) -> bool:
        last = labels[max(len(labels) - self.patience, 0) :]
        return len(last) == self.patience and len(set(last)) == 1

    def features(self, segment: int) -> tuple[int, bytes]:
        if segment + 1 != self.ready or self.ready == 0:
            return 0, b""
        return 1, self.truth.features[segment][self.image].tobytes()


NUMBERS = st.one_of(st.integers(0, 3), st.sampled_from([2**31 - 1, 2**31, 2**32 - 1]))
MARGINS = st.one_of(st.integers(-1, 255), st.sampled_from([-2, 256, -(2**31), 2**31 - 1]))
IMAGES = st.integers(0, 23)
CALLS: st.SearchStrategy[tuple[Any, ...]] = st.one_of(
    st.tuples(st.just("init")),
    st.tuples(st.just("set_threshold"), NUMBERS, MARGINS),
    st.tuples(st.just("get_threshold"), NUMBERS),
    st.tuples(st.just("set_patience"), st.one_of(st.integers(-1, 4), st.sampled_from([255, 256, 258, -(2**31)]))),
    st.tuples(st.just("get_patience")),
    st.tuples(st.just("features"), NUMBERS),
    st.tuples(
        st.just("run"),
        st.sampled_from([Source.NOTHING, Source.IN_PLACE, Source.OUTSIDE, Source.OUTSIDE, Source.ASTRAY]),
        IMAGES,
        st.sampled_from([True, True, True, False]),
    ),
    st.tuples(
        st.just("run_segment"),
        NUMBERS,
        st.sampled_from([Source.NOTHING, Source.NOTHING, Source.OUTSIDE, Source.LEFT, Source.STALE, Source.ASTRAY]),
        IMAGES,
        st.sampled_from([True, True, True, False]),
    ),
)


def _run(model: Model, place: Source, image: int, result: bool) -> tuple[library.Call, tuple[int, bytes]]:
    result = result or place == Source.IN_PLACE  # writing an image there and then failing spoils the features
    values = model.truth.images[image] if place in (Source.IN_PLACE, Source.OUTSIDE) else None
    return library.run(place, values, result=result), model.run(place, image, result)


def _run_segment(
    model: Model, segment: int, place: Source, image: int, logits: bool
) -> tuple[library.Call, tuple[int, bytes]]:
    inputs = [model.truth.images, *model.truth.features]
    values = inputs[min(segment, model.count - 1)][image] if place == Source.OUTSIDE else None
    return library.run_segment(segment, place, values, logits=logits), model.run_segment(segment, place, image, logits)


def _features(model: Model, segment: int) -> tuple[library.Call, tuple[int, bytes]]:
    size = model.truth.features[segment].shape[1] if segment < len(model.truth.features) else 0
    return library.features(segment, size), model.features(segment)


ACTIONS: dict[str, Callable[..., tuple[library.Call, tuple[int, bytes]]]] = {
    "init": lambda model: (library.init(), (model.init(), b"")),
    "set_threshold": lambda model, n, m: (library.set_threshold(n, m), (model.set_threshold(n, m), b"")),
    "get_threshold": lambda model, n: (library.get_threshold(n), (model.get_threshold(n), b"")),
    "set_patience": lambda model, n: (library.set_patience(n), (model.set_patience(n), b"")),
    "get_patience": lambda model: (library.get_patience(), (model.get_patience(), b"")),
    "features": _features,
    "run": _run,
    "run_segment": _run_segment,
}


@settings(max_examples=60)
@given(st.booleans(), st.lists(CALLS, max_size=30))
def test_any_order_of_calls_with_any_arguments(
    compiled: Library, truth: Known, begun: bool, actions: list[tuple[Any, ...]]
) -> None:
    """Random calls against the model, under AddressSanitizer and UndefinedBehaviorSanitizer."""
    model = Model(truth)
    steps = [ACTIONS[name](model, *arguments) for name, *arguments in [("init",)] * begun + actions]
    assert compiled.call([call for call, _ in steps]) == [expected for _, expected in steps]


def test_input_is_aligned_and_exists_after_init_alone(compiled: Library) -> None:
    calls = [library.has_aligned_input(), library.init(), library.has_aligned_input()]
    assert [status for status, _ in compiled.call(calls)] == [0, 0, 1]


def test_features_survive_an_exit_to_go_on_from(compiled: Library, truth: Known) -> None:
    """After ee_run has left early, the next segment can still be run."""
    calls = [
        library.init(),
        library.set_threshold(0, -1),
        library.run(Source.IN_PLACE, truth.images[0]),
        library.run_segment(1, Source.NOTHING),
        library.run_segment(1, Source.NOTHING),
    ]
    answers = compiled.call(calls)
    assert answers[3] == (Status.OK, truth.logits[1, 0].tobytes())
    assert answers[4][0] == Status.STATE


def test_arena_is_smaller_than_tflms_and_safe(deployed: Deployment) -> None:
    layout = source.lay_out(source.read(deployed.models))
    assert layout.plan.size == layout.plan.bound
    assert layout.plan.size < max(arena.measure(model).head for model in deployed.models)
    overlaps = [
        plan.Overlap(step.output, step.inputs[place], lead)
        for step in layout.steps
        if step.output in layout.plan.offsets
        for place, lead in emit.leads(step.layer).items()
    ]
    plan.check(layout.plan, layout.buffers, overlaps)


@pytest.mark.parametrize(("backbone", "most"), [("mobilenet_v2", 30_128), ("mobilenet_v1", 39_500)])
def test_arena_of_the_projects_networks(backbone: str, most: int) -> None:
    """About the largest tensor instead of TFLM's two: 55,296 and 73,728 bytes."""
    params = overridden(load(ROOT / "params.yaml"), [f"model.backbone={backbone}"])
    models = blueprint(params.architecture())
    size = source.lay_out(source.read(models)).plan.size
    assert size <= most
    assert size < 0.55 * max(arena.measure(model).head for model in models)


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("mobilenet_v1", {}),
        ("mobilenet_v2", {"head": "strided"}),
        ("mobilenet_v2", {"head": "pooled", "head_channels": [], "resolution": 37}),
        ("mobilenet_v2", {"exits": [], "head_channels": []}),
    ],
)
def test_other_networks_are_exact_too(family: tiny_network.Family, changes: dict[str, Any], tmp_path: Path) -> None:
    structure = tiny_network.architecture(family, **changes)
    models = blueprint(structure)
    macs = [0] * len(models)
    network = Deployment(structure.outputs, models, macs, structure.pixels)
    made = Library(tmp_path, files(network, [9] * (len(models) - 1), 0))
    truth = known(network, tiny_network.images(4, structure.resolution))
    check_exact(made, truth)
    check_cascade(made, truth, [9] * (len(models) - 1))


def test_files_are_formatted_and_say_what_they_hold(deployed: Deployment) -> None:
    made = files(deployed)
    assert made == files(deployed)
    assert list(made) == ["ee.h", "ee_network.c", "ee_kernels.h", "ee_kernels.c"]
    for name in ("ee.h", "ee_network.c"):
        lines = made[name].split("\n")
        assert lines[-1] == ""
        assert all(line == line.rstrip() and len(line) <= 110 and "\t" not in line for line in lines)
        assert all(line or other for line, other in pairwise(lines))
        assert made[name].isascii()
    layout = source.lay_out(source.read(deployed.models))
    for step in layout.steps:
        assert made["ee_network.c"].count(f"/* {step.name}: {step.layer.operator} ") == 2
    assert f"#define EE_ARENA_BYTES {layout.plan.size} " in made["ee.h"]
    assert " * The exit policy that is built in: p50.\n *\n" in made["ee.h"]
    assert "#define EE_PATIENCE 3 /*" in made["ee.h"]
    assert re.search(r"#define EE_THRESHOLD_1 20 /\* exit2 \*/", made["ee.h"])
    assert '{"no person", "person"}' in made["ee_network.c"]


def test_header_is_cpp_too(deployed: Deployment, tmp_path: Path) -> None:
    (tmp_path / "ee.h").write_text(files(deployed)["ee.h"])
    (tmp_path / "main.cpp").write_text('#include "ee.h"\nint main() { return ee_init(); }\n')
    command = ["g++", "-std=c++11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only", "main.cpp"]
    subprocess.run(command, cwd=tmp_path, check=True)


@pytest.mark.parametrize(
    ("thresholds", "patience", "message"),
    [
        ([1], 0, "policy p50: 1 threshold for 2 early exits"),
        ([1, 2], 1, "policy p50: patience 1 is neither 0 nor 2..3"),
        ([1, 2], 4, "policy p50: patience 4 is neither 0 nor 2..3"),
    ],
)
def test_a_policy_that_does_not_fit_is_named(
    deployed: Deployment, thresholds: list[int], patience: int, message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        source.generate(deployed, policy(thresholds, patience))


def test_header_says_what_the_policy_promises_and_no_text_breaks_out(deployed: Deployment, tmp_path: Path) -> None:
    hostile = "at most 1 %\n*/ #error out\n/* **/ /*/ ??/\n */ \\\nint x; \u00e9*/" + "y" * 300 + "*" * 150 + "/"
    made = source.generate(deployed, policy(THRESHOLDS, promise=hostile, note=f"$digest {hostile}"))
    text = made["ee.h"]
    assert "\n * Promise: at most 1 % * / #error out" in text
    assert "\n * $digest at most 1 %" in text
    assert all(len(line) <= 110 for line in text.split("\n"))
    assert text.isascii()
    Library(tmp_path, made)


def test_segments_in_the_wrong_order_are_refused(deployed: Deployment) -> None:
    first, second, last = deployed.models
    with pytest.raises(ValueError, match=r"segment1\.tflite leaves .* of scale .*, segment2\.tflite takes "):
        source.read([first, first, last])
    with pytest.raises(ValueError, match=r"segment1\.tflite: all segments but the last must have features"):
        source.read([last, second, first])
    with pytest.raises(ValueError, match=r"segment2\.tflite: all segments but the last must have features"):
        source.read([first, second])


def test_logits_that_are_not_two_are_refused(deployed: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    real = source.read(deployed.models[-1:])[0]
    wrong = replace(real, sizes={**real.sizes, real.logits: 3})
    monkeypatch.setattr(layers, "read", lambda *_: wrong)
    with pytest.raises(ValueError, match=r"segment1\.tflite: 3 logits, expected 2"):
        source.read(deployed.models[-1:])
