import numpy as np
import pytest
from PIL import Image, ImageFile

from earlyexit.packing.decode import UnfitError, decode
from tests.coco_source import encoded


def test_a_bomb_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither above Pillow's limit, where it warns, nor above twice that, where it refuses."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: pytest.fail("decoded"))
    for width in (40, 400):
        with pytest.raises(UnfitError, match="more than 1000 pixels"):
            decode(encoded(Image.new("RGB", (width, 30))), width, 30, 8)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_every_eight_bit_mode_becomes_rgb(mode: str) -> None:
    image = Image.new("RGB", (50, 30), "white").convert(mode)
    assert (decode(encoded(image), 50, 30, 8) == 255).all()


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_every_jpeg_mode_becomes_rgb(mode: str) -> None:
    grey = Image.new("RGB", (50, 30), (90, 90, 90)).convert(mode)
    pixels = decode(encoded(grey, "JPEG"), 50, 30, 8)
    assert pixels.shape == (8, 8, 3)
    assert np.abs(pixels.astype(int) - 90).max() <= 2


def test_deeper_pixels_are_refused() -> None:
    image = Image.fromarray(np.full((30, 50), 40_000, dtype=np.uint16))
    with pytest.raises(UnfitError, match="eight bits"):
        decode(encoded(image), 50, 30, 8)


def test_whole_image_is_squashed() -> None:
    halves = Image.new("RGB", (80, 20), "red")
    halves.paste("blue", (40, 0, 80, 20))
    pixels = decode(encoded(halves), 80, 20, 10)
    assert (pixels[:, :4] == (255, 0, 0)).all()
    assert (pixels[:, 6:] == (0, 0, 255)).all()


def test_large_photograph_is_antialiased() -> None:
    """A checkerboard finer than the target must fade to grey, and the DCT scaling change little."""
    board = (np.indices((512, 768)).sum(0) % 2 * 255).astype(np.uint8)
    assert np.abs(decode(encoded(Image.fromarray(board)), 768, 512, 32).astype(int) - 128).max() <= 2
    smooth = Image.fromarray(np.random.default_rng(1).integers(0, 256, (8, 12, 3), np.uint8)).resize((768, 512))
    through_dct = decode(encoded(smooth, "JPEG", quality=95), 768, 512, 32).astype(int)
    full = np.asarray(smooth.resize((32, 32), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(through_dct - full).mean() < 1.5


def test_orientation_is_not_applied_and_explained() -> None:
    image = Image.new("RGB", (60, 40), "red")
    image.paste("blue", (30, 0, 60, 40))
    exif = Image.Exif()
    exif[0x112] = 6
    data = encoded(image, "JPEG", exif=exif)
    pixels = decode(data, 60, 40, 8)
    assert pixels[:, 0, 0].min() > 200
    assert pixels[:, -1, 2].min() > 200
    with pytest.raises(UnfitError, match=r"60 x 40, listed as 40 x 60 .*before EXIF orientation"):
        decode(data, 40, 60, 8)
