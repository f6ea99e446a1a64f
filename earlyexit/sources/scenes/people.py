"""People: a posed skeleton, dressed, drawn part by part from the farthest to the nearest."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from earlyexit.sources.scenes import palette
from earlyexit.sources.scenes.canvas import Canvas, Point, capsule
from earlyexit.sources.scenes.dice import Dice
from earlyexit.sources.scenes.palette import Colour, shade
from earlyexit.sources.scenes.skeleton import HEAD, Skeleton, Vector, build, random_pose

TOPS = ("long", "short", "bare", "open", "long", "short")
BOTTOMS = ("trousers", "trousers", "trousers", "shorts", "skirt", "dress", "coat")
PATTERNS = ("plain", "plain", "plain", "stripes", "bands", "dots", "logo")
HAIRCUTS = ("short", "short", "long", "bun", "bald", "curls", "tail")
HATS = ("none", "none", "none", "none", "none", "none", "none", "none", "cap", "beanie", "brim", "helmet")
BAGS = ("none", "none", "none", "backpack", "handbag", "shoulder")
HELD = ("none", "none", "none", "none", "none", "none", "none", "none", "ball", "stick", "umbrella", "phone")


@dataclass(slots=True)
class Looks:
    """What a person wears and is like."""

    skin: Colour
    hair: Colour
    top: Colour
    second: Colour
    bottom: Colour
    shoes: Colour
    hat_colour: Colour
    bag_colour: Colour
    sleeves: str
    below: str
    pattern: str
    haircut: str
    hat: str
    bag: str
    held: str
    build: float
    head_scale: float
    beard: bool
    glasses: bool


def random_looks(dice: Dice) -> Looks:
    """Return looks drawn at random; one in six is a child."""
    child = dice.chance(1 / 6)
    top = palette.cloth(dice)
    return Looks(
        skin=palette.skin(dice),
        hair=palette.hair(dice),
        top=top,
        second=palette.cloth(dice),
        bottom=palette.cloth(dice) if dice.chance(0.93) else palette.skin(dice),
        shoes=palette.cloth(dice),
        hat_colour=palette.cloth(dice),
        bag_colour=palette.paint(dice),
        sleeves=dice.pick(TOPS),
        below=dice.pick(BOTTOMS),
        pattern=dice.pick(PATTERNS),
        haircut=dice.pick(HAIRCUTS),
        hat=dice.pick(HATS),
        bag=dice.pick(BAGS),
        held=dice.pick(HELD),
        build=dice.uniform(0.8, 1.05) if child else dice.uniform(0.82, 1.35),
        head_scale=dice.uniform(1.25, 1.7) if child else dice.uniform(0.95, 1.12),
        beard=dice.chance(0.12),
        glasses=dice.chance(0.15),
    )


def draw_person(canvas: Canvas, dice: Dice, x: float, y: float, height: float) -> None:
    """Draw a person whose lowest point stands at (x, y) and who would be `height` canvas pixels tall upright."""
    looks = random_looks(dice)
    pose = random_pose(dice)
    skeleton = build(pose, head_scale=looks.head_scale)
    figure = _Figure(canvas, skeleton, looks, (x, y + (skeleton.lowest() - 0.015) * height), height)
    if pose.seated and dice.chance(0.75):
        figure.seat(palette.paint(dice), dice)
    figure.draw()


class _Figure:
    """One skeleton on a canvas: knows where joints fall, and draws part by part."""

    def __init__(self, canvas: Canvas, bones: Skeleton, looks: Looks, origin: Point, height: float) -> None:
        self.canvas = canvas
        self.bones = bones
        self.looks = looks
        self.origin = origin
        self.height = height
        self.girth = looks.build * height
        self.back = bones.shoulders[0][0] > bones.shoulders[1][0]
        self.facing = bones.face[2]

    def at(self, joint: Vector) -> Point:
        """Return where `joint` falls on the canvas."""
        return self.origin[0] + joint[0] * self.height, self.origin[1] - joint[1] * self.height

    def between(self, one: Vector, other: Vector, share: float) -> Point:
        """Return the point at `share` of the way from `one` to `other`."""
        (ax, ay), (bx, by) = self.at(one), self.at(other)
        return ax + (bx - ax) * share, ay + (by - ay) * share

    def limb(self, one: Vector, other: Vector, start: float, end: float, colour: Colour) -> None:
        """Draw a limb between two joints; radii in body heights, widened by the build."""
        self.canvas.limb(self.at(one), self.at(other), start * self.girth, end * self.girth, colour)

    def draw(self) -> None:
        """Draw all parts, the farthest first."""
        bones = self.bones
        parts: list[tuple[float, Callable[[], None]]] = [(0.0, self.torso), (bones.head[2] * 0.5 + 0.005, self.head)]
        for side in (0, 1):
            arm = (bones.elbows[side][2] + bones.wrists[side][2]) / 2
            leg = (bones.hips[side][2] + bones.knees[side][2]) / 2
            parts.append((arm, lambda side=side: self.arm(side)))  # type: ignore[misc]
            parts.append((leg * 0.5 - 0.02, lambda side=side: self.leg(side)))  # type: ignore[misc]
        if self.looks.bag == "backpack":
            parts.append((0.03 if self.back else -0.05, self.backpack))
        if self.looks.haircut in ("long", "tail"):
            parts.append((0.02 if self.facing < 0 else -0.03, self.long_hair))
        for _, part in sorted(parts, key=lambda part: part[0]):
            part()

    def leg(self, side: int) -> None:
        """Draw thigh, shin and foot."""
        bones, looks = self.bones, self.looks
        hip, knee, ankle, toe = bones.hips[side], bones.knees[side], bones.ankles[side], bones.toes[side]
        covered = looks.below in ("trousers", "coat")
        self.limb(ankle, toe, 0.022, 0.018, looks.shoes)
        self.limb(
            knee,
            ankle,
            0.038 if covered else 0.033,
            0.027 if covered else 0.02,
            looks.bottom if covered else looks.skin,
        )
        self.limb(hip, knee, 0.06, 0.042, looks.skin if looks.below in ("skirt", "dress") else looks.bottom)

    def arm(self, side: int) -> None:
        """Draw upper arm, forearm, hand and what it holds."""
        bones, looks = self.bones, self.looks
        shoulder, elbow, wrist = bones.shoulders[side], bones.elbows[side], bones.wrists[side]
        held = looks.held if side == 0 else looks.bag
        if held in ("umbrella", "stick", "handbag"):
            self.hold(held, self.at(bones.hands[side]))
        upper = looks.skin if looks.sleeves == "bare" else looks.top
        lower = looks.top if looks.sleeves in ("long", "open") else looks.skin
        self.limb(wrist, bones.hands[side], 0.02, 0.018, looks.skin)
        self.limb(elbow, wrist, 0.029, 0.023, lower)
        self.limb(shoulder, elbow, 0.038, 0.031, upper)
        if held in ("ball", "phone"):
            self.hold(held, self.at(bones.hands[side]))

    def torso(self) -> None:
        """Draw neck, trunk with its pattern, and what hangs below the belt."""
        bones, looks, canvas = self.bones, self.looks, self.canvas
        self.limb(bones.neck, bones.head, 0.028, 0.026, looks.skin)
        trunk: list[Point] = []
        core: list[Point] = []
        light_x, light_y = canvas.light[0] * 0.02 * self.girth, canvas.light[1] * 0.02 * self.girth
        for side in (0, 1):
            start, end = self.at(bones.shoulders[side]), self.at(bones.hips[side])
            trunk += capsule(start, end, 0.045 * self.girth, 0.055 * self.girth)
            start, end = (start[0] + light_x, start[1] + light_y), (end[0] + light_x, end[1] + light_y)
            core += capsule(start, end, 0.03 * self.girth, 0.036 * self.girth)
        if looks.below in ("trousers", "shorts"):
            self.lower(0.25, 0.058, looks.bottom)
        canvas.hull(trunk, shade(looks.top, 0.72))
        if self.height > 20:
            canvas.hull(core, looks.top)
        if self.height > 30:
            self.pattern()
        if looks.below == "skirt":
            self.lower(0.75, 0.075, looks.bottom)
        elif looks.below in ("dress", "coat"):
            self.lower(0.7, 0.07, looks.top)
        if looks.bag == "shoulder":
            canvas.line([self.at(bones.shoulders[0]), self.at(bones.hips[1])], 0.02 * self.height, looks.bag_colour)
            x, y = self.at(bones.hips[1])
            canvas.convex(_box(x, y, 0.06 * self.height, 0.05 * self.height), looks.bag_colour)

    def lower(self, share: float, radius: float, colour: Colour) -> None:
        """Draw cloth around the hips and `share` of both thighs."""
        points: list[Point] = []
        for side in (0, 1):
            hip, knee = self.bones.hips[side], self.bones.knees[side]
            points += capsule(self.at(hip), self.between(hip, knee, share), 0.055 * self.girth, radius * self.girth)
        self.canvas.hull(points, shade(colour, 0.86))

    def pattern(self) -> None:
        """Draw stripes, bands, dots, an open front or a print over the trunk."""
        looks, canvas, bones = self.looks, self.canvas, self.bones
        left, right, hip_left, hip_right = *bones.shoulders, *bones.hips

        def spot(across: float, down: float) -> Point:
            (ax, ay), (bx, by) = self.between(left, hip_left, down), self.between(right, hip_right, down)
            return ax + (bx - ax) * across, ay + (by - ay) * across

        thick = 0.025 * self.height
        if looks.sleeves == "open" and not self.back:
            canvas.convex([spot(0.35, 0), spot(0.65, 0), spot(0.6, 1), spot(0.4, 1)], looks.second)
        elif looks.pattern == "stripes":
            for k in range(5):
                canvas.line([spot(k / 4, 0), spot(k / 4, 1)], thick * 0.7, looks.second)
        elif looks.pattern == "bands":
            for k in range(5):
                canvas.line([spot(-0.15, k / 4.5), spot(1.15, k / 4.5)], thick, looks.second)
        elif looks.pattern == "dots":
            for k in range(12):
                canvas.disc(*spot((k % 3 + 0.5 * (k // 3 % 2)) / 2.5, k // 3 / 3.5), thick * 0.6, looks.second)
        elif looks.pattern == "logo" and not self.back:
            canvas.convex([spot(0.25, 0.2), spot(0.75, 0.2), spot(0.75, 0.5), spot(0.25, 0.5)], looks.second)

    def head(self) -> None:
        """Draw head, face, hair and hat."""
        looks, canvas = self.looks, self.canvas
        radius = HEAD * self.height * looks.head_scale
        x, y = self.at(self.bones.head)
        up_x, up_y = self.bones.up[0], -self.bones.up[1]
        norm = math.hypot(up_x, up_y)
        up_x, up_y = (up_x / norm, up_y / norm) if norm > 0.1 else (0.0, -1.0)
        right_x, right_y = -up_y, up_x
        look = self.bones.face[0] * right_x - self.bones.face[1] * right_y

        def spot(right: float, up: float) -> Point:
            return x + (right_x * right + up_x * up) * radius, y + (right_y * right + up_y * up) * radius

        def oval(right: float, up: float, wide: float, high: float, colour: Colour) -> None:
            wide, high = wide * radius, high * radius
            canvas.ellipse(*spot(right, up), (right_x * wide, right_y * wide), (up_x * high, up_y * high), colour)

        wide = 0.76 + 0.08 * abs(look)
        if looks.haircut == "curls":
            for k in range(7):
                angle = k * math.pi / 6
                canvas.disc(*spot(math.cos(angle) * 0.75, math.sin(angle) * 0.75 + 0.1), radius * 0.5, looks.hair)
        elif looks.haircut == "bun":
            canvas.disc(*spot(-look * 0.5, 1.0), radius * 0.42, shade(looks.hair, 0.9))
        bald = looks.haircut == "bald"
        oval(0, 0, wide, 1, shade(looks.skin, 0.72))
        shown = 0.35 + 0.65 * self.facing if self.facing > -0.2 else 0.0
        if bald:
            oval(self.canvas.light[0] * 0.08, 0.06, wide * 0.86, 0.88, looks.skin)
        else:
            oval(-look * 0.12, 0.12, wide * 1.06, 0.96, looks.hair)
        if shown > 0:
            self.face(oval, spot, look, shown, radius)
        self.hat(oval, spot, look)

    def face(
        self,
        oval: Callable[[float, float, float, float, Colour], None],
        spot: Callable[[float, float], Point],
        look: float,
        shown: float,
        radius: float,
    ) -> None:
        """Draw the face, turned by `look` (-1 to 1), `shown` of it (0 to 1)."""
        looks, canvas = self.looks, self.canvas
        wide = 0.4 + 0.28 * shown
        oval(look * 0.3, -0.16, wide, 0.78, looks.skin)
        if radius < 5:
            return
        if looks.beard:
            oval(look * 0.4, -0.6, wide * 0.75, 0.36, looks.hair)
        for side in (-1, 1):
            eye = look * 0.62 + side * 0.28 * shown
            if abs(eye) < 0.8:
                oval(eye, 0.02, 0.1, 0.09, (30, 24, 22))
                oval(eye, 0.2, 0.15, 0.04, shade(looks.hair, 0.8))
        oval(look * 0.68, -0.2, 0.08, 0.14, shade(looks.skin, 0.84))
        oval(look * 0.55, -0.5, 0.2 * shown, 0.06, shade(mix_red(looks.skin), 0.8))
        if looks.glasses:
            canvas.line(
                [spot(look * 0.6 - 0.5 * shown, 0.05), spot(look * 0.6 + 0.5 * shown, 0.05)],
                radius * 0.16,
                (25, 25, 30),
            )

    def hat(
        self,
        oval: Callable[[float, float, float, float, Colour], None],
        spot: Callable[[float, float], Point],
        look: float,
    ) -> None:
        """Draw what is on the head."""
        kind, colour = self.looks.hat, self.looks.hat_colour
        if kind == "none":
            return
        crown = [spot(0.88 * math.cos(k * math.pi / 8), 0.3 + 0.8 * math.sin(k * math.pi / 8)) for k in range(9)]
        if kind == "helmet":
            oval(0, 0.35, 0.95, 0.8, colour)
            oval(-0.2, 0.55, 0.5, 0.4, shade(colour, 1.2))
        elif kind == "brim":
            oval(0, 0.35, 1.55, 0.26, shade(colour, 0.8))
            self.canvas.convex([spot(-0.8, 0.4), spot(-0.65, 1.2), spot(0.65, 1.2), spot(0.8, 0.4)], colour)
        else:
            self.canvas.convex(crown, colour)
        if kind == "cap" and self.facing > -0.6:
            oval(look * 0.75, 0.32, 0.62, 0.16, shade(colour, 0.75))
        elif kind == "beanie":
            self.canvas.disc(*spot(0, 1.15), 0.018 * self.height, self.looks.second)

    def long_hair(self) -> None:
        """Draw hair that falls behind the shoulders."""
        tail = self.looks.haircut == "tail"
        end = self.between(self.bones.neck, self.bones.hips[0], 0.25)
        start = self.at(self.bones.head)
        radius = (0.025 if tail else 0.062) * self.height * self.looks.head_scale
        self.canvas.limb(start, (start[0] * 0.5 + end[0] * 0.5, end[1]), radius, radius * 0.8, self.looks.hair)

    def backpack(self) -> None:
        """Draw a backpack."""
        x, y = self.between(self.bones.neck, self.bones.hips[0], 0.4)
        forward = self.bones.shoulders[1][2] - self.bones.shoulders[0][2]
        x += forward * 0.35 * self.height
        size = 0.1 * self.height
        self.canvas.convex(_box(x, y, size, size * 1.25), shade(self.looks.bag_colour, 0.75))
        self.canvas.convex(_box(x - 0.1 * size, y - 0.15 * size, size * 0.75, size), self.looks.bag_colour)

    def hold(self, held: str, hand: Point) -> None:
        """Draw what is in a hand."""
        canvas, size, colour = self.canvas, self.height, self.looks.bag_colour
        x, y = hand
        if held == "ball":
            canvas.ball(x, y, 0.065 * size, colour)
        elif held == "phone":
            canvas.convex(_box(x, y, 0.02 * size, 0.035 * size), (40, 40, 46))
        elif held == "stick":
            canvas.limb(
                (x - 0.06 * size, y - 0.35 * size), (x + 0.05 * size, y + 0.3 * size), 0.01 * size, 0.01 * size, colour
            )
        elif held == "handbag":
            canvas.line(
                [(x - 0.04 * size, y + 0.08 * size), (x, y), (x + 0.04 * size, y + 0.08 * size)], 0.012 * size, colour
            )
            canvas.convex(_box(x, y + 0.13 * size, 0.075 * size, 0.055 * size), colour)
        elif held == "umbrella":
            top = y - 0.5 * size
            canvas.line([(x, y), (x, top)], 0.012 * size, (60, 60, 60))
            draw_canopy(canvas, x, top, 0.34 * size, colour, self.looks.second)

    def seat(self, colour: Colour, dice: Dice) -> None:
        """Draw what a seated person sits on, in the background's name: it is no part of the person."""
        canvas, size = self.canvas, self.height
        owner, canvas.owner = canvas.owner, 0
        x, y = self.at(((self.bones.hips[0][0] + self.bones.hips[1][0]) / 2, self.bones.hips[0][1] - 0.06, 0))
        bottom = max(self.at(joint)[1] for joint in self.bones.ankles) + 0.02 * size
        wide = dice.uniform(0.12, 0.45) * size
        if bottom - y > 0.02 * size:
            if dice.chance(0.5):
                canvas.rectangle(x - wide, y, x + wide, bottom, shade(colour, 0.7))
            else:
                for leg in (-0.9, 0.9):
                    canvas.rectangle(
                        x + wide * leg - 0.015 * size, y, x + wide * leg + 0.015 * size, bottom, shade(colour, 0.6)
                    )
        canvas.rectangle(x - wide, y - 0.01 * size, x + wide, y + 0.04 * size, colour)
        if dice.chance(0.5):
            canvas.rectangle(x - wide, y - 0.3 * size, x + wide, y - 0.02 * size, shade(colour, 0.85))
        canvas.owner = owner


def draw_canopy(canvas: Canvas, x: float, y: float, radius: float, one: Colour, other: Colour) -> None:
    """Draw the half disc of an umbrella with gores of two colours, its top at (x, y)."""
    arc = [
        (x - radius * math.cos(k * math.pi / 8), y + radius * 0.62 * (1 - math.sin(k * math.pi / 8))) for k in range(9)
    ]
    canvas.convex(arc, one)
    for k in (0, 4):
        canvas.convex([(x, y), arc[k], arc[k + 2]], other)


def mix_red(colour: Colour) -> Colour:
    """Return a reddish tint of `colour`: lips."""
    return palette.mix(colour, (170, 50, 50), 0.45)


def _box(x: float, y: float, half_width: float, half_height: float) -> list[Point]:
    return [
        (x - half_width, y - half_height),
        (x + half_width, y - half_height),
        (x + half_width, y + half_height),
        (x - half_width, y + half_height),
    ]
