"""Stage prune: a trained network without the channels that have one value for every image; no answer changes."""

import sys
from pathlib import Path

from earlyexit.common.files import replacing_folder, write_json
from earlyexit.model import checkpoint, facts
from earlyexit.params import load
from earlyexit.pruning import exact
from stages import run


def main() -> None:
    """Prune the checkpoint in the folder of the first argument into the folder of the second."""
    source, target = map(Path, sys.argv[1:])
    params = load().prune
    network = checkpoint.load(source)
    checkpoint.check_finite(network.state_dict(), source / facts.WEIGHTS)
    groups: list[exact.Group] = []
    if params.exact:
        try:
            network, groups = exact.prune(network, params.multiple)
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from error
    with replacing_folder(target) as folder:
        checkpoint.save(folder, network, facts.facts(source))
        entries = [group.entry() for group in groups]
        write_json(folder / "channels.json", {"exact": params.exact, "multiple": params.multiple, "groups": entries})
    print(f"{target}: {sum(group.removed for group in groups):,} channels removed")


if __name__ == "__main__":
    run(main)
