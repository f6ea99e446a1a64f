"""Backgrounds: rooms, streets, fields, shores, plain walls, each with light, texture and detail."""

import math
from collections.abc import Callable

from earlyexit.sources.scenes import palette
from earlyexit.sources.scenes.canvas import Canvas
from earlyexit.sources.scenes.dice import Dice
from earlyexit.sources.scenes.palette import Colour, mix, shade
from earlyexit.sources.scenes.texture import roughen
from earlyexit.sources.scenes.things import small

GREENS: tuple[Colour, ...] = ((86, 120, 52), (110, 140, 66), (72, 96, 48), (150, 150, 80), (128, 120, 70))
GROUNDS: tuple[Colour, ...] = (
    (128, 124, 120), (100, 100, 104), (150, 140, 128), (170, 150, 120), (196, 176, 140), (226, 230, 236),
    (140, 104, 76),
)  # fmt: skip


def draw_background(canvas: Canvas, dice: Dice, horizon: float, *, indoors: bool) -> None:
    """Fill the canvas; `horizon` is the row where floor and wall, or ground and sky, meet."""
    if indoors:
        plain_wall(canvas, dice, horizon) if dice.chance(0.15) else room(canvas, dice, horizon)
        return
    scenery: tuple[tuple[Callable[[Canvas, Dice, float], None], float], ...] = (
        (street, 0.4), (field, 0.38), (shore, 0.12), (plain_wall, 0.1),
    )  # fmt: skip
    dice.weighted(scenery)(canvas, dice, horizon)


def room(canvas: Canvas, dice: Dice, horizon: float) -> None:
    """Draw wall and floor, with windows, pictures, curtains, doors, shelves."""
    width, height = canvas.width, canvas.height
    wall = _wall_colour(dice)
    canvas.gradient(0, horizon, shade(wall, dice.uniform(0.8, 1.1)), shade(wall, dice.uniform(0.75, 1.0)))
    _wallpaper(canvas, dice, wall, horizon)
    roughen(canvas, dice, 0, horizon, dice.uniform(0.03, 0.16), dice.whole(0, 4))
    for _ in range(dice.whole(1, 5)):
        _on_wall(canvas, dice, dice.uniform(0, width), horizon)
    floor = _floor(dice)
    canvas.gradient(horizon, height, shade(floor, 0.8), shade(floor, dice.uniform(0.9, 1.15)))
    _boards(canvas, dice, floor, horizon)
    if dice.chance(0.35):
        _rug(canvas, dice, horizon)
    roughen(canvas, dice, horizon, height, dice.uniform(0.06, 0.3), dice.whole(0, 3), dice.uniform(1, 5))
    if dice.chance(0.7):
        canvas.rectangle(
            0, horizon - dice.uniform(0.01, 0.03) * height, width, horizon, shade(wall, dice.pick((0.6, 1.2)))
        )
    if dice.chance(0.4):
        _corner(canvas, dice, wall, horizon)


def plain_wall(canvas: Canvas, dice: Dice, horizon: float) -> None:
    """Draw one rough or patterned surface and a floor of nearly the same colour."""
    wall = palette.paint(dice)
    canvas.gradient(0, canvas.height, shade(wall, dice.uniform(0.7, 1.1)), shade(wall, dice.uniform(0.7, 1.1)))
    _wallpaper(canvas, dice, wall, canvas.height)
    floor = mix(wall, palette.paint(dice), dice.uniform(0, 0.6))
    canvas.gradient(horizon, canvas.height, shade(floor, 0.85), floor)
    roughen(canvas, dice, 0, canvas.height, dice.uniform(0.08, 0.4), dice.whole(0, 4), dice.uniform(0.6, 2))


def street(canvas: Canvas, dice: Dice, horizon: float) -> None:
    """Draw house fronts, pavement and road."""
    width, height = canvas.width, canvas.height
    _sky(canvas, dice, horizon)
    base = horizon + dice.uniform(0.0, 0.08) * height
    left = dice.uniform(-0.3, 0) * width
    while left < width:
        wide = dice.uniform(0.15, 0.6) * width
        tall = dice.uniform(0.25, 1.2) * horizon
        if dice.chance(0.9):
            _house(canvas, dice, left, left + wide, base - tall, base)
        left += wide
    roughen(canvas, dice, 0, base, dice.uniform(0.1, 0.5), dice.whole(0, 3))
    road = palette.vary(dice, dice.pick(GROUNDS))
    canvas.gradient(base, height, shade(road, 0.85), shade(road, dice.uniform(0.9, 1.15)))
    if dice.chance(0.7):
        edge = base + dice.uniform(0.1, 0.5) * (height - base)
        path = palette.vary(dice, dice.pick(GROUNDS))
        canvas.gradient(base, edge, shade(path, 0.9), path)
        canvas.rectangle(0, edge, width, edge + 0.012 * height, shade(path, 1.15))
    _boards(canvas, dice, road, base)
    if dice.chance(0.4):
        _crossing(canvas, dice, base)
    roughen(canvas, dice, base, height, dice.uniform(0.08, 0.3), dice.whole(0, 3), dice.uniform(1, 4))


def field(canvas: Canvas, dice: Dice, horizon: float) -> None:
    """Draw sky, hills, a line of trees, grass or earth, a path."""
    width, height = canvas.width, canvas.height
    _sky(canvas, dice, horizon)
    green = palette.vary(dice, dice.pick(GREENS), 0.25)
    for k in range(dice.whole(0, 3)):
        _hill(canvas, dice, horizon, mix(shade(green, 0.8), (150, 165, 185), 0.6 - 0.2 * k), (0.35 - 0.1 * k) * horizon)
    if dice.chance(0.7):
        _tree_line(canvas, dice, horizon)
    ground = green if dice.chance(0.75) else palette.vary(dice, dice.pick(GROUNDS))
    canvas.gradient(horizon, height, shade(ground, 0.85), shade(ground, dice.uniform(0.85, 1.2)))
    if dice.chance(0.4):
        path = palette.vary(dice, dice.pick(GROUNDS))
        far, near = dice.uniform(0, width), dice.uniform(-0.2, 1.2) * width
        wide = dice.uniform(0.1, 0.5) * width
        canvas.convex([(far - 3, horizon), (far + 3, horizon), (near + wide, height), (near - wide, height)], path)
    roughen(canvas, dice, horizon, height, dice.uniform(0.1, 0.4), dice.whole(0, 3), dice.uniform(1, 2.5))
    for _ in range(dice.whole(0, 40)):
        y = dice.uniform(horizon, height)
        size = (0.01 + 0.05 * (y - horizon) / height) * height
        x = dice.uniform(0, width)
        canvas.line([(x, y), (x + dice.spread(size), y - size)], 1, shade(ground, dice.uniform(0.6, 1.4)))


def shore(canvas: Canvas, dice: Dice, horizon: float) -> None:
    """Draw sky, sea or lake, and sand, snow or stones."""
    width, height = canvas.width, canvas.height
    _sky(canvas, dice, horizon)
    water = palette.vary(dice, dice.pick(((60, 110, 140), (90, 140, 160), (70, 90, 100), (110, 130, 140))))
    if dice.chance(0.4):
        _hill(canvas, dice, horizon, mix(water, (120, 130, 120), 0.5), 0.25 * horizon)
    edge = horizon + dice.uniform(0.05, 0.35) * (height - horizon)
    canvas.gradient(horizon, edge, shade(water, 0.8), shade(water, 1.15))
    roughen(canvas, dice, horizon, edge, dice.uniform(0.3, 0.9), 2, 6)
    sand = palette.vary(dice, dice.pick(((220, 196, 150), (196, 170, 130), (228, 230, 234), (160, 150, 138))))
    canvas.gradient(edge, height, shade(sand, 0.9), sand)
    canvas.rectangle(0, edge, width, edge + 0.01 * height, (235, 238, 240))
    roughen(canvas, dice, edge, height, dice.uniform(0.08, 0.35), dice.whole(0, 3), 1.5)


def _wall_colour(dice: Dice) -> Colour:
    kind = dice.random()
    if kind < 0.45:
        return palette.vary(dice, dice.pick(((220, 210, 194), (204, 204, 200), (190, 176, 156), (232, 222, 210))))
    if kind < 0.65:
        return palette.skin(dice)
    return mix(palette.cloth(dice), (180, 175, 168), dice.uniform(0.2, 0.7))


def _floor(dice: Dice) -> Colour:
    return palette.vary(dice, dice.pick(palette.WOODS if dice.chance(0.6) else GROUNDS), 0.2)


def _wallpaper(canvas: Canvas, dice: Dice, wall: Colour, bottom: float) -> None:
    kind = dice.random()
    tone = shade(wall, dice.uniform(0.8, 1.15)) if dice.chance(0.7) else mix(wall, palette.cloth(dice), 0.5)
    step = dice.uniform(0.03, 0.12) * canvas.width
    across, down = int(canvas.width / step) + 1, int(bottom / step) + 1
    if kind < 0.15:
        for k in range(across):
            canvas.rectangle(k * step, 0, (k + 0.5) * step, bottom, tone)
    elif kind < 0.25:
        for k in range(down):
            canvas.line([(0, k * step), (canvas.width, k * step)], 1, tone)
            for j in range(across):
                x = (j + 0.5 * (k % 2)) * step * 1.6
                canvas.line([(x, k * step), (x, min((k + 1) * step, bottom))], 1, tone)
    elif kind < 0.33:
        for k in range(down):
            for j in range(across):
                canvas.disc((j + 0.5 * (k % 2)) * step, k * step, step * 0.15, tone)
    elif kind < 0.42:
        level = bottom * dice.uniform(0.5, 0.75)
        canvas.rectangle(0, level, canvas.width, bottom, tone)
        canvas.rectangle(0, level, canvas.width, level + 3, shade(tone, 1.2))


def _on_wall(canvas: Canvas, dice: Dice, x: float, horizon: float) -> None:
    kind = dice.random()
    size = dice.uniform(0.1, 0.35) * canvas.height
    y = horizon * dice.uniform(0.1, 0.6)
    frame = palette.paint(dice)
    if kind < 0.35:
        wide, tall = size * dice.uniform(0.5, 1.2), size * dice.uniform(0.7, 1.4)
        canvas.rectangle(x - wide * 1.08, y - tall * 0.08, x + wide * 1.08, y + tall * 1.08, frame)
        sky = mix((200, 220, 240), palette.paint(dice), dice.uniform(0, 0.35))
        canvas.rectangle(x - wide, y, x + wide, y + tall, sky)
        if dice.chance(0.6):
            canvas.ball(
                x + dice.spread(wide * 0.5), y + tall * 0.85, tall * 0.15, palette.vary(dice, dice.pick(palette.LEAVES))
            )
        bars = dice.whole(0, 2)
        for k in range(1, bars + 1):
            across = x - wide + 2 * wide * k / (bars + 1)
            canvas.rectangle(across - 2, y, across + 2, y + tall, frame)
        if dice.chance(0.4):
            cloth = palette.cloth(dice)
            for side in (-1, 1):
                for k in range(3):
                    edge = x + side * wide * (0.8 + 0.18 * k)
                    canvas.rectangle(
                        edge - 0.09 * wide,
                        y - tall * 0.1,
                        edge + 0.09 * wide,
                        y + tall * 1.3,
                        shade(cloth, 0.8 + 0.15 * (k % 2)),
                    )
    elif kind < 0.65:
        wide, tall = size * dice.uniform(0.3, 0.8), size * dice.uniform(0.3, 0.8)
        canvas.rectangle(x - wide, y, x + wide, y + tall, frame)
        canvas.rectangle(x - wide * 0.88, y + tall * 0.1, x + wide * 0.88, y + tall * 0.9, palette.paint(dice))
        for _ in range(dice.whole(0, 3)):
            canvas.disc(
                x + dice.spread(wide * 0.6),
                y + tall * dice.uniform(0.3, 0.7),
                tall * dice.uniform(0.05, 0.2),
                palette.paint(dice),
            )
    elif kind < 0.8:
        wide, tall = size * 0.6, horizon * dice.uniform(0.6, 0.9)
        canvas.rectangle(x - wide, horizon - tall, x + wide, horizon, shade(frame, 0.85))
        for panel in (0.1, 0.55):
            canvas.rectangle(
                x - wide * 0.7,
                horizon - tall * (1 - panel),
                x + wide * 0.7,
                horizon - tall * (0.65 - panel * 0.9),
                shade(frame, 1.05),
            )
        canvas.disc(x + wide * 0.8, horizon - tall * 0.5, wide * 0.08, (220, 200, 120))
    else:
        wide = size * dice.uniform(0.6, 1.4)
        for k in range(dice.whole(1, 3)):
            level = y + k * size * 0.55
            for _ in range(dice.whole(2, 6)):
                small(canvas, dice, x + dice.spread(wide), level, size * 2)
            canvas.rectangle(x - wide, level, x + wide, level + 0.03 * size, shade(frame, 0.8))


def _boards(canvas: Canvas, dice: Dice, floor: Colour, top: float) -> None:
    """Draw the joints of boards or tiles in perspective."""
    kind = dice.random()
    if kind < 0.35:
        return
    width, height = canvas.width, canvas.height
    tone = shade(floor, dice.uniform(0.6, 0.85))
    vanish, count = dice.uniform(0, width), dice.whole(8, 22)
    if kind < 0.8:
        for k in range(-count, 2 * count):
            near = width * k / count * 1.6 - 0.3 * width
            canvas.line([(vanish + (near - vanish) * 0.25, top), (near, height)], 1, tone)
    if kind > 0.55:
        for k in range(1, 14):
            level = top + (height - top) / k
            canvas.line([(0, level), (width, level)], 1, tone)


def _rug(canvas: Canvas, dice: Dice, horizon: float) -> None:
    width, height = canvas.width, canvas.height
    depth = height - horizon
    x, top, bottom = (
        dice.uniform(0, width),
        horizon + depth * dice.uniform(0.1, 0.5),
        horizon + depth * dice.uniform(0.6, 1.1),
    )
    wide = dice.uniform(0.15, 0.5) * width
    one, other = palette.cloth(dice), palette.cloth(dice)
    for k, colour in ((1.0, one), (0.85, other), (0.7, one)):
        canvas.convex(
            [
                (x - wide * 0.75 * k, (top + bottom) / 2 + (top - bottom) / 2 * k),
                (x + wide * 0.75 * k, (top + bottom) / 2 + (top - bottom) / 2 * k),
                (x + wide * k, (top + bottom) / 2 + (bottom - top) / 2 * k),
                (x - wide * k, (top + bottom) / 2 + (bottom - top) / 2 * k),
            ],
            colour,
        )


def _corner(canvas: Canvas, dice: Dice, wall: Colour, horizon: float) -> None:
    """Draw a second wall that comes towards the viewer."""
    width, height = canvas.width, canvas.height
    edge = dice.uniform(0.06, 0.25) * width
    drop = dice.uniform(0.05, 0.3) * height
    points = [(0.0, 0.0), (edge, 0.0), (edge, horizon), (0.0, horizon + drop)]
    if dice.chance(0.5):
        points = [(width - x, y) for x, y in points]
    canvas.convex(points, shade(wall, dice.uniform(0.6, 0.9)))


def _sky(canvas: Canvas, dice: Dice, horizon: float) -> None:
    high, low = dice.pick(
        (
            ((90, 140, 210), (190, 215, 235)), ((150, 170, 190), (205, 210, 215)), ((176, 178, 180), (214, 212, 208)),
            ((80, 96, 150), (240, 190, 150)), ((40, 50, 80), (120, 110, 120)), ((120, 170, 225), (225, 232, 235)),
        )
    )  # fmt: skip
    canvas.gradient(0, horizon + 2, palette.vary(dice, high), palette.vary(dice, low))
    if dice.chance(0.6):
        roughen(canvas, dice, 0, horizon, dice.uniform(0.1, 0.45), 4, dice.uniform(1, 3))


def _house(canvas: Canvas, dice: Dice, left: float, right: float, top: float, base: float) -> None:
    wall = palette.paint(dice) if dice.chance(0.3) else palette.vary(dice, dice.pick(palette.STONES), 0.3)
    canvas.rectangle(left, top, right, base, wall)
    if dice.chance(0.4):
        roof = shade(palette.vary(dice, dice.pick(palette.WOODS)), 0.8)
        canvas.convex([(left - 4, top), ((left + right) / 2, top - 0.25 * (right - left)), (right + 4, top)], roof)
    across = dice.whole(2, 5)
    step = (right - left) / across
    rows = max(min(int((base - top) / max(step * dice.uniform(0.9, 1.6), 8)), 9), 1)
    drop = (base - top) / rows
    glass = mix((50, 62, 76), palette.paint(dice), dice.uniform(0, 0.4))
    frame = shade(wall, dice.pick((0.7, 1.2)))
    for row in range(rows):
        for k in range(across):
            x, y = left + step * (k + 0.5), top + drop * (row + 0.2)
            canvas.rectangle(x - step * 0.3, y - 2, x + step * 0.3, y + drop * 0.58, frame)
            canvas.rectangle(x - step * 0.25, y, x + step * 0.25, y + drop * 0.54, shade(glass, dice.uniform(0.7, 1.5)))
    if dice.chance(0.6):
        shop = palette.paint(dice)
        level = base - min(drop, base - top) * 0.9
        canvas.rectangle(left, level, right, base, shade(shop, 0.5))
        canvas.rectangle(left, level - drop * 0.15, right, level + drop * 0.1, shop)
        for _ in range(dice.whole(0, 5)):
            x = dice.uniform(left, right)
            canvas.rectangle(x - step * 0.12, level + drop * 0.3, x + step * 0.12, base, palette.paint(dice))


def _crossing(canvas: Canvas, dice: Dice, top: float) -> None:
    width, height = canvas.width, canvas.height
    first, last = top + (height - top) * dice.uniform(0.2, 0.6), height * dice.uniform(0.9, 1.2)
    vanish = dice.uniform(0, width)
    for k in range(-4, 14, 2):
        near, edge = width * k / 10, width * (k + 1) / 10
        far = 0.6
        canvas.convex(
            [
                (vanish + (near - vanish) * far, first),
                (vanish + (edge - vanish) * far, first),
                (edge, last),
                (near, last),
            ],
            (216, 214, 208),
        )  # fmt: skip


def _hill(canvas: Canvas, dice: Dice, horizon: float, colour: Colour, tall: float) -> None:
    phase, waves = dice.uniform(0, 6), dice.uniform(1, 3)
    crest = []
    for k in range(13):
        wave = math.sin(phase + k / 12 * waves * math.pi) + 0.3 * math.sin(2.7 * phase + k)
        crest.append((canvas.width * k / 12, horizon - tall * (0.55 + 0.45 * wave)))
    canvas.polygon([(0, horizon + 2), *crest, (canvas.width, horizon + 2)], colour)


def _tree_line(canvas: Canvas, dice: Dice, horizon: float) -> None:
    leaf = palette.vary(dice, dice.pick(palette.LEAVES))
    tall = dice.uniform(0.05, 0.3) * horizon
    for _ in range(dice.whole(12, 30)):
        radius = dice.uniform(0.3, 0.8) * tall
        canvas.disc(
            dice.uniform(0, canvas.width), horizon - dice.random() * tall, radius, shade(leaf, dice.uniform(0.6, 1.1))
        )
    canvas.rectangle(0, horizon - tall * 0.3, canvas.width, horizon, shade(leaf, 0.6))
