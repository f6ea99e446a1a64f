import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch.nn.functional import interpolate

from earlyexit.common.pixels import Normalization
from earlyexit.teaching.classifier import Classifier
from earlyexit.tflite.reader import interface
from earlyexit.tflite.segment import Segment
from tests import tiny_network
from tests.teaching import models
from tests.teaching.models import HEIGHT, WIDTH

PIXELS = Normalization(offset=100, divisor=50)
IMAGES = tiny_network.images(4, 16)
LARGE = tiny_network.images(4, 40)


def written(folder: Path, content: bytes, name: str = "model.onnx") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def resized(images: np.ndarray, height: int, width: int) -> np.ndarray:
    """By PyTorch's own bilinear interpolation on floats; a step of rounding from torchvision's on bytes."""
    planes = torch.from_numpy(images.astype(np.float32)).permute(0, 3, 1, 2)
    found = interpolate(planes, (height, width), mode="bilinear", antialias=True)
    return found.permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize("channels_first", [True, False])
@pytest.mark.parametrize("images", [IMAGES, LARGE], ids=["larger", "smaller"])
def test_a_float_model_sees_resized_normalized_pixels(tmp_path: Path, channels_first: bool, images: np.ndarray) -> None:
    path = written(tmp_path, models.onnx_bytes(3, channels_first=channels_first))
    classifier = Classifier(path, PIXELS)
    expected = (resized(images, HEIGHT, WIDTH).mean((1, 2)) - 100) / 50 @ models.weights(3)
    found = np.stack([classifier(image) for image in images])
    assert (classifier.height, classifier.width, classifier.quantized, classifier.step) == (HEIGHT, WIDTH, False, 0)
    assert classifier.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    np.testing.assert_allclose(found, expected, atol=0.05)


@pytest.mark.parametrize(("kind", "offset"), [(TensorProto.UINT8, 0), (TensorProto.INT8, 128)])
def test_a_quantized_model_sees_bytes(tmp_path: Path, kind: int, offset: int) -> None:
    classifier = Classifier(written(tmp_path, models.onnx_bytes(2, kind=kind)), PIXELS)
    expected = (resized(IMAGES, HEIGHT, WIDTH).mean((1, 2)) - offset) / 255 @ models.weights(2)
    assert classifier.quantized
    np.testing.assert_allclose(np.stack([classifier(image) for image in IMAGES]), expected, atol=0.02)


def test_a_float_tflite_file(tmp_path: Path) -> None:
    content = models.tflite_bytes(3)
    images = tiny_network.images(3, HEIGHT)  # of the size of the input: not resized
    classifier = Classifier(written(tmp_path, content, "model.tflite"), PIXELS)
    expected = [Segment(content, reference=True)(PIXELS.images(image))[0] for image in images]
    np.testing.assert_allclose(np.stack([classifier(image) for image in images]), expected, atol=1e-5)


def test_a_quantized_tflite_file_answers_with_real_values(tmp_path: Path) -> None:
    images = np.random.default_rng(1).integers(0, 256, (3, HEIGHT, HEIGHT, 3), np.uint8)  # noise, as it was calibrated
    content = models.int8_bytes(3)
    classifier = Classifier(written(tmp_path, content, "model.tflite"), PIXELS)
    output = interface(content)[1][0]
    assert output.scale is not None and output.zero_point is not None
    raw = [Segment(content)((image.astype(int) - 128).astype(np.int8))[0] for image in images]
    expected = output.scale * (np.array(raw, int) - output.zero_point)
    found = np.stack([classifier(image) for image in images])
    assert (classifier.quantized, classifier.step) == (True, output.scale)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    in_float = Segment(models.tflite_bytes(3))
    near = np.stack([in_float(Normalization(offset=128, divisor=128).images(image))[0] for image in images])
    low, high = (output.scale * (bound - output.zero_point) for bound in (-128, 127))
    np.testing.assert_allclose(found, near.clip(low, high), atol=0.02)


def external(folder: Path, location: str) -> Path:
    model = models.onnx_model()
    for tensor in model.graph.initializer:
        if tensor.name == "weights":
            onnx.external_data_helper.set_external_data(tensor, location)
            (folder / "beside.bin").write_bytes(tensor.raw_data)
            tensor.ClearField("raw_data")
    return written(folder, model.SerializeToString())


def test_weights_beside_an_onnx_file(tmp_path: Path) -> None:
    whole = Classifier(written(tmp_path, models.onnx_bytes(), "whole.onnx"), PIXELS)
    beside = Classifier(external(tmp_path, "beside.bin"), PIXELS)
    assert np.array_equal(beside(IMAGES[0]), whole(IMAGES[0]))
    (tmp_path / "beside.bin").write_bytes(bytes(24))
    other = Classifier(tmp_path / "model.onnx", PIXELS)
    assert other.sha256 != beside.sha256
    assert not other(IMAGES[0]).any()


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/hostname", "missing.bin"])
def test_weights_from_outside_the_folder_are_refused(tmp_path: Path, location: str) -> None:
    (tmp_path / "secret.bin").write_bytes(bytes(24))
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError, match=r"teacher\.model: .*model\.onnx: cannot be run \(") as error:
        Classifier(external(tmp_path / "folder", location), PIXELS)
    assert "\n" not in str(error.value)


def unknown_operator() -> bytes:
    model = models.onnx_model()
    model.graph.node[-1].CopyFrom(helper.make_node("Run", ["z"], ["answer"], domain="ai.elsewhere"))
    model.opset_import.append(helper.make_opsetid("ai.elsewhere", 1))
    return bytes(model.SerializeToString())


def custom_operator(name: str) -> bytes:
    network, answer = models.tflite_network()
    return network.finish(network.custom(answer, name))


def two_outputs() -> bytes:
    network, answer = models.tflite_network()
    return network.finish(answer, network.dense(answer, 2))


def features() -> bytes:
    network, _ = models.tflite_network()
    return network.finish(network.conv(network.input, 2))


def grey() -> bytes:
    network, answer = models.tflite_network(channels=1)
    return network.finish(answer)


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "text.pb": (lambda: b"", "must be a .tflite or .onnx file"),
    "cut.tflite": (lambda: models.tflite_bytes()[:900], r"cannot be run \(damaged"),
    "junk.tflite": (lambda: b"junk", r"cannot be run \(not a .tflite file"),
    "empty.onnx": (lambda: b"", r"cannot be run \("),
    "junk.onnx": (lambda: b"\x00junk", r"cannot be run \("),
    "cut.onnx": (lambda: models.onnx_bytes()[:150], r"cannot be run \("),
    "custom.onnx": (unknown_operator, r"cannot be run \(.*ai\.elsewhere"),
    "two.onnx": (lambda: models.onnx_bytes(outputs=2), "has 1 inputs and 2 outputs; needed is one of each"),
    "two.tflite": (two_outputs, "has 1 inputs and 2 outputs; needed is one of each"),
    "grey.onnx": (lambda: models.onnx_bytes(channels=1), "takes N x 1 x 20 x 24; needed is 1 x H x W x 3 or"),
    "grey.tflite": (grey, "takes 1 x 20 x 20 x 1; needed is 1 x H x W x 3 or"),
    "open.onnx": (lambda: models.onnx_bytes(size=("H", "W")), "takes N x 3 x H x W; needed are a fixed height"),
    "eight.onnx": (lambda: models.onnx_bytes(batch=8), "takes 8 x 3 x 20 x 24; needed is a batch of 1"),
    "double.onnx": (lambda: models.onnx_bytes(kind=TensorProto.DOUBLE), "takes double and answers with float32; known"),
    "number.onnx": (lambda: models.onnx_bytes(1), "answers with N x 1; needed is 1 x classes, of two"),
    "number.tflite": (lambda: models.tflite_bytes(1), "answers with 1 x 1; needed is 1 x classes, of two"),
    "features.tflite": (features, "answers with 1 x 20 x 20 x 2; needed is 1 x classes"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_classifier_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    make, message = REFUSED[name]
    path = written(tmp_path, make(), name)
    with pytest.raises(ValueError, match=message) as error:
        Classifier(path, PIXELS)
    assert str(error.value).startswith(f"teacher.model: {path}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "said"), [("Elsewhere", "unresolved custom op: Elsewhere"), ("FlexErf", "Select TensorFlow op")]
)
def test_a_custom_operator_of_tflite_is_not_run(tmp_path: Path, name: str, said: str) -> None:
    classifier = Classifier(written(tmp_path, custom_operator(name), "custom.tflite"), PIXELS)
    with pytest.raises(ValueError, match=rf"teacher\.model: .*custom\.tflite: cannot be run \(.*{said}") as error:
        classifier(IMAGES[0])
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"teacher\.model: .*none\.onnx: no such file"):
        Classifier(tmp_path / "none.onnx", PIXELS)
