import copy
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from earlyexit.model.architecture import Head
from earlyexit.model.network import EarlyExitNetwork
from earlyexit.params import Params, load
from stages import run
from tests import ROOT

SOURCE = ROOT / "params.yaml"
CONTENT: dict[str, Any] = YAML(typ="safe", pure=True).load(SOURCE.read_text(encoding="utf-8"))


def leaves(content: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        full = f"{name}.{key}" if name else key
        if isinstance(value, dict):
            yield from leaves(value, full)
        else:
            yield full, value


LEAVES = dict(leaves(CONTENT))
SECTIONS = sorted({leaf.rpartition(".")[0] for leaf in LEAVES})


def put(content: dict[str, Any], leaf: str, value: Any) -> None:
    *path, last = leaf.split(".")
    for key in path:
        content = content[key]
    content[last] = value


def changed(**values: Any) -> dict[str, Any]:
    content = copy.deepcopy(CONTENT)
    for leaf, value in values.items():
        put(content, leaf, value)
    return content


def written(folder: Path, content: Any) -> Path:
    # JSON is YAML 1.2, but for the names of what is not finite.
    text = json.dumps(content).replace("-Infinity", "-.inf").replace("Infinity", ".inf").replace("NaN", ".nan")
    path = folder / "params.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def complaints(folder: Path, content: Any) -> list[str]:
    path = written(folder, content)
    with pytest.raises(ValueError) as caught:
        load(path)
    lines = str(caught.value).splitlines()
    assert all(line.startswith(f"{path}: ") for line in lines)
    return [line.removeprefix(f"{path}: ") for line in lines]


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    return {"anyOf": found["oneOf"]} if "oneOf" in found else found


def leaf_schemas(section: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every leaf that must be given, with its JSON schema."""
    for key in section["required"]:
        schema = resolved(section["properties"][key])
        if "properties" in schema:
            yield from leaf_schemas(schema, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", schema


SCHEMA = Params.model_json_schema()
SCHEMAS = dict(leaf_schemas(SCHEMA))


def fits(schema: dict[str, Any], value: Any) -> bool:
    """Whether `value` is one that the JSON schema of a leaf allows; NaN and infinity never are."""
    schema = resolved(schema)
    if "anyOf" in schema:
        return any(fits(option, value) for option in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return isinstance(value, str) and value in schema.get("enum", [schema.get("const")])
    kind = schema["type"]
    if kind == "null":
        return value is None
    if kind == "boolean":
        return isinstance(value, bool)
    if kind == "string":
        length = isinstance(value, str) and schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", 10**9)
        return length and re.search(schema.get("pattern", "").replace("$", r"\Z"), value) is not None
    if kind == "array":
        if not isinstance(value, list) or not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", 10**9):
            return False
        items = schema.get("prefixItems") or [schema["items"]] * len(value)
        return all(map(fits, items, value))
    if isinstance(value, bool) or not isinstance(value, int if kind == "integer" else int | float):
        return False
    return (
        (kind == "integer" or abs(value) <= sys.float_info.max)
        and schema.get("minimum", -math.inf) <= value <= schema.get("maximum", math.inf)
        and schema.get("exclusiveMinimum", -math.inf) < value < schema.get("exclusiveMaximum", math.inf)
        and value % schema.get("multipleOf", 1 if kind == "integer" else value or 1) == 0
    )


JUNK: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    1.5,
    64.0,
    10**400,
    -(10**400),
    math.nan,
    math.inf,
    -math.inf,
    "",
    "0.1",
    "one",
    "\0",
]
JUNK += [
    "x" * 5_000,
    "$(touch x); `touch x`",
    "a\nb: 1\n",
    "\N{ZERO WIDTH JOINER}\x1b[2J",
    [],
    [[]],
    {},
    {"a": 1},
    [None],
]
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec="utf-8"), max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text("abc", max_size=5), inner, max_size=3),
    max_leaves=8,
)


def edges(schema: dict[str, Any], value: Any) -> list[Any]:
    """Values about as far as a leaf that now holds `value` may go, on both sides of each bound."""
    schema = resolved(schema)
    if "anyOf" in schema:
        return [edge for option in schema["anyOf"] for edge in edges(option, value)]
    if schema.get("type") == "array":
        items = schema.get("prefixItems") or [schema["items"]]
        value = value if isinstance(value, list) else [value]
        most = schema.get("maxItems", len(value))
        replaced = [
            [*value[:number], wrong, *value[number + 1 :]]
            for number, item in enumerate(items)
            for wrong in (*edges(item, value[number]), None, True, "one", math.nan, {})
        ]
        return [value[:-1], (value * (most + 1))[: most + 1], *replaced]
    if schema.get("type") == "string":
        return ["x" * (schema.get("maxLength", 0) + 1), *(f"{name} " for name in schema.get("enum", []))]
    bounds = [schema[key] for key in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum") if key in schema]
    if schema.get("type") == "integer":
        return [bound + step for bound in bounds for step in (-1, 0, 1)]
    return [
        edge for bound in bounds for edge in (math.nextafter(bound, -math.inf), bound, math.nextafter(bound, math.inf))
    ]


WRONG = {
    leaf: [value for value in (*edges(schema, LEAVES.get(leaf)), *JUNK) if not fits(schema, value)]
    for leaf, schema in SCHEMAS.items()
}
AT_ONCE = max(map(len, WRONG.values()))
# The stages that read params; the others never open the file.
SCRIPTS = {path.stem: path.read_text() for path in sorted((SOURCE.parent / "stages").glob("*.py"))}
STAGES = [name for name, text in SCRIPTS.items() if "from earlyexit.params import" in text and "    run(main)" in text]
WRONG_SEED = "train.seed: Input should be greater than or equal to 0 (got -1)"
# Strings that are bounded by what they name.
BOUNDED_ELSEWHERE = {
    "exits.mobilenet_v2": "names of blocks of the table",
    "exits.mobilenet_v1": "names of blocks of the table",
    "firmware.policy": "names of exit policies",
}


def named(lines: list[str]) -> set[str]:
    """The leaves that errors name, without the place in a list."""
    return {re.sub(r"(\.\d+)+$", "", line.partition(":")[0]) for line in lines}


def bounded(schema: dict[str, Any]) -> bool:
    schema = resolved(schema)
    if "anyOf" in schema:
        return all(map(bounded, schema["anyOf"]))
    if schema.get("type") == "array":
        return all(map(bounded, schema.get("prefixItems") or [schema["items"]]))
    if schema.get("type") in ("integer", "number"):
        return all({bound, f"exclusive{bound.capitalize()}"} & schema.keys() for bound in ("minimum", "maximum"))
    return schema.get("type") in ("boolean", "null") or bool({"maxLength", "pattern", "enum", "const"} & schema.keys())


def test_the_default_params_are_whole() -> None:
    params = load(SOURCE)
    assert params.model_dump(exclude={"model": {"mobilenet_v2": {"family"}, "mobilenet_v1": {"family"}}}) == changed(
        **{
            f"model.{name}.blocks": [tuple(row) for row in LEAVES[f"model.{name}.blocks"]]
            for name in ("mobilenet_v2", "mobilenet_v1")
        }
    )


def test_the_schema_knows_every_leaf() -> None:
    assert SCHEMAS.keys() == LEAVES.keys()
    assert all(fits(schema, LEAVES[leaf]) for leaf, schema in SCHEMAS.items())


def test_every_leaf_is_bounded() -> None:
    assert {leaf for leaf, schema in SCHEMAS.items() if not bounded(schema)} == BOUNDED_ELSEWHERE.keys()


@pytest.mark.parametrize("number", range(AT_ONCE))
def test_every_leaf_that_is_wrong_is_named(tmp_path: Path, number: int) -> None:
    wrong = {leaf: values[number % len(values)] for leaf, values in WRONG.items()}
    assert named(complaints(tmp_path, changed(**wrong))) == wrong.keys()


@settings(max_examples=40)
@given(values=st.dictionaries(st.sampled_from(sorted(SCHEMAS)), anything, min_size=1, max_size=12))
def test_nothing_but_what_is_wrong_is_named(tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any]) -> None:
    wrong = {leaf: value for leaf, value in values.items() if not fits(SCHEMAS[leaf], value)}
    assume(wrong)
    assert named(complaints(tmp_path_factory.mktemp("params"), changed(**wrong))) == wrong.keys()


def test_every_missing_leaf_is_named(tmp_path: Path) -> None:
    content = copy.deepcopy(CONTENT)
    for section in SECTIONS:
        target = content
        for key in section.split("."):
            target = target[key]
        for key in [key for key, value in target.items() if not isinstance(value, dict)]:
            del target[key]
    assert sorted(complaints(tmp_path, content)) == sorted(f"{leaf}: missing" for leaf in LEAVES)


def test_every_unknown_leaf_is_named(tmp_path: Path) -> None:
    content = changed(**{f"{section}.epochz": 1 for section in SECTIONS}, training={})
    expected = [f"{name}: unknown; check the spelling" for name in [f"{s}.epochz" for s in SECTIONS] + ["training"]]
    assert sorted(complaints(tmp_path, content)) == sorted(expected)


OUT_OF_RANGE: dict[str, list[Any]] = {
    "data.source": [""],
    "data.seed": [-1, 2**32],
    "data.train_images": [0, 17],
    "data.val_images": [2, 5],
    "data.min_person_area.vww": [-0.001, 1],
    "data.min_person_area.vww_box": [-0.001, 1],
    "data.min_person_area.mlperf": [-0.001, 1],
    "data.coco_url": ["", "images.cocodataset.org", "file:///etc/passwd", "http:// host"],
    "data.checksums": ["", "a\0b"],
    "data.val_share": [0, 0.6],
    "data.label_rule": ["coco"],
    "data.resolution": [0, 24, 100, 1032],
    "data.calibration_share": [0, 0.6],
    "data.max_skipped": [-0.1, 1.1],
    "model.backbone": ["mobilenet_v3"],
    "model.mobilenet_v2.width": [0, 4.5],
    "model.mobilenet_v2.stem": [0],
    "model.mobilenet_v2.blocks": [
        [],
        [[1, 8, 1]],
        [[1, 8, 1, 3]],
        [[0, 8, 1, 1]],
        [[1, 8, 0, 1]],
        [[1, 8, 1, 1, 1]],
        [8],
    ],
    "model.mobilenet_v1.blocks": [[], [[1, 8, 1, 1]], [[8, 1, 3]], [[8.5, 1, 1]]],
    "model.mobilenet_v1.input_divisor": [0, 256],
    "exits.head": ["linear"],
    "exits.channels": [[], 0, "32", [32, 48, 0], [32, 48, True]],
    "exits.mobilenet_v2": [[], [4, 7, 11]],
    "exits.placement": ["found"],
    "placement.heads": [[], ["linear"], ["pooled", "pooled"]],
    "placement.most": [0, 4],
    "placement.loss": [-0.01, 1.0],
    "placement.cost": ["measured"],
    "placement.images": [1],
    "placement.epochs": [0],
    "augment.min_crop": [0, 1.5],
    "augment.flip": [1.5],
    "augment.contrast": [1],
    "teacher.model": ["", 1],
    "teacher.person": [-1, 100_000, 1.0],
    "teacher.offset": [-1, 256],
    "teacher.divisor": [0, 256],
    "teacher.share": [-0.1, 1.1],
    "train.device": ["gpu", "cuda:", "cpu0"],
    "train.threads": [0],
    "train.processes": [0],
    "train.precision": ["float64"],
    "baseline.epochs": [-1],
    "baseline.pretrained": [""],
    "baseline.batch_size": [1],
    "baseline.learning_rate": [0, -0.1],
    "joint.weight_decay": [-1],
    "joint.average": [-0.1, 1],
    "joint.w_exits": [[], -0.3, [0.3, 0.3, -0.3], [0.3, 0.3, "0.3"]],
    "export.tolerance": [0],
    "ptq.quantizer": ["onnx"],
    "ptq.weights": ["per_layer"],
    "ptq.bits": [0, 2, 16, 8.0, "4"],
    "ptq.ranges": ["percentile"],
    "ptq.images": [0, 501],
    "calibrate.scope": ["all"],
    "calibrate.percentiles": [[], [101], [-1], [95, 50], [50, 50], [50.5]],
    "policy.cost": ["time"],
    "policy.loss": [[], [-0.01], [1.0], [0.01, 0.005], [0.01, 0.01]],
    "policy.risk": [0.0, 1.0],
    "policy.delta": [0.0, 1.0, -0.1],
    "policy.patience": [[1], [3, 2]],
    "policy.folder": [""],
    "shift.folder": ["", 3],
    "benchmark.passes": [0],
    "disjoint.distill": [-0.1, 1.1],
    "joint.distill": [-0.1, 1.1],
    "joint.temperature": [0, -1],
    "memory.flash_limit.mobilenet_v2": [0],
    "firmware.policy": ["", "P50", "p60", "searched_0.1", "patience9", "../x", 50],
    "emulate.images": [0],
    "emulate.cascade_images": [0],
    "emulate.refill": [0, 4],
    "emulate.clock_mhz": [0],
}


@pytest.mark.parametrize("leaf", OUT_OF_RANGE)
def test_out_of_range(tmp_path: Path, leaf: str) -> None:
    for value in OUT_OF_RANGE[leaf]:
        lines = complaints(tmp_path, changed(**{leaf: value}))
        assert all(line.startswith(leaf) for line in lines), lines


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"exits.mobilenet_v2": ["block2", "block1", "block3"]}, "exits.mobilenet_v2: .*must ascend"),
        ({"exits.mobilenet_v2": ["block2", "block2", "block3"]}, "exits.mobilenet_v2: .*must ascend"),
        (
            {"exits.mobilenet_v2": ["block1", "block2", "block99"]},
            r"exits.mobilenet_v2: no 'block99'; the blocks are block1 to block\d+",
        ),
        ({"exits.mobilenet_v2": ["block1", "block2", "last"]}, "exits.mobilenet_v2: no 'last'"),
        (
            {"model.backbone": "mobilenet_v1", "exits.mobilenet_v1": ["block5", "block8", "block13"]},
            "exits.mobilenet_v1: block13 is the last block",
        ),
        ({"joint.w_exits": [0.5, 0.5]}, "joint.w_exits: 2 weights for the 3 exits of exits.mobilenet_v2; give one"),
        ({"exits.channels": [32]}, "exits.channels: 1 values for the 3 exits of exits.mobilenet_v2; give one"),
        (
            {"exits.mobilenet_v2": ["block1", "block2"], "joint.w_exits": [0.3, 0.3, 0.3]},
            "joint.w_exits: 3 weights for the 2",
        ),
        (
            {"exits.placement": "searched", "joint.w_exits": [0.3, 0.3, 0.3]},
            r"joint.w_exits: \[0.3, 0.3, 0.3\], but exits.placement is searched",
        ),
        (
            {"exits.placement": "searched", "exits.channels": [32, 32, 32]},
            r"exits.channels: \[32, 32, 32\], but exits.placement is searched",
        ),
        (
            {
                "exits.placement": "searched",
                "exits.mobilenet_v2": ["block1"],
                "model.mobilenet_v2.blocks": [[1, 8, 2, 1]],
            },
            "placement.most: 3 exits, but in model.mobilenet_v2 an exit can follow 2 blocks only",
        ),
        ({"joint.w_exits": [0, 0.0, 0], "joint.w_final": 0}, "joint: w_final and w_exits are all 0"),
        (
            {"policy.patience": [3, 5], "firmware.policy": "patience5"},
            "firmware.policy: no policy patience5; there are p50, p75, p95, searched_0, searched_0.005, searched_0.01, "
            "searched_0.02, guaranteed, patience3$",
        ),
        (
            {"ptq.quantizer": "tensorflow", "ptq.weights": "per_tensor"},
            r"ptq.weights: per_tensor, but ptq.quantizer is tensorflow, whose .* give per_channel, or ptq.quantizer: l",
        ),
        (
            {"ptq.quantizer": "tensorflow", "ptq.ranges": "moving_average"},
            r"ptq.ranges: moving_average, but ptq.quantizer is tensorflow, whose .* give extremes, or ptq.quantizer: l",
        ),
        (
            {"ptq.quantizer": "tensorflow", "ptq.bits": 4},
            r"ptq.bits: 4, but ptq.quantizer is tensorflow, whose .* give 8, or ptq.quantizer: litert$",
        ),
        ({"baseline.small_epochs": 9}, "baseline: small_epochs: 9 must be less than epochs"),
        ({"baseline.epochs": 0}, "baseline: epochs: 0 leaves random weights; give baseline.pretrained"),
    ],
)
def test_params_that_do_not_fit_each_other(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    (line,) = complaints(tmp_path, changed(**changes))
    assert re.match(message, line), line


@pytest.mark.parametrize("spelling", ["1e-3", "1E-3", "1.0e-3", "0.001", "+1e-3"])
def test_numbers_are_yaml_1_2(tmp_path: Path, spelling: str) -> None:
    text = SOURCE.read_text(encoding="utf-8").replace("learning_rate: 0.014", f"learning_rate: {spelling}")
    path = tmp_path / "params.yaml"
    path.write_text(text, encoding="utf-8")
    assert load(path).baseline.learning_rate == 0.001


def test_one_value_stands_for_all_exits(tmp_path: Path) -> None:
    two = {"exits.mobilenet_v2": ["block1", "block2"]}
    params = load(written(tmp_path, changed(**two, **{"exits.channels": 24, "joint.w_exits": 0.5})))
    assert params.architecture().head_channels == [24, 24]
    each = load(written(tmp_path, changed(**two, **{"exits.channels": [24, 32], "joint.w_exits": [0.5, 1]})))
    assert each.architecture().head_channels == [24, 32]
    assert (params.joint.w_exits, each.joint.w_exits) == (0.5, [0.5, 1])


def test_whole_numbers_may_stand_for_reals(tmp_path: Path) -> None:
    params = load(written(tmp_path, changed(**{"joint.w_final": 1, "baseline.weight_decay": 0})))
    assert (params.joint.w_final, params.baseline.weight_decay) == (1, 0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the whole file: must be"),
        (b"- 1\n", "the whole file: must be"),
        (b"3\n", "the whole file: must be"),
        (b"data: [", "not valid YAML"),
        (b"data: {}\ndata: {}\n", "not valid YAML.*duplicate key"),
        (b"data: \xff\n", "not valid YAML"),
        (b"1: 2\n", "1"),
    ],
)
def test_a_file_that_is_no_params(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        load(path)
    assert all(line.startswith(f"{path}: ") for line in str(caught.value).splitlines())


@pytest.mark.usefixtures("at_the_end_of_the_stack")
@pytest.mark.parametrize(
    "text",
    [
        "data: " + "[" * 5000, "data: 2001-99-99", "data: !!int x", "data: !!float x", "data: !!bool x",
        "data: 1" + "0" * 5000,
        '"a\\nb": 1', "data: {source: " + "x" * 100_000 + "}", "a: &a [1, 2]\nb: &b [*a, *a]\ndata: [*b, *b, *b]",
        "data: {<<: x}", "? [a]\n: 1", "\0", "data: &x {source: *x}",
    ],
    ids=lambda text: text[:20],
)  # fmt: skip
def test_text_that_is_no_params_gives_short_lines(tmp_path: Path, text: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError) as caught:
        load(path)
    lines = str(caught.value).split("\n")
    assert all(line.startswith(f"{path}: ") and len(line) < 800 and line.isprintable() for line in lines)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"params\.yaml: not found"):
        load(tmp_path / "params.yaml")


def test_params_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load(SOURCE).joint.w_final = 2


@pytest.mark.parametrize("head", get_args(Head))
@pytest.mark.parametrize("backbone", ["mobilenet_v2", "mobilenet_v1"])
def test_either_backbone_with_either_head_is_one_change(tmp_path: Path, backbone: str, head: str) -> None:
    params = load(written(tmp_path, changed(**{"model.backbone": backbone, "exits.head": head})))
    architecture = params.architecture()
    assert architecture.backbone.family == backbone
    assert architecture.exits == CONTENT["exits"][backbone]
    assert architecture.head == head
    assert architecture.outputs == ["exit1", "exit2", "exit3", "final"]
    baseline = params.baseline_architecture()
    assert (baseline.backbone, baseline.outputs) == (architecture.backbone, ["final"])


def test_a_pretrained_file_may_be_used_as_it_is(tmp_path: Path) -> None:
    params = load(written(tmp_path, changed(**{"baseline.epochs": 0, "baseline.pretrained": "weights.safetensors"})))
    assert (params.baseline.epochs, params.baseline.pretrained) == (0, "weights.safetensors")


@pytest.mark.parametrize("backbone", ["mobilenet_v2", "mobilenet_v1"])
def test_the_budget_is_that_of_the_backbone(backbone: str) -> None:
    params = Params.model_validate(changed(**{"model.backbone": backbone}))
    limits = CONTENT["memory"]
    assert params.budget() == (limits["flash_limit"][backbone], limits["sram_limit"][backbone])


def mobilenet_v1() -> Params:
    return Params.model_validate(changed(**{"model.backbone": "mobilenet_v1"}))


def mlperf_tiny_shapes() -> list[tuple[int, ...]]:
    outputs = [16, 32, 32, 64, 64, *[128] * 6, 256, 256]
    shapes: list[tuple[int, ...]] = [(8, 3, 3, 3)]
    for inputs, channels in zip([8, *outputs], outputs, strict=False):
        shapes += [(inputs, 1, 3, 3), (channels, inputs, 1, 1)]
    return [*shapes, (2, 256)]


def test_mobilenet_v1_is_mlperf_tinys() -> None:
    network = EarlyExitNetwork(mobilenet_v1().baseline_architecture()).fold()
    parameters = list(network.parameters())
    assert [tuple(p.shape) for p in parameters if p.ndim > 1] == mlperf_tiny_shapes()
    assert sum(p.numel() for p in parameters) == 210_850
    architecture = network.architecture
    assert architecture.resolution == 96
    assert architecture.pixels.range == (0.0, 1.0)
    assert np.array_equal(architecture.pixels.images(np.array([51], np.uint8)), np.array([0.2], np.float32))


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_ends_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    script = import_module(f"stages.{name}")
    written(tmp_path, changed(**{"train.seed": -1}))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [name, "models/joint", "models/new"])
    with pytest.raises(SystemExit) as end:
        run(script.main)
    assert end.value.code == f"error: params.yaml: {WRONG_SEED}"
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


def test_a_stage_ends_with_one_line_and_status_1(tmp_path: Path) -> None:
    written(tmp_path, changed(**{"train.seed": -1}))
    command = [sys.executable, "-m", "stages.download"]
    environment = os.environ | {"PYTHONPATH": str(SOURCE.parent)}
    process = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (process.returncode, process.stdout) == (1, "")
    assert process.stderr == f"error: params.yaml: {WRONG_SEED}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]
