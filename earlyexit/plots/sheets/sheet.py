"""A white sheet to compose from small pictures and text."""

from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont

GAP = 6
LEVELS = 32


class Sheet:
    """A white picture to put tiles and text on.

    Args:
        width, height: pixels.
    """

    def __init__(self, width: int, height: int) -> None:
        self.image = Image.new("RGB", (width, height), "white")
        self._draw = ImageDraw.Draw(self.image)

    def tile(self, picture: Image.Image, x: int, y: int, border: str | None = None, thick: int = 4) -> None:
        """Put `picture` at (x, y), inside a border that touches it."""
        if border:
            box = (x - thick, y - thick, x + picture.width + thick - 1, y + picture.height + thick - 1)
            self._draw.rectangle(box, fill=border)
        self.image.paste(picture, (x, y))

    def text(self, x: int, y: int, text: str, *, size: int = 14, bold: bool = False, colour: str = "black") -> None:
        """Write one or several lines; (x, y) is the top left corner of the first."""
        self._draw.multiline_text((x, y), text, fill=colour, font=font(size, bold), spacing=4)

    def save(self, path: Path) -> None:
        """Write a PNG with 32 levels a channel: half the bytes of one with 256, and hardly a visible difference."""
        levels = [round(value * (LEVELS - 1) / 255) * 255 // (LEVELS - 1) for value in range(256)]
        self.image.point(levels * 3).save(path, "PNG")


def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Return the font that the figures use, which comes with matplotlib."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)
