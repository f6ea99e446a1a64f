"""How hard the scenes are: every knob of the data set in one place.

The first group decides how much of a person there is to see, the second what else there is, the third how well the
camera sees it. None of them looks at the label.
"""

# Scale: height of a grown-up at the place of the leading object, in image heights, log-uniform between the bounds of
# one of these bands, (low, high, weight). Above 1 the frame crops.
SCALES = ((0.15, 0.35, 0.02), (0.35, 0.6, 0.06), (0.6, 1.0, 0.8), (1.0, 1.6, 0.12))
# Scale of the persons too small to count, and how often a scene has some, whatever its label.
TINY_SCALES = (0.02, 0.13)
TINY_SCENES = 0.05
# How many leading objects stand in a scene: (count, weight).
GROUPS = ((1, 0.55), (2, 0.22), (3, 0.11), (5, 0.07), (8, 0.05))
# The leading object may reach below the frame by up to this share of its height.
CROP = 0.12
# Probability that something stands in front of the leading object.
OCCLUSION = 0.08
# The least share of the leading object that stays visible, within the frame, and the least number of its pixels.
MIN_VISIBLE = 0.85
MIN_PIXELS = 60
# Shares of the image's pixels that no person covers: the rule's 0.5 % lies between them.
GAP = (0.0035, 0.01)

# Things beside the leading ones, at least and at most.
THINGS_PER_SCENE = (0, 3)
# Share of things that are as tall as people, among those that are not leading.
CLUTTER_UPRIGHT = 0.5

# How often the background is out of focus, and how far: bounds of the blur in canvas pixels.
HAZE_SCENES = 0.7
HAZE = (0.7, 2.6)
# Contrast of the background: distance and air take from it what stands in front keeps. Both bounds.
BACKGROUND_CONTRAST = (0.35, 0.75)
# Blur of the lens in pixels of the picture, its upper bound; and the probability of motion blur.
BLUR = 0.6
MOTION = 0.12
# Standard deviation of the sensor noise in grey levels, its upper bound.
NOISE = 6.0
# Exposure in stops either way, its bound.
EXPOSURE = 0.35
# Probability of a monochrome picture.
MONOCHROME = 0.05
# Long side of the picture and its ratio to the short one.
LONG_SIDE = (160, 213)
RATIOS = ((4 / 3, 0.55), (3 / 2, 0.1), (1.0, 0.15), (1.18, 0.2))
PORTRAIT = 0.3
# JPEG quality, both bounds included.
QUALITY = (75, 92)
