"""The embedded data set: scenes drawn from a seed, written as photographs in the raw layout."""

from earlyexit.sources.scenes.compose import Scene, draw
from earlyexit.sources.scenes.write import write

__all__ = ["Scene", "draw", "write"]
