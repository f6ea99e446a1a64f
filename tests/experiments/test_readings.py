import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from earlyexit.common.files import write_json
from earlyexit.common.pixels import Normalization
from earlyexit.dataset import COLUMNS, balanced_up_to
from earlyexit.evaluation import per_image
from earlyexit.evaluation.per_image import Evaluation
from earlyexit.policy import calibration, decision
from earlyexit.policy import thresholds as policy
from earlyexit.policy.thresholds import Scope
from earlyexit.quantization import convert
from earlyexit.tflite import deployment
from earlyexit.tflite.compact import pack
from earlyexit.tflite.deployment import Deployment
from earlyexit.tflite.segment import Segment, all_logits
from experiments import choices, finished, readings
from experiments.choices import Choice
from experiments.readings import Rule
from tests import tiny_network
from tests.conftest import Exported, deploy

SIZES = {"train": 12, "calibration": 96, "val": 20}
RULES: tuple[Rule, ...] = get_args(Rule)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, exported: Exported, deployed: Deployment) -> Path:
    """A finished run whose calibration images are those of `exported`."""
    root = tmp_path_factory.mktemp("run")
    (root / "params.yaml").write_text("train: {seed: 7}\n")
    packed = root / "data" / "packed"
    packed.mkdir(parents=True)
    images = {split: tiny_network.images(n, seed=n) for split, n in SIZES.items()} | {"calibration": exported.images}
    rows = [(f"{i}", split, i % 2, 0.5 * (i % 2)) for split, n in SIZES.items() for i in range(n)]
    pd.DataFrame(rows, columns=COLUMNS).to_csv(packed / "index.csv", index=False)
    for split, pixels in images.items():
        np.save(packed / f"{split}.npy", pixels)
    plain = tiny_network.network(tiny_network.architecture(exits=[], head_channels=[])).fold()
    baseline = Exported(plain, convert.to_tflite(plain), exported.images)
    for name, network in {"baseline": baseline, "early_exit": exported}.items():
        export = root / "models" / "export" / name
        export.mkdir(parents=True)
        write_json(export / "architecture.json", network.network.architecture.model_dump())
        for number, model in enumerate(network.segments, start=1):
            (export / f"segment{number}.float.tflite").write_bytes(model)
    (root / "models" / "int8" / "early_exit").mkdir(parents=True)
    deployment.save(root / "models" / "int8" / "early_exit", deployed, "litert")
    segments = deployed.segments()
    int8_logits = {split: all_logits(segments, deployed.quantize(pixels), split) for split, pixels in images.items()}
    fp32 = all_logits([Segment(m) for m in exported.segments], deployed.pixels.images(images["val"]), "FP32")
    calibration.save(root / "models/calibration.safetensors", int8_logits["calibration"], np.arange(96) % 2)
    ids = np.arange(SIZES["val"])
    val = Evaluation(ids, ids % 2, fp32[-1:], int8_logits["val"][-1:], fp32, int8_logits["val"])
    (root / "models" / "evaluation").mkdir()
    per_image.save(root / "models" / "evaluation" / "val.safetensors", val)
    return root


def softmax(scale: float, margins: np.ndarray) -> np.ndarray:
    """The larger level, 0 to 255, of LiteRT's INT8 softmax for pairs of logits that differ by `margins`."""

    def tensor(scale: float, zero_point: int) -> schema.TensorT:
        record = schema.QuantizationParametersT(scale=[scale], zeroPoint=[zero_point])
        return schema.TensorT(shape=[len(margins), 2], type=schema.TensorType.INT8, quantization=record)

    code = schema.BuiltinOperator.SOFTMAX
    options = schema.SoftmaxOptionsT(beta=1.0)
    entry = schema.OperatorT(0, [0], [1], schema.BuiltinOptions.SoftmaxOptions, options)
    graph = schema.SubGraphT(tensors=[tensor(scale, 0), tensor(1 / 256, -128)], inputs=[0], outputs=[1])
    graph.operators = [entry]
    codes = [schema.OperatorCodeT(code, None, 2, code)]
    model = schema.ModelT(version=3, operatorCodes=codes, subgraphs=[graph], buffers=[schema.BufferT()])
    interpreter = Interpreter(model_content=pack(model))
    interpreter.allocate_tensors()
    interpreter.set_tensor(0, np.stack([np.full(len(margins), -128), margins - 128], axis=1).astype(np.int8))
    interpreter.invoke()
    found: np.ndarray = interpreter.get_tensor(1).astype(np.int64).max(axis=1) + 128
    return found


@pytest.mark.parametrize("scale", [0.003, 0.02, 0.047, 0.11, 0.4])
def test_softmax_levels_are_litert_s(scale: float) -> None:
    found = readings.levels(np.float32(scale).item(), "softmax >")
    expected = softmax(scale, np.arange(256))
    assert np.abs(found - expected).max() <= 1
    assert np.mean(found == expected) > 0.95
    assert found.max() == expected.max() <= 255


@given(
    margins=arrays.arrays(np.int64, st.tuples(st.just(3), st.integers(1, 30)), elements=st.integers(0, 255)),
    scales=st.lists(st.floats(2**-8, 0.5, width=32), min_size=3, max_size=3),
    percentile=st.integers(0, 100),
    scope=st.sampled_from(get_args(Scope)),
    rule=st.sampled_from(RULES),
)
def test_an_image_leaves_where_the_rule_holds(
    margins: np.ndarray, scales: list[float], percentile: int, scope: Scope, rule: Rule
) -> None:
    found = readings.thresholds(margins, scales, percentile, scope, rule)

    def confidences(classifier: int, values: Sequence[int]) -> list[Fraction]:
        levels = readings.levels(scales[classifier], "softmax >")
        real = Fraction(scales[classifier])
        return [real * int(m) if rule == "margin >" else Fraction(float(levels[m])) for m in values]

    own = [confidences(classifier, row.tolist()) for classifier, row in enumerate(margins)]
    populations = {"exit": own[:2], "pooled": [own[0] + own[1]] * 2, "final": [own[2]] * 2}[scope]
    for exit_, population in enumerate(populations):
        limit = sorted(population)[max(-(-len(population) * percentile // 100), 1) - 1]
        for margin, value in enumerate(confidences(exit_, range(256))):
            leaves = value >= limit if rule == "softmax >=" else value > limit
            assert leaves == (margin > found[exit_])


def test_the_reading_of_the_workflow_has_its_thresholds(root: Path, deployed: Deployment) -> None:
    rows = readings.readings(root)
    assert len(rows) == 18
    logits = calibration.load(root / "models" / "calibration.safetensors").logits
    val = per_image.load(root / "models" / "evaluation" / "val.safetensors")
    margins = decision.margins(logits)
    expected = policy.calibrate(margins, [50], deployed.names, deployed.logits_scales())
    own = next(row for row in rows if (row["scope"], row["rule"], row["source"]) == ("exit", RULES[0], "calibration"))
    for percentile in readings.PERCENTILES:
        decided = decision.decide(val.int8_early_exit, expected.margins[percentile])
        assert own[f"p{percentile}"]["early_exit_rate"] == pytest.approx(np.mean(decided.exits < 2))
        assert own[f"p{percentile}"]["accuracy"] == np.mean(decided.labels == val.labels)
    assert {row["images"] for row in rows} == {SIZES["train"], SIZES["calibration"]}


def test_low_rates_and_the_nearest_reading_are_named() -> None:
    def row(rule: Rule, source: str, rates: tuple[float, float, float]) -> dict[str, object]:
        cells = {
            f"p{p}": {"early_exit_rate": rate, "accuracy": 0.8}
            for p, rate in zip(readings.PERCENTILES, rates, strict=True)
        }
        return {"scope": "pooled", "rule": rule, "source": source, "images": 10, "n": 5, **cells}

    runs = [
        [
            row("margin >", "calibration", (0.7 + step, 0.3, 0.04)),
            row("margin >", "train", (0.5, 0.2, 0.1)),
            row("softmax >", "calibration", (0.5, 0.2, 0.0)),
            row("softmax >=", "train", (0.5, 0.2, 0.2)),
        ]
        for step in (0.0, 0.02)
    ]
    text = readings.markdown(readings.summarize(runs), [3, 4])
    assert "| all early exits | margin > | calibration | 71.00 ± 1.41 | 30.00 ± 0.00 |" in text
    assert "| paper | | | 73.05 | 29.56 | 1.33 | 79.45 | 80.51 | 80.66 |" in text
    own = "margin > with confidences of all early exits on calibration images"
    assert f"a p95 rate below 5 %: {own}; all with softmax >." in text
    assert f"three rates: {own}, on average 1.7 points away" in text
    assert len({line.count("|") for line in text.splitlines() if line.startswith("|")}) == 1


def test_every_choice_that_exists_once(deployed: Deployment) -> None:
    found = choices.choices(deployed.pixels)
    assert len(set(found)) == len(found) == 18
    assert found[0] == Choice()
    assert not any(one.quantizer == "tensorflow" and one.weights == "per_tensor" for one in found)
    own = choices.choices(choices.UNIT)
    assert own == [one for one in found if one.pixels == "own"]


def test_choices_are_judged_against_fp32(root: Path, exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    few = Choice(images=8)
    chosen = [few, replace(few, weights="per_tensor"), replace(few, pixels="[0, 1]")]
    monkeypatch.setattr(choices, "choices", lambda own: chosen)
    default, per_tensor, wrong = choices.measure(root, draw=1)
    images = exported.images[balanced_up_to(np.arange(96) % 2, 8, seed=1)]
    network = deploy(Exported(exported.network, exported.segments, images), "litert")
    assert default["flash"]["early_exit"] == sum(map(len, network.models)) > default["flash"]["baseline"]
    assert per_tensor["flash"]["baseline"] < default["flash"]["baseline"]
    val = per_image.load(root / "models" / "evaluation" / "val.safetensors")
    pixels = np.load(root / "data" / "packed" / "val.npy")
    int8 = all_logits(network.segments(), network.quantize(pixels), "val")
    right, before = ((decision.labels(logits) == val.labels).mean(1) for logits in (int8, val.fp32_early_exit))
    assert [default["points"][name] for name in ("exit1", "exit2", "final")] == pytest.approx(right - before)
    assert wrong["pixels"] == "[0, 1]"
    assert wrong["points"].keys() == default["points"].keys() == {"baseline", "exit1", "exit2", "final"}


def test_a_wrong_scale_cuts_off_the_input(root: Path) -> None:
    network = choices._Network.load(root / "models" / "export" / "early_exit")
    images = np.load(root / "data" / "packed" / "calibration.npy")[:4]
    inputs = {
        pixels: Segment(network.quantized(Choice(pixels=pixels), images)[0]).input_quantization
        for pixels in ("own", "[0, 1]", "[0, 1] inside")
    }
    assert inputs["[0, 1]"].zero_point == -128
    assert inputs["[0, 1] inside"] == inputs["own"]
    assert network.architecture.pixels == Normalization(offset=128, divisor=128)


def test_both_tables_of_several_runs(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["", str(root), str(root)])
    chosen = [Choice(), Choice(weights="per_tensor"), Choice(pixels="[0, 1]")]
    monkeypatch.setattr(choices, "choices", lambda own: chosen)
    readings.main()
    read, quantized = (
        json.loads((tmp_path / "reports" / "sweeps" / f"{name}.json").read_text())
        for name in ("readings", "quantization")
    )
    assert read["seeds"] == quantized["seeds"] == [7, 7]
    assert len(read["readings"]) == len(list(product(get_args(Scope), RULES, ("calibration", "train"))))
    change, wrong = quantized["changes"]
    assert (change["weights"], wrong["pixels"]) == ("per_tensor", "[0, 1]")
    default, per_tensor, _ = quantized["choices"]
    for name in default["points"]:
        difference = per_tensor["points"][name]["mean"] - default["points"][name]["mean"]
        assert change["points"][name]["mean"] == pytest.approx(difference)
    text = (tmp_path / "reports" / "sweeps" / "quantization.md").read_text()
    assert "| weights: per_tensor | " in text
    assert "over 2 seeds (7, 7)" in text
    assert "The paper's baseline loses 6.56 points." in text
    assert text in capsys.readouterr().out


def test_what_is_neither_a_folder_nor_an_experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="no DVC project"):
        list(finished.folders(["nothing"], []))
