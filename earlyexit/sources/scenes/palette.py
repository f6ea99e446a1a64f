"""Colours. People and things draw from the same tables, so that no colour tells one from the other."""

import colorsys

from earlyexit.sources.scenes.dice import Dice

Colour = tuple[float, float, float]
"""Red, green, blue, 0 to 255."""

SKINS: tuple[Colour, ...] = (
    (246, 214, 190), (240, 196, 168), (228, 180, 148), (222, 170, 130), (204, 148, 110),
    (186, 128, 92), (160, 106, 74), (132, 86, 58), (104, 66, 46), (76, 50, 38),
)  # fmt: skip
HAIRS: tuple[Colour, ...] = (
    (28, 24, 24), (44, 32, 26), (70, 48, 34), (98, 66, 42), (136, 96, 58),
    (186, 148, 92), (216, 190, 138), (150, 74, 40), (128, 126, 124), (206, 204, 200),
)  # fmt: skip
WOODS: tuple[Colour, ...] = ((92, 64, 42), (120, 84, 56), (150, 108, 70), (182, 140, 96), (70, 56, 46), (110, 100, 88))
METALS: tuple[Colour, ...] = ((60, 62, 66), (96, 100, 104), (140, 144, 148), (186, 188, 190), (40, 42, 44))
STONES: tuple[Colour, ...] = ((170, 164, 154), (140, 134, 126), (196, 188, 174), (120, 116, 112), (150, 120, 100))
LEAVES: tuple[Colour, ...] = ((52, 88, 40), (74, 112, 50), (96, 130, 62), (120, 140, 60), (60, 78, 48), (150, 120, 50))


def shade(colour: Colour, factor: float) -> Colour:
    """Return `colour` times `factor`, clipped to 255."""
    red, green, blue = colour
    return min(red * factor, 255.0), min(green * factor, 255.0), min(blue * factor, 255.0)


def mix(one: Colour, other: Colour, share: float) -> Colour:
    """Return the mixture of two colours, `share` of the other."""
    keep = 1 - share
    return (
        one[0] * keep + other[0] * share,
        one[1] * keep + other[1] * share,
        one[2] * keep + other[2] * share,
    )


def vary(dice: Dice, colour: Colour, amount: float = 0.12) -> Colour:
    """Return a colour near `colour`: brightness within `amount`, hue a little."""
    factor = 1 + dice.spread(amount)
    tint = amount / 3
    return (
        min(colour[0] * factor * (1 + dice.spread(tint)), 255.0),
        min(colour[1] * factor, 255.0),
        min(colour[2] * factor * (1 + dice.spread(tint)), 255.0),
    )


def skin(dice: Dice) -> Colour:
    """Return a skin tone."""
    return vary(dice, dice.pick(SKINS))


def hair(dice: Dice) -> Colour:
    """Return a hair colour."""
    return vary(dice, dice.pick(HAIRS))


def cloth(dice: Dice) -> Colour:
    """Return a colour of clothes: dark, grey, denim, pale or bright."""
    kind = dice.random()
    if kind < 0.25:
        return _hsv(dice.random(), dice.uniform(0, 0.4), dice.uniform(0.08, 0.3))
    if kind < 0.4:
        return _hsv(dice.random(), dice.uniform(0, 0.12), dice.uniform(0.3, 0.75))
    if kind < 0.55:
        return _hsv(dice.uniform(0.56, 0.66), dice.uniform(0.3, 0.7), dice.uniform(0.25, 0.65))
    if kind < 0.7:
        return _hsv(dice.random(), dice.uniform(0, 0.2), dice.uniform(0.8, 0.97))
    return _hsv(dice.random(), dice.uniform(0.4, 0.9), dice.uniform(0.4, 0.95))


def paint(dice: Dice) -> Colour:
    """Return the colour of a made thing: any of the tables, clothes and skin included."""
    kind = dice.random()
    if kind < 0.45:
        return cloth(dice)
    if kind < 0.53:
        return skin(dice)
    table = WOODS if kind < 0.75 else METALS if kind < 0.85 else STONES if kind < 0.93 else HAIRS
    return vary(dice, dice.pick(table))


def fur(dice: Dice) -> Colour:
    """Return the colour of an animal: hair, skin-like or wood-like."""
    kind = dice.random()
    return vary(dice, dice.pick(HAIRS if kind < 0.6 else SKINS if kind < 0.85 else WOODS))


def _hsv(hue: float, saturation: float, value: float) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return red * 255, green * 255, blue * 255
