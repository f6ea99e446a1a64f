"""The embedded data set: scenes drawn by the project, written as photographs in COCO layout."""

from earlyexit.sources.scenes.compose import Scene, draw
from earlyexit.sources.scenes.write import write

__all__ = ["Scene", "draw", "write"]
