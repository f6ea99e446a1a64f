"""Things that are not people, of the same colours and parts: limbs, balls, cloth, poles.

Every thing is drawn standing at (x, y); `size` is the height in canvas pixels of a grown-up at that place, so that a
car and a cup keep their proportions. Functions here draw; `THINGS` says where each belongs and what it counts as.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from earlyexit.sources.scenes import palette
from earlyexit.sources.scenes.canvas import Canvas, Point, capsule
from earlyexit.sources.scenes.dice import Dice
from earlyexit.sources.scenes.palette import Colour, shade
from earlyexit.sources.scenes.people import draw_canopy

Draw = Callable[[Canvas, Dice, float, float, float], None]


@dataclass(frozen=True, slots=True)
class Thing:
    """A kind of thing.

    `category` is its name in the annotations. `indoors`, `outdoors`: how often it is met there. `stand_in`: how much
    more often it stands where a person could, 0 where it is too low; the plainest things do so least, for a person has
    many parts. `height`: about how tall, in grown-ups.
    """

    category: str
    draw: Draw
    indoors: float
    outdoors: float
    stand_in: float
    height: float


def tree(canvas: Canvas, dice: Dice, x: float, y: float, size: float) -> None:
    """Draw a tree: trunk, branches, most often leaves."""
    bark = palette.skin(dice) if dice.chance(0.3) else palette.vary(dice, dice.pick(palette.WOODS))
    tall = dice.uniform(0.9, 2.4) * size
    thick = dice.uniform(0.03, 0.09) * tall
    fork = (x + dice.spread(0.12) * tall, y - dice.uniform(0.3, 0.55) * tall)
    canvas.limb((x, y), fork, thick, thick * 0.7, bark)
    tips: list[Point] = []
    for _ in range(dice.whole(2, 5)):
        angle = -math.pi / 2 + dice.spread(1.3)
        middle = _along(fork, angle, dice.uniform(0.12, 0.25) * tall)
        canvas.limb(fork, middle, thick * 0.55, thick * 0.4, bark)
        tip = _along(middle, angle + dice.spread(1.1), dice.uniform(0.1, 0.25) * tall)
        canvas.limb(middle, tip, thick * 0.4, thick * 0.2, bark)
        tips.append(tip)
    if dice.chance(0.3):
        return
    leaf = palette.vary(dice, dice.pick(palette.LEAVES))
    spread = dice.uniform(0.08, 0.2) * tall
    for tip in [*tips, fork]:
        for _ in range(dice.whole(2, 5)):
            radius = dice.uniform(0.3, 1.0) * spread
            tint = shade(leaf, dice.uniform(0.7, 1.25))
            canvas.ball(tip[0] + dice.spread(spread), tip[1] + dice.spread(spread), radius, tint)


def bush(canvas: Canvas, dice: Dice, x: float, y: float, size: float) -> None:
    """Draw a bush or a hedge of lit balls."""
    leaf = palette.vary(dice, dice.pick(palette.LEAVES))
    wide, tall = dice.uniform(0.2, 0.9) * size, dice.uniform(0.3, 0.8) * size
    for _ in range(dice.whole(8, 18)):
        radius = dice.uniform(0.12, 0.3) * tall
        tint = shade(leaf, dice.uniform(0.65, 1.2))
        canvas.ball(x + dice.spread(wide), y - radius - dice.random() * (tall - radius), radius, tint)


def post(canvas: Canvas, dice: Dice, x: float, y: float, size: float) -> None:
    """Draw a pole with one ball or more on top: a lamp post, a bollard, a pin."""
    tall = dice.uniform(0.5, 1.8) * size
    thick = dice.uniform(0.012, 0.07) * tall
    colour, globe = palette.paint(dice), _ball_colour(dice)
    canvas.limb((x, y), (x + dice.spread(0.04) * tall, y - tall), thick * 1.2, thick, colour)
    if dice.chance(0.4):
        canvas.rectangle(x - thick * 2, y - tall * 0.08, x + thick * 2, y, shade(colour, 0.7))
    radius = dice.uniform(0.05, 0.1) * tall
    if dice.chance(0.6):
        canvas.ball(x, y - tall - radius * 0.6, radius, globe)
        return
    for k in (-1, 1):
        arm = (x + k * radius * 2.5, y - tall * 0.93)
        canvas.limb((x, y - tall * 0.85), arm, thick * 0.7, thick * 0.6, colour)
        canvas.ball(*arm, radius, globe)


def sign(canvas: Canvas, dice: Dice, x: float, y: float, size: float) -> None:
    """Draw a street sign: a disc, a triangle, an octagon or a board on a pole."""
    tall = dice.uniform(0.8, 1.6) * size
    thick = max(dice.uniform(0.01, 0.02) * tall, 1)
    radius = dice.uniform(0.08, 0.16) * tall
    one, other = palette.paint(dice), palette.cloth(dice)
    canvas.rectangle(x - thick, y - tall, x + thick, y, palette.vary(dice, dice.pick(palette.METALS)))
    top = y - tall
    shape = dice.whole(0, 3)
    if shape == 0:
        canvas.disc(x, top, radius, one)
        canvas.disc(x, top, radius * 0.72, other)
    elif shape == 1:
        canvas.convex([_along((x, top), -math.pi / 2 + k * math.tau / 3, radius * 1.2) for k in range(3)], one)
        canvas.convex([_along((x, top), -math.pi / 2 + k * math.tau / 3, radius * 0.7) for k in range(3)], other)
    elif shape == 2:
        canvas.convex([_along((x, top), math.pi / 8 + k * math.pi / 4, radius) for k in range(8)], one)
        canvas.rectangle(x - radius * 0.6, top - radius * 0.2, x + radius * 0.6, top + radius * 0.2, other)
    else:
        wide, high = radius * dice.uniform(0.9, 2.2), radius * dice.uniform(0.6, 1.3)
        canvas.rectangle(x - wide, top - high, x + wide, top + high, one)
        for k in range(dice.whole(1, 3)):
            level = top - high * 0.5 + k * high * 0.45
            canvas.rectangle(x - wide * 0.8, level, x + wide * dice.uniform(0, 0.8), level + high * 0.2, other)


def coat_rack(canvas: Canvas, dice: Dice, x: float, y: float, size: float) -> None:
    """Draw a stand with coats, a bag, a scarf and a hat: all the cloth of a person, and nobody."""
    tall = dice.uniform(0.95, 1.15) * size
    thick = 0.014 * tall
    wood = palette.paint(dice)
    for k in (-1, 0, 1):
        canvas.limb((x, y - 0.12 * tall), (x + k * 0.13 * tall, y), thick, thick, wood)
    canvas.limb((x, y), (x, y - tall), thick, thick, wood)
    for _ in range(dice.whole(1, 3)):
        shift = dice.spread(0.14) * tall
        garment(canvas, dice, x + shift, y - dice.uniform(0.82, 0.94) * tall, tall)
    if dice.chance(0.25):
        colour = palette.cloth(dice)
        canvas.ellipse(x, y - tall, (0.1 * tall, 0), (0, 0.018 * tall), shade(colour, 0.8))
        canvas.convex([(x - 0.05 * tall, y - tall), (x, y - 1.09 * tall), (x + 0.05 * tall, y - tall)], colour)
    elif dice.chance(0.2):
        canvas.ball(x, y - tall, 0.045 * tall, palette.paint(dice))


def garment(canvas: Canvas, dice: Dice, x: float, y: float, size: float) -> None:
    """Draw a hanging coat, shirt, dress, pair of trousers or scarf, hung at (x, y)."""
    colour, other = palette.cloth(dice), palette.cloth(dice)
    kind = dice.whole(0, 3)
    if kind == 0:
        for k in (-1, 1):
            hip = (x + k * 0.035 * size, y + 0.03 * size)
            ankle = (hip[0] + dice.spread(0.03) * size, y + 0.45 * size)
            canvas.limb(hip, ankle, 0.045 * size, 0.03 * size, colour)
        return
    if kind == 3 and dice.chance(0.5):
        canvas.limb((x, y), (x + dice.spread(0.05) * size, y + 0.4 * size), 0.02 * size, 0.025 * size, colour)
        return
    long = dice.uniform(0.28, 0.55) * size
    wide = dice.uniform(0.07, 0.1) * size
    for k in (-1, 1):
        shoulder = (x + k * wide, y + 0.04 * size)
        cuff = (x + k * (wide + dice.uniform(0.02, 0.09) * size), y + dice.uniform(0.2, 0.33) * size)
        canvas.limb(shoulder, cuff, 0.034 * size, 0.028 * size, colour)
    body: list[Point] = []
    for k in (-1, 1):
        start = (x + k * wide * 0.75, y + 0.04 * size)
        end = (x + k * wide * dice.uniform(0.7, 1.3), y + long)
        body += capsule(start, end, 0.03 * size, 0.02 * size)
    canvas.hull(body, shade(colour, 0.9))
    if dice.chance(0.4):
        canvas.line([(x, y + 0.03 * size), (x, y + long)], 0.015 * size, other)
    elif dice.chance(0.4):
        for k in range(1, 4):
            canvas.line([(x - wide, y + long * k / 4), (x + wide, y + long * k / 4)], 0.02 * size, other)


def clothesline(canvas: Canvas, dice: Dice, x: float, y: float, size: float) -> None:
    """Draw washing between two poles."""
    wide, tall = dice.uniform(0.3, 0.9) * size, dice.uniform(0.85, 1.1) * size
    metal = palette.vary(dice, dice.pick(palette.METALS))
    for k in (-1, 1):
        canvas.line([(x + k * wide, y), (x + k * wide, y - tall)], 0.02 * size, metal)
    canvas.line([(x - wide, y - tall), (x, y - tall * 0.95), (x + wide, y - tall)], 0.008 * size, metal)
    count = dice.whole(2, 5)
    for k in range(count):
        garment(canvas, dice, x + wide * (2 * (k + 0.5) / count - 1), y - tall * 0.95, size)


def jumble(canvas: Canvas, dice: Dice, x: float, y: float, size: float) -> None:
    """Draw the parts of a person in another order: limbs, a trunk of cloth, a ball with a band.

    Three orders: limbs that spread from one point with balls at their ends; a heap with balls at the ground; a stand
    with the ball under or inside the cloth.
    """
    skin, top, bottom, hair = palette.skin(dice), palette.cloth(dice), palette.cloth(dice), palette.hair(dice)
    order = dice.whole(0, 2)
    if order == 0:
        middle = (x, y - dice.uniform(0.15, 0.5) * size)
        _cushion(canvas, dice, middle, size, top)
        for k in range(dice.whole(4, 7)):
            tip = _crooked(canvas, dice, middle, dice.random() * math.tau, y, size, dice.pick((skin, bottom, top)))
            if k < 3:
                _knob(canvas, dice, tip, size, skin, hair)
        return
    if order == 1:
        wide = dice.uniform(0.2, 0.45) * size
        for _ in range(dice.whole(3, 5)):
            start = (x + dice.spread(wide), y - dice.uniform(0.02, 0.1) * size)
            _crooked(canvas, dice, start, -math.pi / 2 + dice.spread(1.5), y, size, dice.pick((skin, bottom, top)))
        for _ in range(dice.whole(1, 3)):
            _cushion(canvas, dice, (x + dice.spread(wide), y - 0.14 * size), size, dice.pick((top, bottom)))
        for _ in range(dice.whole(1, 2)):
            _knob(canvas, dice, (x + dice.spread(wide), y - 0.07 * size), size, skin, hair)
        return
    high = y - dice.uniform(0.6, 0.85) * size
    for _ in range(dice.whole(1, 3)):
        foot = (x + dice.spread(0.2) * size, y)
        canvas.limb((x, high), foot, 0.045 * size, 0.03 * size, dice.pick((skin, bottom)))
    low = y - dice.uniform(0.1, 0.35) * size
    _cushion(canvas, dice, (x, high + 0.1 * size), size, top)
    _knob(
        canvas, dice, (x + dice.spread(0.1) * size, low if dice.chance(0.6) else high + 0.12 * size), size, skin, hair
    )
    for _ in range(dice.whole(1, 3)):
        start = (x + dice.spread(0.1) * size, dice.uniform(high, low))
        _crooked(canvas, dice, start, dice.random() * math.tau, y, size, dice.pick((skin, top)))


def _crooked(
    canvas: Canvas, dice: Dice, start: Point, angle: float, floor: float, size: float, colour: Colour
) -> Point:
    """Draw a limb of two pieces that stays above `floor`; return its end."""
    middle = _along(start, angle, dice.uniform(0.13, 0.24) * size)
    middle = (middle[0], min(middle[1], floor))
    end = _along(middle, angle + dice.spread(1.6), dice.uniform(0.12, 0.22) * size)
    end = (end[0], min(end[1], floor))
    thick = dice.uniform(0.03, 0.055) * size
    canvas.limb(middle, end, thick * 0.75, thick * 0.6, colour)
    canvas.limb(start, middle, thick, thick * 0.75, colour)
    return end


def _knob(canvas: Canvas, dice: Dice, at: Point, size: float, colour: Colour, cap: Colour) -> None:
    """Draw a ball with a band of another colour around it, as large as a head."""
    radius = dice.uniform(0.055, 0.08) * size
    canvas.ball(*at, radius, colour)
    turn = dice.random() * math.tau
    canvas.line([_along(at, turn, radius * 0.85), _along(at, turn, -radius * 0.85)], radius * 0.6, cap)


def _cushion(canvas: Canvas, dice: Dice, at: Point, size: float, colour: Colour) -> None:
    """Draw a piece of stuffed cloth as large as a trunk, turned at random."""
    angle = dice.random() * math.pi
    far, wide = 0.12 * size, dice.uniform(0.07, 0.11) * size
    start, end = _along(at, angle, far), _along(at, angle, -far)
    canvas.convex(capsule(start, end, wide * 1.1, wide), shade(colour, 0.72))
    canvas.convex(capsule(start, end, wide * 0.8, wide * 0.75), colour)
    if dice.chance(0.4):
        other = palette.cloth(dice)
        for k in (-0.5, 0.0, 0.5):
            centre = _along(at, angle, far * k)
            canvas.line(
                [_along(centre, angle + math.pi / 2, wide), _along(centre, angle - math.pi / 2, wide)],
                0.025 * size,
                other,
            )


def animal(canvas: Canvas, dice: Dice, x: float, y: float, size: float) -> None:
    """Draw a four-legged animal: dog, cat, sheep, cow, horse, by its proportions."""
    large = dice.chance(0.45)
    tall = (dice.uniform(0.55, 0.95) if large else dice.uniform(0.22, 0.45)) * size
    coat, other = palette.fur(dice), palette.fur(dice)
    long = dice.uniform(0.45, 0.75) * tall * 2 * dice.uniform(0.55, 0.9)
    girth = dice.uniform(0.16, 0.28) * tall
    leg = dice.uniform(0.05, 0.09) * tall
    way = dice.side()
    back = y - tall + girth
    rear, front = x - way * long / 2, x + way * long / 2
    sitting = not large and dice.chance(0.3)
    if sitting:
        rear, back_rear = x - way * long * 0.25, y - girth
        front = x + way * long * 0.15
    else:
        back_rear = back
    swing = dice.spread(0.2) * tall
    for k, far in ((rear, True), (front, True), (rear, False), (front, False)):
        top = back_rear if k == rear else back
        colour = shade(coat, 0.75) if far else coat
        stride = swing if far == (k == rear) else -swing
        knee = (k + stride * 0.6 + way * leg * (0.8 if k == front else -0.8), (top + y) / 2)
        canvas.limb((k, top), knee, leg * 1.5, leg, colour)
        canvas.limb(knee, (k + stride, y), leg, leg * 0.8, colour)
    canvas.limb((rear, back_rear), (front, back), girth * dice.uniform(0.8, 1.1), girth, coat)
    if dice.chance(0.35):
        canvas.disc(x + dice.spread(0.3) * long, (back + back_rear) / 2, girth * 0.6, other)
    tail = _along((rear - way * girth * 0.8, back_rear), math.pi / 2 - way * dice.uniform(-2.6, -0.2), 0.35 * tall)
    canvas.limb((rear - way * girth * 0.6, back_rear), tail, leg * 0.7, leg * 0.4, shade(coat, 0.85))
    neck = _along((front, back), -math.pi / 2 + way * dice.uniform(0.2, 1.1), dice.uniform(0.25, 0.5) * tall)
    canvas.limb((front, back), neck, girth * 0.75, girth * 0.5, coat)
    muzzle = (neck[0] + way * dice.uniform(0.15, 0.28) * tall, neck[1] + dice.uniform(0, 0.14) * tall)
    head = dice.uniform(0.09, 0.14) * tall
    for k in (0.0, 0.6):
        ear = (neck[0] - way * head * k, neck[1] - head * dice.uniform(1.2, 2.2))
        canvas.limb((neck[0] - way * head * k, neck[1]), ear, head * 0.4, head * 0.15, shade(coat, 0.8))
    canvas.limb(neck, muzzle, head, head * 0.6, coat)
    if head > 4:
        canvas.disc(neck[0] + way * head * 0.4, neck[1] - head * 0.3, head * 0.16, (20, 18, 16))
        canvas.disc(muzzle[0] + way * head * 0.5, muzzle[1], head * 0.22, (30, 24, 24))


def car(canvas: Canvas, dice: Dice, x: float, y: float, size: float) -> None:
    """Draw a car from the side."""
    colour = palette.paint(dice)
    long, tall = dice.uniform(1.9, 2.6) * size, dice.uniform(0.72, 0.95) * size
    wheel = 0.17 * size
    way = dice.side()
    left, right, belt, floor = x - long / 2, x + long / 2, y - tall * 0.58, y - wheel * 0.7
    nose = way * long * 0.12
    roof = [
        (x - long * 0.34 - nose, belt),
        (x - long * 0.2 - nose * 0.5, y - tall),
        (x + long * 0.2 - nose * 0.5, y - tall),
        (x + long * 0.34 - nose, belt),
    ]  # fmt: skip
    canvas.convex(roof, shade(colour, 0.85))
    glass = palette.mix((60, 80, 96), palette.cloth(dice), 0.2)
    canvas.convex([(x + (px - x) * 0.88 - nose * 0.1, belt + (py - belt) * 0.84) for px, py in roof], glass)
    pillar = x - nose * 0.8
    canvas.rectangle(pillar - 0.02 * size, y - tall, pillar + 0.02 * size, belt, shade(colour, 0.8))
    body = capsule(
        (left + tall * 0.2, (belt + floor) / 2), (right - tall * 0.2, (belt + floor) / 2), tall * 0.24, tall * 0.24
    )
    canvas.convex(body, shade(colour, 0.75))
    canvas.rectangle(left + tall * 0.08, belt, right - tall * 0.08, (belt + floor) / 2, colour)
    canvas.line([(x, belt), (x, floor)], 0.01 * size, shade(colour, 0.5))
    for k in (-0.3, 0.3):
        canvas.disc(x + long * k, y - wheel, wheel, (28, 28, 30))
        canvas.disc(x + long * k, y - wheel, wheel * 0.55, (150, 150, 152))
    canvas.disc(x + way * long * 0.47, belt + tall * 0.12, tall * 0.06, (250, 240, 200))


def bus(canvas: Canvas, dice: Dice, x: float, y: float, size: float) -> None:
    """Draw a bus, a van or a caravan."""
    colour, other = palette.paint(dice), palette.cloth(dice)
    long, tall = dice.uniform(2.0, 4.5) * size, dice.uniform(1.2, 1.7) * size
    left, right, top, floor = x - long / 2, x + long / 2, y - tall, y - 0.14 * size
    canvas.rectangle(left, top, right, floor, colour)
    canvas.rectangle(left, floor - tall * 0.3, right, floor - tall * 0.2, other)
    panes = dice.whole(3, 6)
    step = long / panes
    for k in range(panes):
        edge = left + k * step + step * 0.1
        canvas.rectangle(edge, top + tall * 0.14, edge + step * 0.8, top + tall * 0.5, (58, 74, 88))
    for wheel in (-0.32, 0.32):
        canvas.disc(x + long * wheel, y - 0.18 * size, 0.18 * size, (30, 30, 32))
        canvas.disc(x + long * wheel, y - 0.18 * size, 0.09 * size, (140, 140, 142))


def bicycle(canvas: Canvas, dice: Dice, x: float, y: float, size: float) -> None:
    """Draw a bicycle."""
    colour = palette.paint(dice)
    radius = 0.2 * size
    thick = max(0.018 * size, 1)
    rear, front = (x - 0.32 * size, y - radius), (x + 0.32 * size, y - radius)
    for hub in (rear, front):
        ring = [_along(hub, k * math.tau / 16, radius) for k in range(17)]
        canvas.line(ring, thick, (36, 36, 38))
    crank, saddle, bar = (
        (x - 0.04 * size, y - radius),
        (x - 0.1 * size, y - 0.52 * size),
        (x + 0.24 * size, y - 0.52 * size),
    )
    canvas.line([rear, saddle, crank, rear], thick, colour)
    canvas.line([saddle, bar, crank], thick, colour)
    canvas.line(
        [front, bar, (bar[0] + 0.02 * size, bar[1] - 0.1 * size), (bar[0] + 0.1 * size, bar[1] - 0.1 * size)],
        thick,
        colour,
    )
    canvas.limb(
        (saddle[0] - 0.05 * size, saddle[1] - 0.04 * size),
        (saddle[0] + 0.05 * size, saddle[1] - 0.04 * size),
        0.02 * size,
        0.015 * size,
        (40, 34, 30),
    )


def chair(canvas: Canvas, dice: Dice, x: float, y: float, size: float) -> None:
    """Draw a chair or a stool, sometimes with a coat over it."""
    colour = palette.paint(dice)
    wide, seat = dice.uniform(0.11, 0.17) * size, y - dice.uniform(0.24, 0.4) * size
    leg = max(0.018 * size, 1)
    way = dice.side()
    tall = dice.uniform(0.22, 0.4) * size
    for k, lift in ((-1, 0.0), (1, 0.0), (-0.7, 0.04), (0.7, 0.04)):
        tone = shade(colour, 0.6 if lift else 0.85)
        canvas.line([(x + k * wide, seat), (x + k * wide * 1.1, y - lift * size)], leg, tone)
    if dice.chance(0.8):
        upright = x - way * wide
        lean = -way * dice.uniform(0, 0.06) * size
        if dice.chance(0.5):
            canvas.convex(
                [
                    (upright, seat),
                    (upright + lean, seat - tall),
                    (upright + lean + way * leg * 2, seat - tall),
                    (upright + way * leg * 2, seat),
                ],
                colour,
            )
        else:
            canvas.convex(
                [(x - wide, seat), (x - wide, seat - tall), (x + wide, seat - tall), (x + wide, seat)],
                shade(colour, 0.8),
            )
            canvas.rectangle(x - wide * 0.7, seat - tall * 0.8, x + wide * 0.7, seat - tall * 0.2, shade(colour, 1.05))
        if dice.chance(0.25):
            garment(canvas, dice, x - way * wide * 0.4, seat - tall, size)
    canvas.convex(capsule((x - wide, seat), (x + wide, seat), 0.025 * size, 0.025 * size), colour)


def sofa(canvas: Canvas, dice: Dice, x: float, y: float, size: float) -> None:
    """Draw a sofa or an armchair with cushions."""
    colour = palette.paint(dice)
    wide, tall = dice.uniform(0.28, 0.7) * size, dice.uniform(0.38, 0.5) * size
    back = capsule((x - wide * 0.85, y - tall * 0.8), (x + wide * 0.85, y - tall * 0.8), tall * 0.2, tall * 0.2)
    canvas.hull([*back, (x - wide, y - 4), (x + wide, y - 4)], shade(colour, 0.75))
    for _ in range(dice.whole(0, 3)):
        canvas.ball(x + dice.spread(wide * 0.8), y - tall * 0.62, tall * 0.2, palette.paint(dice))
    canvas.rectangle(x - wide, y - tall * 0.5, x + wide, y - tall * 0.05, colour)
    canvas.rectangle(x - wide * 0.8, y - tall * 0.3, x + wide * 0.8, y - tall * 0.05, shade(colour, 0.85))
    for k in (-1, 1):
        canvas.limb((x + k * wide, y - tall * 0.55), (x + k * wide, y - tall * 0.08), tall * 0.14, tall * 0.14, colour)


def table(canvas: Canvas, dice: Dice, x: float, y: float, size: float) -> None:
    """Draw a table with things on it, or a desk."""
    colour = palette.paint(dice)
    wide, top = dice.uniform(0.25, 0.8) * size, y - dice.uniform(0.36, 0.46) * size
    thick = dice.uniform(0.015, 0.04) * size
    if dice.chance(0.25):
        canvas.rectangle(x - wide * 0.92, top, x + wide * 0.92, y, shade(colour, 0.7))
    for k in (-0.9, 0.9, -0.7, 0.7):
        canvas.rectangle(
            x + k * wide - thick * 0.7,
            top,
            x + k * wide + thick * 0.7,
            y - (0 if abs(k) > 0.8 else thick),
            shade(colour, 0.65 + 0.2 * abs(k)),
        )
    for _ in range(dice.whole(0, 4)):
        small(canvas, dice, x + dice.spread(wide), top - thick * 0.5, size)
    canvas.rectangle(x - wide, top - thick, x + wide, top + thick, colour)


def small(canvas: Canvas, dice: Dice, x: float, y: float, size: float) -> None:
    """Draw a ball, bottle, box, cup or vase with flowers that stands at (x, y)."""
    colour = palette.paint(dice)
    scale = dice.uniform(0.03, 0.09) * size
    kind = dice.whole(0, 4)
    if kind == 0:
        canvas.ball(x, y - scale, scale, _ball_colour(dice))
    elif kind == 1:
        canvas.limb((x, y - scale * 0.6), (x, y - scale * 1.8), scale * 0.5, scale * 0.45, colour)
        canvas.limb((x, y - scale * 2), (x, y - scale * 2.9), scale * 0.2, scale * 0.18, shade(colour, 0.8))
    elif kind == 2:
        canvas.rectangle(x - scale, y - scale * 1.3, x + scale, y, shade(colour, 0.8))
        canvas.rectangle(x - scale, y - scale * 1.3, x + scale * 0.3, y, colour)
    elif kind == 3:
        canvas.convex(
            [(x - scale * 0.6, y - scale), (x + scale * 0.6, y - scale), (x + scale * 0.4, y), (x - scale * 0.4, y)],
            colour,
        )
    else:
        for _ in range(4):
            bloom = (x + dice.spread(scale * 1.4), y - scale * dice.uniform(2.2, 3.4))
            canvas.line([(x, y - scale), bloom], scale * 0.15, (70, 110, 50))
            canvas.disc(*bloom, scale * 0.45, palette.paint(dice))
        canvas.limb((x, y - scale * 0.5), (x, y - scale * 1.4), scale * 0.6, scale * 0.35, colour)


def plinth(canvas: Canvas, dice: Dice, x: float, y: float, size: float) -> None:
    """Draw the plinth of a statue, with a ball, an urn or nothing on it."""
    stone = palette.vary(dice, dice.pick(palette.STONES)) if dice.chance(0.7) else palette.paint(dice)
    wide, tall = dice.uniform(0.1, 0.2) * size, dice.uniform(0.4, 0.9) * size
    canvas.rectangle(x - wide, y - tall, x + wide, y, shade(stone, 0.75))
    canvas.rectangle(x - wide, y - tall, x + wide * 0.3, y, stone)
    canvas.rectangle(x - wide * 1.25, y - 0.05 * size, x + wide * 1.25, y, shade(stone, 0.9))
    canvas.rectangle(x - wide * 1.2, y - tall - 0.04 * size, x + wide * 1.2, y - tall, shade(stone, 1.1))
    top = y - tall - 0.04 * size
    kind = dice.whole(0, 3)
    if kind == 0:
        canvas.ball(x, top - wide * 0.7, wide * 0.7, _ball_colour(dice))
    elif kind == 1:
        canvas.limb((x, top - wide * 0.5), (x, top - wide * 1.8), wide * 0.4, wide * 0.75, stone)
    elif kind == 2:
        for _ in range(5):
            canvas.limb(
                (x, top),
                _along((x, top), -math.pi / 2 + dice.spread(1.2), 0.3 * size),
                0.02 * size,
                0.012 * size,
                palette.paint(dice),
            )


def lamp(canvas: Canvas, dice: Dice, x: float, y: float, size: float) -> None:
    """Draw a standard lamp."""
    tall = dice.uniform(0.7, 1.05) * size
    metal, cover = palette.vary(dice, dice.pick(palette.METALS)), palette.paint(dice)
    canvas.ellipse(x, y - 0.01 * size, (0.09 * size, 0), (0, 0.02 * size), shade(metal, 0.8))
    canvas.limb((x, y), (x, y - tall), 0.012 * size, 0.012 * size, metal)
    low, high, drop = dice.uniform(0.09, 0.16) * size, dice.uniform(0.04, 0.1) * size, dice.uniform(0.13, 0.22) * size
    canvas.convex(
        [(x - low, y - tall + drop), (x - high, y - tall), (x + high, y - tall), (x + low, y - tall + drop)], cover
    )


def shelf(canvas: Canvas, dice: Dice, x: float, y: float, size: float) -> None:
    """Draw a cupboard or a shelf with books and things."""
    colour = palette.vary(dice, dice.pick(palette.WOODS)) if dice.chance(0.6) else palette.paint(dice)
    wide, tall = dice.uniform(0.2, 0.5) * size, dice.uniform(0.6, 1.2) * size
    canvas.rectangle(x - wide, y - tall, x + wide, y, shade(colour, 0.75))
    rows = dice.whole(2, 5)
    step = tall / rows
    for k in range(rows):
        bottom = y - k * step
        canvas.rectangle(
            x - wide * 0.93, bottom - step * 0.92, x + wide * 0.93, bottom - step * 0.08, shade(colour, 0.4)
        )
        if dice.chance(0.3):
            small(canvas, dice, x + dice.spread(wide * 0.7), bottom - step * 0.08, min(size, step * 4))
            continue
        left = x - wide * 0.9
        while left < x + wide * 0.8:
            thick = dice.uniform(0.06, 0.18) * wide
            canvas.rectangle(
                left, bottom - step * dice.uniform(0.5, 0.85), left + thick, bottom - step * 0.08, palette.paint(dice)
            )
            left += thick


def pot(canvas: Canvas, dice: Dice, x: float, y: float, size: float) -> None:
    """Draw a plant in a pot: leaves on stems, or a cactus with arms."""
    colour, leaf = palette.paint(dice), palette.vary(dice, dice.pick(palette.LEAVES))
    wide, tall = dice.uniform(0.06, 0.12) * size, dice.uniform(0.12, 0.24) * size
    top = (x, y - tall)
    if dice.chance(0.3):
        stem = dice.uniform(0.3, 0.6) * size
        canvas.limb(top, (x, top[1] - stem), 0.05 * size, 0.045 * size, leaf)
        for k in (-1, 1):
            elbow = (x + k * 0.13 * size, top[1] - stem * dice.uniform(0.3, 0.6))
            canvas.limb((x, elbow[1]), elbow, 0.03 * size, 0.03 * size, leaf)
            canvas.limb(elbow, (elbow[0], elbow[1] - 0.15 * size), 0.03 * size, 0.025 * size, leaf)
    else:
        for _ in range(dice.whole(5, 11)):
            tip = _along(top, -math.pi / 2 + dice.spread(1.5), dice.uniform(0.2, 0.6) * size)
            middle = ((top[0] + tip[0]) / 2 + dice.spread(0.04) * size, (top[1] + tip[1]) / 2)
            canvas.limb(middle, tip, 0.035 * size, 0.008 * size, shade(leaf, dice.uniform(0.75, 1.2)))
            canvas.limb(top, middle, 0.008 * size, 0.03 * size, shade(leaf, 0.85))
    canvas.convex(
        [(x - wide, y - tall), (x + wide, y - tall), (x + wide * 0.75, y), (x - wide * 0.75, y)], shade(colour, 0.75)
    )
    canvas.convex([(x - wide, y - tall), (x + wide * 0.3, y - tall), (x + wide * 0.2, y), (x - wide * 0.75, y)], colour)


def balls(canvas: Canvas, dice: Dice, x: float, y: float, size: float) -> None:
    """Draw some balls or fruit on the ground, or a bunch of balloons."""
    if dice.chance(0.35):
        hand = (x, y - dice.uniform(0, 0.3) * size)
        for _ in range(dice.whole(2, 6)):
            bloom = (x + dice.spread(0.25) * size, y - dice.uniform(0.6, 1.15) * size)
            canvas.line([hand, bloom], max(0.006 * size, 1), (90, 90, 90))
            canvas.ball(*bloom, dice.uniform(0.05, 0.1) * size, _ball_colour(dice))
        return
    for _ in range(dice.whole(1, 5)):
        radius = dice.uniform(0.04, 0.12) * size
        canvas.ball(x + dice.spread(0.35) * size, y - radius, radius, _ball_colour(dice))


def bin_(canvas: Canvas, dice: Dice, x: float, y: float, size: float) -> None:
    """Draw a bin, a hydrant or a mail box: a short body, often with a domed top."""
    colour, other = palette.paint(dice), palette.paint(dice)
    wide, tall = dice.uniform(0.08, 0.17) * size, dice.uniform(0.3, 0.65) * size
    canvas.limb((x, y - wide), (x, y - tall), wide, wide * dice.uniform(0.85, 1.1), colour)
    canvas.rectangle(x - wide * 1.05, y - wide * 0.6, x + wide * 1.05, y, shade(colour, 0.75))
    top = dice.random()
    if top < 0.15:
        canvas.ball(x, y - tall - wide * 0.9, wide * 0.55, other)
    elif top < 0.5:
        for k in (-1, 1):
            canvas.limb(
                (x + k * wide, y - tall * 0.7), (x + k * wide * 1.7, y - tall * 0.65), wide * 0.3, wide * 0.3, other
            )
    if dice.chance(0.5):
        canvas.rectangle(x - wide * 0.7, y - tall * 0.75, x + wide * 0.7, y - tall * 0.6, shade(other, 0.8))


def parasol(canvas: Canvas, dice: Dice, x: float, y: float, size: float) -> None:
    """Draw a standing or a lying parasol."""
    one, other = palette.cloth(dice), palette.paint(dice)
    tall, radius = dice.uniform(0.6, 1.4) * size, dice.uniform(0.35, 0.7) * size
    canvas.line([(x, y), (x, y - tall)], 0.025 * size, palette.vary(dice, dice.pick(palette.WOODS)))
    draw_canopy(canvas, x, y - tall, radius, one, other)


def luggage(canvas: Canvas, dice: Dice, x: float, y: float, size: float) -> None:
    """Draw suitcases, bags and boxes in a stack."""
    level = y
    for _ in range(dice.whole(1, 4)):
        colour = palette.paint(dice)
        wide, tall = dice.uniform(0.08, 0.24) * size, dice.uniform(0.1, 0.3) * size
        left = x + dice.spread(0.08) * size
        canvas.rectangle(left - wide, level - tall, left + wide, level, shade(colour, 0.75))
        canvas.rectangle(left - wide, level - tall, left + wide * 0.4, level - tall * 0.1, colour)
        canvas.line(
            [(left - wide * 0.3, level - tall), (left, level - tall * 1.25), (left + wide * 0.3, level - tall)],
            0.015 * size,
            shade(colour, 0.5),
        )
        level -= tall


def fence(canvas: Canvas, dice: Dice, x: float, y: float, size: float) -> None:
    """Draw a piece of fence or a railing, balls on its posts."""
    colour, knob = palette.paint(dice), _ball_colour(dice)
    tall, step = dice.uniform(0.35, 0.7) * size, dice.uniform(0.08, 0.22) * size
    posts = dice.whole(4, 9)
    left = x - step * posts / 2
    thick = dice.uniform(0.012, 0.04) * size
    for level in (0.3, 0.8):
        canvas.rectangle(
            left - step * 0.5,
            y - tall * level - thick * 0.6,
            left + step * (posts - 0.5),
            y - tall * level + thick * 0.6,
            shade(colour, 0.8),
        )
    topped = dice.chance(0.4)
    for k in range(posts):
        canvas.rectangle(left + step * k - thick, y - tall, left + step * k + thick, y, colour)
        if topped:
            canvas.disc(left + step * k, y - tall, thick * 1.6, knob)


def easel(canvas: Canvas, dice: Dice, x: float, y: float, size: float) -> None:
    """Draw something on three legs: an easel with a canvas, a tripod with a box or a ball on top."""
    colour = palette.paint(dice)
    tall, thick = dice.uniform(0.65, 1.1) * size, dice.uniform(0.012, 0.03) * size
    top = (x, y - tall)
    for k in (-1, 0, 1):
        canvas.limb(top, (x + k * dice.uniform(0.1, 0.25) * size, y), thick, thick * 0.8, colour)
    kind = dice.whole(0, 2)
    wide = dice.uniform(0.06, 0.2) * size
    if kind == 0:
        level = y - tall * 0.4
        canvas.rectangle(x - wide, level - wide * 1.8, x + wide, level, palette.paint(dice))
        canvas.rectangle(x - wide * 0.8, level - wide * 1.5, x + wide * 0.8, level - wide * 0.3, palette.paint(dice))
    elif kind == 1:
        canvas.rectangle(x - wide * 0.6, top[1] - wide * 0.8, x + wide * 0.6, top[1], palette.paint(dice))
        canvas.disc(x, top[1] - wide * 0.4, wide * 0.25, (20, 22, 30))
    else:
        canvas.ball(x, top[1], wide * 0.5, _ball_colour(dice))


THINGS: tuple[Thing, ...] = (
    Thing("tree", tree, 0.2, 3.0, 1.2, 1.6),
    Thing("plant", bush, 0.1, 1.5, 0.0, 0.6),
    Thing("plant", pot, 1.5, 0.6, 0.0, 0.7),
    Thing("pole", post, 0.8, 1.5, 0.4, 1.1),
    Thing("pole", sign, 0.3, 1.5, 0.4, 1.2),
    Thing("clothes", coat_rack, 1.0, 0.4, 0.7, 1.05),
    Thing("clothes", clothesline, 0.5, 0.6, 1.5, 1.0),
    Thing("object", jumble, 0.4, 0.4, 0.3, 0.8),
    Thing("animal", animal, 1.4, 2.4, 1.5, 0.7),
    Thing("vehicle", car, 0.0, 1.5, 0.0, 0.85),
    Thing("vehicle", bus, 0.0, 0.5, 0.0, 1.4),
    Thing("vehicle", bicycle, 0.3, 1.0, 0.0, 0.6),
    Thing("chair", chair, 2.0, 0.6, 0.5, 0.65),
    Thing("chair", sofa, 1.2, 0.2, 0.0, 0.45),
    Thing("table", table, 1.6, 0.4, 0.0, 0.5),
    Thing("object", plinth, 0.8, 1.0, 0.25, 0.9),
    Thing("lamp", lamp, 1.0, 0.2, 0.3, 0.9),
    Thing("shelf", shelf, 1.0, 0.0, 0.0, 0.9),
    Thing("ball", balls, 1.0, 1.0, 0.0, 0.5),
    Thing("object", bin_, 0.8, 1.2, 0.3, 0.55),
    Thing("umbrella", parasol, 0.4, 0.8, 0.8, 1.0),
    Thing("object", luggage, 1.0, 0.6, 0.0, 0.5),
    Thing("fence", fence, 0.2, 0.8, 0.0, 0.5),
    Thing("object", easel, 0.9, 0.6, 0.7, 0.9),
)


def _along(start: Point, angle: float, length: float) -> Point:
    return start[0] + math.cos(angle) * length, start[1] + math.sin(angle) * length


def _ball_colour(dice: Dice) -> Colour:
    return palette.skin(dice) if dice.chance(0.25) else palette.paint(dice)
