"""Sends pictures to a board that runs person_detection.ino, and prints its answers.

pip install pillow pyserial
python send_frames.py PORT PICTURE...       PORT as in /dev/ttyACM0 or COM3
"""

import re
import struct
import sys
from pathlib import Path

BAUD = 921600
HEADER = Path(__file__).parents[2] / "src/ee.h"


def frame(pixels: bytes, width: int, height: int) -> bytes:
    """Return the bytes that the board takes for a picture of RGB `pixels`."""
    return b"RGB1" + struct.pack("<HH", width, height) + pixels


def main(port: str, *pictures: str) -> None:
    """Send `pictures`, each resized to what the network takes."""
    import serial  # type: ignore[import-not-found, import-untyped, unused-ignore]
    from PIL import Image

    sizes = dict(re.findall(r"EE_IMAGE_(WIDTH|HEIGHT) (\d+)", HEADER.read_text()))
    width, height = int(sizes["WIDTH"]), int(sizes["HEIGHT"])
    with serial.Serial(port, BAUD, timeout=10) as board:
        for path in pictures:
            with Image.open(path, formats=("JPEG", "PNG", "BMP")) as file:
                picture = file.convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
            board.write(frame(picture.tobytes(), width, height))
            print(f"{path}: {board.readline().decode().strip() or 'no answer'}")


if __name__ == "__main__":
    main(*sys.argv[1:])
