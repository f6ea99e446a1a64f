import copy
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from earlyexit.model.architecture import Architecture
from earlyexit.model.inference import predict
from earlyexit.model.network import ConvUnit, EarlyExitNetwork
from earlyexit.model.pretrained import load_pretrained, settle_norms
from earlyexit.params import load
from earlyexit.policy import decision
from tests import ROOT, tiny_network
from tests.model.test_network import PHOTOS, PRETRAINED, architectures, photographs
from tests.tiny_network import FAMILIES, Family

ODD = 33  # 33, 17, 9, 5, 3 pixels: on odd sizes PyTorch's padding of 1 is TensorFlow's SAME

DOCUMENT = (ROOT / "docs" / "pretrained.md").read_text(encoding="utf-8")
FROM_KERAS, FROM_PYTORCH = re.findall(r"^```python\n(.*?)^```$", DOCUMENT, re.DOTALL | re.MULTILINE)


def baseline(family: Family = "mobilenet_v1", seed: int = 0, **changes: Any) -> EarlyExitNetwork:
    return tiny_network.network(tiny_network.architecture(family, exits=[], head_channels=[], **changes), seed)


def logits(network: EarlyExitNetwork, count: int = 3) -> Tensor:
    images = tiny_network.images(count, network.resolution, seed=5)
    with torch.no_grad():
        answer: Tensor = network.eval()(network.normalize(torch.from_numpy(images)))[0]
    return answer


def units(network: EarlyExitNetwork) -> list[ConvUnit]:
    return [module for module in network.blocks.modules() if isinstance(module, ConvUnit)]


def kind(unit: ConvUnit) -> str:
    return "depthwise" if unit.conv.groups > 1 else "conv"


def unfolded(network: EarlyExitNetwork) -> dict[str, Tensor]:
    tensors = {}
    for i, unit in enumerate(units(network)):
        tensors[f"{i:02d}.{kind(unit)}.weight"] = unit.conv.weight.detach().clone()
        tensors |= {f"{i:02d}.norm.{name}": value.clone() for name, value in unit.norm.state_dict().items()}
    return tensors | linear(network)


def folded(network: EarlyExitNetwork) -> dict[str, Tensor]:
    tensors = {}
    for i, unit in enumerate(units(copy.deepcopy(network).fold())):
        assert unit.conv.bias is not None
        tensors[f"{i:02d}.{kind(unit)}.weight"] = unit.conv.weight.detach()
        tensors[f"{i:02d}.{kind(unit)}.bias"] = unit.conv.bias.detach()
    return tensors | linear(network)


def linear(network: EarlyExitNetwork) -> dict[str, Tensor]:
    state = network.classifier.linear.state_dict()
    return {f"{len(units(network)):02d}.linear.{name}": value.clone() for name, value in state.items()}


def loaded(architecture: Architecture, path: Path) -> EarlyExitNetwork:
    network = EarlyExitNetwork(architecture)
    load_pretrained(network, path)
    return network


def complaints(network: EarlyExitNetwork, path: Path) -> list[str]:
    """What `load_pretrained` says does not fit; it must leave the network as it was."""
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(ValueError, match=r"^baseline\.pretrained: .*does not fit the network: ") as caught:
        load_pretrained(network, path)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message.partition("does not fit the network: ")[2].split("; ")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "backbone.safetensors"


@pytest.mark.parametrize("family", FAMILIES)
def test_the_projects_own_baseline(path: Path, family: Family) -> None:
    before = baseline(family)
    save_file(before.state_dict(), path)
    after = loaded(before.architecture, path)
    assert all(torch.equal(value, before.state_dict()[name]) for name, value in after.state_dict().items())


@st.composite
def files(draw: st.DrawFn) -> tuple[EarlyExitNetwork, dict[str, Tensor], dict[str, str]]:
    """A network, and a file of its layers: some folded, some not, some with a bias in front of their batch norm."""
    architecture = draw(architectures()).model_copy(update={"exits": [], "head_channels": []})
    network = tiny_network.network(architecture, draw(st.integers(0, 9)))
    epsilon = draw(st.sampled_from([None, 1e-3, 1e-5, 1e-7]))
    without, tensors = folded(network), linear(network)
    for i, unit in enumerate(units(network)):
        form, norm = draw(st.sampled_from(["folded", "norm", "bias and norm"])), unit.norm.state_dict()
        name = f"{i:02d}.{kind(unit)}"
        if form == "folded":
            tensors |= {f"{name}.weight": without[f"{name}.weight"], f"{name}.bias": without[f"{name}.bias"]}
            continue
        bias = torch.full_like(norm["bias"], 0.25 * (form == "bias and norm"))
        norm["running_mean"] = norm["running_mean"] + bias
        if epsilon is not None:
            # Where the variance is too small for the larger epsilon, it goes to 0, in the network too.
            unit.norm.state_dict()["running_var"].clamp_(min=max(0, epsilon - 1e-5))
            norm["running_var"] = (norm["running_var"].double() + 1e-5 - epsilon).float().clamp(min=0)
        tensors[f"{name}.weight"] = unit.conv.weight.detach().clone()
        if form == "bias and norm":
            tensors[f"{name}.bias"] = bias
        tensors |= {f"{i:02d}.norm.{key}": norm[key] for key in ("weight", "bias", "running_mean", "running_var")}
    return network, tensors, {} if epsilon is None else {"epsilon": str(epsilon)}


@settings(max_examples=25)
@given(files())
def test_layers_in_order_are_the_network(case: tuple[EarlyExitNetwork, dict[str, Tensor], dict[str, str]]) -> None:
    network, tensors, metadata = case
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "backbone.safetensors"
        save_file(tensors, path, metadata)
        after = loaded(network.architecture, path)
    torch.testing.assert_close(logits(after), logits(network), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_folded_file_is_loaded_exactly(path: Path, family: Family) -> None:
    tensors = folded(baseline(family))
    save_file(tensors, path)
    network = loaded(baseline(family).architecture, path)
    found = folded(network)
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], value) for name, value in tensors.items())
    for unit in units(network):
        norm = unit.norm.state_dict()
        assert torch.equal(norm["weight"], torch.ones_like(norm["weight"]))
        assert not norm["running_mean"].any()
        assert torch.equal(norm["running_var"] + 1e-5, torch.ones_like(norm["weight"]))
        assert norm["num_batches_tracked"] == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_settled_norms_know_their_inputs_and_change_no_answer(path: Path, family: Family) -> None:
    source = baseline(family)
    save_file(folded(source), path)
    network = baseline(family, seed=1)
    load_pretrained(network, path)
    images = tiny_network.images(300, network.resolution)
    before, batch = logits(network, 64), network.normalize(torch.from_numpy(images))
    settle_norms(network, images, torch.device("cpu"))
    torch.testing.assert_close(logits(network, 64), before, rtol=1e-4, atol=1e-4)
    inputs: dict[nn.Module, Tensor] = {}
    for unit in units(network):
        unit.norm.register_forward_pre_hook(lambda norm, given: inputs.update({norm: given[0]}))
    with torch.no_grad():
        answer = network.eval()(batch)[0]
        for norm, x in inputs.items():
            torch.testing.assert_close(norm.running_mean, x.mean((0, 2, 3)), rtol=1e-3, atol=1e-4)
            torch.testing.assert_close(norm.running_var, x.var((0, 2, 3), correction=0), rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(network.train()(batch)[0], answer, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_unfolded_file_of_the_default_epsilon_is_loaded_exactly(path: Path, family: Family) -> None:
    before = baseline(family)
    save_file(unfolded(before), path)
    after = loaded(before.architecture, path).state_dict()
    for name, value in before.state_dict().items():
        assert torch.equal(after[name], 0 * value if name.endswith("num_batches_tracked") else value)


def test_another_epsilon_goes_into_the_variance(path: Path) -> None:
    before = baseline()
    save_file(unfolded(before), path, {"epsilon": "0.001"})
    after = loaded(before.architecture, path)
    for old, new in zip(units(before), units(after), strict=True):
        variance = old.norm.state_dict()["running_var"].double()
        expected = (variance + 0.00099).float()
        torch.testing.assert_close(new.norm.state_dict()["running_var"], expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_types_are_loaded_as_float32(path: Path, dtype: torch.dtype) -> None:
    tensors = {name: value.to(dtype) for name, value in folded(baseline()).items()}
    save_file(tensors, path)
    network = loaded(baseline().architecture, path)
    assert {value.dtype for value in network.parameters()} == {torch.float32}
    assert all(torch.equal(value, tensors[name].float()) for name, value in folded(network).items())


def plain_pytorch(architecture: Architecture) -> nn.Sequential:
    """MobileNetV1 as a PyTorch user writes it: padding of 1, convolutions with a bias in front of batch norm."""
    table = architecture.backbone
    channels = table.stem
    layers: list[nn.Module] = [
        nn.Conv2d(3, channels, 3, 2, 1),
        nn.BatchNorm2d(channels, eps=1e-3, momentum=1),
        nn.ReLU(),
    ]
    for block in table.block_list():
        layers += [nn.Conv2d(channels, channels, 3, block.stride, 1, groups=channels, bias=False)]
        layers += [nn.BatchNorm2d(channels, eps=1e-3, momentum=1), nn.ReLU()]
        layers += [
            nn.Conv2d(channels, block.channels, 1),
            nn.BatchNorm2d(block.channels, eps=1e-3, momentum=1),
            nn.ReLU(),
        ]
        channels = block.channels
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 2))


def test_from_pytorch(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(3)
    architecture = baseline(resolution=ODD).architecture
    model = plain_pytorch(architecture)
    x = torch.rand(4, 3, ODD, ODD)
    with torch.no_grad():
        model(3 * torch.rand(16, 3, ODD, ODD))  # moves the running statistics
        expected = model.eval()(x)
        monkeypatch.chdir(path.parent)
        exec(FROM_PYTORCH, {"model": model})
        (found,) = loaded(architecture, path).eval()(x)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def keras() -> ModuleType:
    import tensorflow as tf

    module: ModuleType = tf.keras
    return module


def keras_model(keras: Any, architecture: Architecture) -> Any:
    """The backbone as a Keras user writes it, with Keras's default epsilon, and its default biases in V1."""
    table, layers = architecture.backbone, keras.layers
    v2 = table.family == "mobilenet_v2"

    def unit(x: Any, convolution: Any, act: bool = True) -> Any:
        x = layers.BatchNormalization()(convolution(x))
        return layers.ReLU(6 if v2 else None)(x) if act else x

    def conv(channels: int, kernel: int = 1, stride: int = 1) -> Any:
        return layers.Conv2D(channels, kernel, strides=stride, padding="same", use_bias=not v2)

    images = x = keras.Input((architecture.resolution, architecture.resolution, 3))
    x = unit(x, conv(table.scaled(table.stem), 3, 2))
    for block in table.block_list():
        inputs = x
        if block.expansion > 1:
            x = unit(x, conv(block.expansion * inputs.shape[-1]))
        x = unit(x, layers.DepthwiseConv2D(3, strides=block.stride, padding="same", use_bias=False))
        x = unit(x, conv(block.channels), act=not v2)
        if v2 and inputs.shape == x.shape:
            x = layers.Add()([inputs, x])
    if table.family == "mobilenet_v2":
        x = unit(x, conv(table.scaled(table.last)))
    model = keras.Model(images, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))
    rng = np.random.default_rng(0)
    for layer in model.layers:
        shapes = [value.shape for value in layer.get_weights()]
        if isinstance(layer, layers.BatchNormalization):  # small variances, so that epsilon counts
            ranges = [(0.5, 1.5), (-0.3, 0.3), (-0.3, 0.3), (0.05, 1)]
            layer.set_weights([rng.uniform(*ends, size) for ends, size in zip(ranges, shapes, strict=True)])
        else:
            depthwise = isinstance(layer, layers.DepthwiseConv2D)
            layer.set_weights([rng.normal(0, np.prod(size[: 2 if depthwise else -1]) ** -0.5, size) for size in shapes])
    return model


@pytest.mark.parametrize("family", FAMILIES)
def test_from_keras(keras: ModuleType, path: Path, family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    architecture = baseline(family).architecture
    model = keras_model(keras, architecture)
    images = architecture.pixels.images(tiny_network.images(4))
    expected = np.asarray(model(images))
    assert expected.std(axis=0).min() > 0.01  # it depends on what it sees
    monkeypatch.chdir(path.parent)
    exec(FROM_KERAS, {"model": model})
    with safe_open(path, framework="pt") as file:
        assert file.metadata() == {"epsilon": "0.001"}
    with torch.no_grad():
        (found,) = loaded(architecture, path).eval()(torch.from_numpy(images).permute(0, 3, 1, 2))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-4)


def mlperf_tiny() -> EarlyExitNetwork:
    table = load(ROOT / "params.yaml").model.mobilenet_v1
    return loaded(Architecture(backbone=table, resolution=96), PRETRAINED)


@pytest.mark.skipif(not PRETRAINED.is_file(), reason="needs ../shared/pretrained")
def test_mlperf_tinys_file_folded_again_is_the_file() -> None:
    found, theirs = folded(mlperf_tiny()), load_file(PRETRAINED)
    assert found.keys() == theirs.keys()
    assert all(torch.equal(found[name], value) for name, value in theirs.items())


@pytest.mark.skipif(not (PRETRAINED.is_file() and PHOTOS.is_dir()), reason="needs ../shared")
def test_mlperf_tinys_weights_see_persons() -> None:
    images, labels = photographs(150)
    network = mlperf_tiny()
    found = predict(network, images, torch.device("cpu"))
    assert np.mean(decision.labels(found[0]) == labels) > 0.78  # the file says 85.3 % on other photographs
    np.testing.assert_allclose(predict(network.fold(), images, torch.device("cpu")), found, rtol=1e-4, atol=1e-4)


Change = Callable[[dict[str, Tensor]], Any]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda t: t.pop("00.conv.weight"), ["00.conv.weight (blocks.stem) missing"]),
        (lambda t: t.pop("01.norm.running_var"), ["01.norm.running_var (blocks.block1.0) missing"]),
        (lambda t: t.pop("11.linear.bias"), ["11.linear.bias (classifier.linear) missing"]),
        (
            lambda t: t.update({"01.depthwise.weight": torch.zeros(8, 1, 5, 5), "02.norm.bias": torch.zeros(9)}),
            [
                "01.depthwise.weight (blocks.block1.0) has shape (8, 1, 5, 5), not (8, 1, 3, 3)",
                "02.norm.bias (blocks.block1.1) has shape (9,), not (8,)",
            ],
        ),
        (
            lambda t: t.update({"01.conv.weight": t.pop("01.depthwise.weight")}),
            ["01.conv (blocks.block1.0) where depthwise is expected"],
        ),
        (
            lambda t: [t.pop(f"11.linear.{name}") for name in ("weight", "bias")],
            ["11 layers, not 12", "11.linear (classifier.linear) missing"],
        ),
        (
            lambda t: t.update({"12.linear.weight": torch.zeros(2, 2), "12.linear.bias": torch.zeros(2)}),
            ["13 layers, not 12", "12.linear.bias unknown", "12.linear.weight unknown"],
        ),
        (
            lambda t: t.update(
                {"00.conv.scale": torch.zeros(8), "epoch": torch.zeros(1), "1.conv.bias": torch.zeros(8)}
            ),
            ["00.conv.scale (blocks.stem) unknown", "1.conv.bias unknown", "epoch unknown"],
        ),
        (
            lambda t: t.update({"00.conv.weight": torch.zeros(8, 3, 3, 3, dtype=torch.int8)}),
            ["00.conv.weight (blocks.stem) has type int8, not a float"],
        ),
        (
            lambda t: t.update({"02.norm.running_var": torch.linspace(-1, 1, 8)}),
            ["02.norm.running_var (blocks.block1.1) has negative values"],
        ),
    ],
)
def test_lists_all_that_does_not_fit(path: Path, change: Change, expected: list[str]) -> None:
    network = baseline()
    tensors = unfolded(network)
    change(tensors)
    save_file(tensors, path)
    assert complaints(network, path) == expected


def test_a_convolution_without_batch_norm_needs_a_bias(path: Path) -> None:
    network = baseline()
    tensors = folded(network)
    del tensors["03.depthwise.bias"]
    save_file(tensors, path)
    assert complaints(network, path) == ["03.depthwise.bias (blocks.block2.0) missing, and no 03.norm either"]


def test_the_other_family(path: Path) -> None:
    save_file(unfolded(baseline("mobilenet_v2")), path)
    found = complaints(baseline("mobilenet_v1"), path)
    assert found[0] == "17 layers, not 12"
    assert "03.conv (blocks.block2.0) where depthwise is expected" in found
    assert "16.linear.weight unknown" in found


def test_another_projects_names(path: Path) -> None:
    save_file({f"features.{i}.weight": torch.zeros(1) for i in range(5)}, path)
    (found,) = complaints(baseline(), path)
    assert "neither" in found
    assert found.endswith("but features.0.weight, features.1.weight, features.2.weight, ...")


def test_an_empty_file(path: Path) -> None:
    save_file({}, path)
    assert complaints(baseline(), path)[0].endswith("but none at all")


def test_an_own_baseline_of_another_table(path: Path) -> None:
    save_file(baseline("mobilenet_v2").state_dict(), path)
    assert "blocks.last.conv.weight unknown" in complaints(baseline("mobilenet_v1"), path)


@pytest.mark.parametrize("epsilon", ["", "0", "-1e-3", "1e5", "nan", "inf", "1e-3f"])
def test_an_epsilon_that_is_none(path: Path, epsilon: str) -> None:
    network = baseline()
    save_file(unfolded(network), path, {"epsilon": epsilon})
    assert complaints(network, path) == [f"metadata epsilon is {epsilon!r}, not a number from 1e-08 to 1"]


def test_a_missing_file(path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=rf"^baseline\.pretrained: {path}: not found"):
        load_pretrained(baseline(), path)


def test_a_truncated_file(path: Path) -> None:
    save_file(folded(baseline()), path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=rf"^baseline\.pretrained: {path}: not a whole safetensors file"):
        load_pretrained(baseline(), path)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_not_finite(path: Path, value: float) -> None:
    tensors = unfolded(baseline())
    tensors["02.conv.weight"][0, 0, 0, 0] = value
    save_file(tensors, path)
    with pytest.raises(ValueError, match=rf"^baseline\.pretrained: {path}: NaN or infinite values in 02\.conv\.weight"):
        load_pretrained(baseline(), path)
