"""The stages of the workflow: one script each, named as the stage in dvc.yaml, run as `python -m stages.NAME`."""

import os
import sys
from collections.abc import Callable


def run(main: Callable[[], None]) -> None:
    """Run a stage; wrong input or a failing disk ends it with one clear message instead of a traceback.

    EARLYEXIT_TRACEBACK=1 shows the traceback.
    """
    try:
        main()
    except (ValueError, OSError) as error:
        if os.environ.get("EARLYEXIT_TRACEBACK"):
            raise
        sys.exit(f"error: {error}")
