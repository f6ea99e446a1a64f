import pytest

from tests import tiny_tflite


@pytest.fixture(scope="package", params=["litert", "tensorflow"])
def model(request: pytest.FixtureRequest) -> bytes:
    return tiny_tflite.quantized(tiny_tflite.segment(), request.param)


@pytest.fixture(scope="package")
def large() -> bytes:
    """A file so large that its quantizer puts the weights behind the flatbuffer."""
    return tiny_tflite.quantized(tiny_tflite.segment(channels=192, expansion=4))
