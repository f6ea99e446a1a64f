"""A scene: the place is laid out and furnished first; only then its leading objects become people or things."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from earlyexit.sources.scenes import settings
from earlyexit.sources.scenes.backgrounds import draw_background
from earlyexit.sources.scenes.camera import photograph
from earlyexit.sources.scenes.canvas import SUPERSAMPLE, Canvas
from earlyexit.sources.scenes.dice import Dice
from earlyexit.sources.scenes.people import draw_person
from earlyexit.sources.scenes.things import THINGS, Thing

Box = tuple[int, int, int, int]
"""x, y, width, height in pixels of the picture."""

_SPLIT_KEYS = {"train": 0, "val": 1}
MIN_AREA = 0.005
"""A person counts where it covers at least this share of the picture: the Visual Wake Words rule."""

_ATTEMPTS = 200
_PERSON = None


class Seen(NamedTuple):
    """What is seen of an object: category name, box, and area in pixels of the picture."""

    category: str
    box: Box
    area: float


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture (H, W, 3) uint8, RGB, and what is seen in it.

    `quality` is the JPEG quality that the scene is to be written with.
    """

    image: NDArray[np.uint8]
    objects: list[Seen]
    quality: int


@dataclass(slots=True)
class _Item:
    """Something to draw: a thing, or a person where `thing` is None, standing at (x, y), `size` a grown-up's height."""

    thing: Thing | None
    x: float
    y: float
    size: float
    leading: bool = False
    key: int = 0


@dataclass(slots=True)
class _Plan:
    width: int
    height: int
    horizon: float
    indoors: bool
    light: tuple[float, float]
    haze: float
    contrast: float
    items: list[_Item] = field(default_factory=list)


def draw(seed: int, split: str, index: int) -> Scene:
    """Draw scene `index` of `split` ('train' or 'val'): with a person where `index` is even, else without.

    A pure function of its arguments. A person counts by the rule of Visual Wake Words, see MIN_AREA; scenes without
    may hold persons below it. No person's area is near the rule's border (settings.GAP).

    Raises:
        ValueError: for an unknown split or a negative seed or index.
    """
    if split not in _SPLIT_KEYS:
        raise ValueError(f"split: {split!r}, should be one of {', '.join(_SPLIT_KEYS)}")
    if seed < 0 or index < 0:
        raise ValueError(f"seed {seed}, index {index}: should be 0 or more")
    key = (seed, _SPLIT_KEYS[split], index)
    with_person = index % 2 == 0
    quality = Dice(*key, 1).whole(*settings.QUALITY)
    for attempt in range(_ATTEMPTS):
        dice = Dice(*key, 2, attempt)
        plan = _lay_out(dice)
        _fill(plan, dice, with_person=with_person)
        canvas, leading = _paint(plan, dice)
        objects = _seen(canvas, plan.items)
        if leading and _honest(objects, canvas, with_person=with_person):
            return Scene(photograph(canvas, Dice(*key, 3)), objects, quality)
    raise RuntimeError(f"scene {index} of {split}, seed {seed}: nothing drawn in {_ATTEMPTS} attempts is fit")


def _lay_out(dice: Dice) -> _Plan:
    """Choose the frame and the place, and put places for leading objects and the other things in it."""
    long = dice.whole(*settings.LONG_SIDE)
    short = round(long / dice.weighted(settings.RATIOS))
    width, height = (short, long) if dice.chance(settings.PORTRAIT) else (long, short)
    width, height = width * SUPERSAMPLE, height * SUPERSAMPLE
    angle = dice.uniform(-2.9, -0.25)
    plan = _Plan(
        width,
        height,
        horizon=dice.uniform(0.28, 0.62) * height,
        indoors=dice.chance(0.48),
        light=(math.cos(angle), math.sin(angle)),
        haze=dice.uniform(*settings.HAZE) if dice.chance(settings.HAZE_SCENES) else 0.0,
        contrast=dice.uniform(*settings.BACKGROUND_CONTRAST),
    )
    low, high = dice.weighted([((low, high), weight) for low, high, weight in settings.SCALES])
    size = math.exp(dice.uniform(math.log(low), math.log(high))) * height
    count = dice.weighted(settings.GROUPS)
    if size > 0.9 * height:
        count = min(count, 2)
    for k in range(count):
        scale = size if k == 0 else size * math.exp(dice.spread(0.6))
        plan.items.append(_place(plan, dice, scale, leading=k == 0))
    return plan


def _place(plan: _Plan, dice: Dice, size: float, *, leading: bool) -> _Item:
    """Return a place for something whose grown-up's height is `size`: lower where it is nearer."""
    eye = dice.uniform(0.75, 1.6)
    # What is too near to fit loses its feet, seldom its head.
    lowest = plan.height + size * (dice.random() * settings.CROP - 0.02) + max(size - 0.8 * plan.height, 0)
    highest = max(plan.horizon + 0.05 * size, size * dice.uniform(0.9, 1.1))
    y = max(min(plan.horizon + size * eye, lowest), highest)
    margin = min(0.15 * size, 0.3 * plan.width)
    x = dice.uniform(margin, plan.width - margin) if leading else dice.uniform(0, plan.width)
    return _Item(None, x, y, size, leading=leading, key=dice.whole(0, 1 << 40))


def _fill(plan: _Plan, dice: Dice, *, with_person: bool) -> None:
    """Add the other things, whatever the label; then make the leading places people or upright things."""
    lead = plan.items[0]
    # Before stand-ins are brought to size: what is around must not tell what the leading objects became.
    scale = lead.size
    any_thing = _table(plan, THINGS)
    upright = _table(plan, (thing for thing in THINGS if thing.stand_in))
    stand_ins = [(thing, weight * thing.stand_in) for thing, weight in upright]
    herd = dice.weighted(stand_ins)
    same = dice.chance(0.5)
    mixed = dice.random()
    for item in plan.items:
        stand_in = herd if same else dice.weighted(stand_ins)
        person = with_person and (item.leading or dice.random() < 0.7 + 0.3 * mixed)
        item.thing = _PERSON if person else stand_in
        if not person:
            # Things come in more sizes than people: bring them to about the same one.
            item.size *= min(1 / stand_in.height, 1.6) ** 0.7
    for _ in range(dice.whole(*settings.THINGS_PER_SCENE)):
        thing = dice.weighted(upright if dice.chance(settings.CLUTTER_UPRIGHT) else any_thing)
        size = scale * math.exp(dice.spread(1.1))
        size = min(max(size, 0.1 * plan.height), 1.1 * plan.height)
        item = _place(plan, dice, size, leading=False)
        item.thing = thing
        plan.items.append(item)
    if dice.chance(settings.OCCLUSION):
        size = scale * dice.uniform(0.9, 1.3)
        thing = dice.weighted(any_thing if dice.chance(0.7) else upright)
        x = lead.x + dice.spread(0.4) * size
        y = max(lead.y + 1, min(lead.y + dice.uniform(0.02, 0.2) * size, plan.height * 1.1))
        plan.items.append(_Item(thing, x, y, size, key=dice.whole(0, 1 << 40)))
    if dice.chance(settings.TINY_SCENES):
        tiny = math.exp(dice.uniform(*(math.log(bound) for bound in settings.TINY_SCALES))) * plan.height
        for _ in range(dice.whole(1, 4)):
            item = _place(plan, dice, tiny, leading=False)
            item.y = plan.horizon + tiny * dice.uniform(0.3, 1.5)
            plan.items.append(item)
    plan.items.sort(key=lambda item: item.y)


def _table(plan: _Plan, things: Iterable[Thing]) -> list[tuple[Thing, float]]:
    return [(thing, thing.indoors if plan.indoors else thing.outdoors) for thing in things]


def _paint(plan: _Plan, dice: Dice) -> tuple[Canvas, bool]:
    """Draw the plan; also say whether the leading object stays visible enough."""
    canvas = Canvas(plan.width, plan.height, plan.light)
    draw_background(canvas, Dice(dice.whole(0, 1 << 40)), plan.horizon, indoors=plan.indoors)
    if plan.haze:
        canvas.blur(plan.haze)
    canvas.fade(plan.contrast)
    whole, lead = 0, 0
    for owner, item in enumerate(plan.items, 1):
        canvas.owner = owner
        tall = item.size * (1.0 if item.thing is None else item.thing.height)
        shift = -plan.light[0] * 0.15 * tall
        canvas.shadow(item.x + shift, item.y, 0.35 * item.size + abs(shift), 0.07 * item.size, 0.5)
        paint = draw_person if item.thing is None else item.thing.draw
        paint(canvas, Dice(item.key), item.x, item.y, item.size)
        if item.leading:
            lead = owner
            drawn = canvas.visible()(owner)
            whole = drawn.pixels if drawn else 0
    seen = canvas.visible()(lead)
    if seen is None:
        return canvas, False
    scale = SUPERSAMPLE**2
    fit = seen.pixels >= settings.MIN_VISIBLE * whole and seen.pixels >= settings.MIN_PIXELS * scale
    return canvas, fit and seen.pixels >= settings.GAP[1] * plan.width * plan.height


def _seen(canvas: Canvas, items: list[_Item]) -> list[Seen]:
    found = []
    extent = canvas.visible()
    for owner, item in enumerate(items, 1):
        seen = extent(owner)
        if seen is None:
            continue
        x, y, width, height, pixels = seen
        left, top = x // SUPERSAMPLE, y // SUPERSAMPLE
        right, bottom = -(-(x + width) // SUPERSAMPLE), -(-(y + height) // SUPERSAMPLE)
        category = "person" if item.thing is None else item.thing.category
        found.append(Seen(category, (left, top, right - left, bottom - top), pixels / SUPERSAMPLE**2))
    return found


def _honest(objects: list[Seen], canvas: Canvas, *, with_person: bool) -> bool:
    """Return whether the persons give the label that was asked for, and none is near the rule's border."""
    picture = canvas.width * canvas.height / SUPERSAMPLE**2
    shares = [seen.area / picture for seen in objects if seen.category == "person"]
    if any(settings.GAP[0] < share < settings.GAP[1] for share in shares):
        return False
    return (max(shares, default=0.0) >= MIN_AREA) == with_person
