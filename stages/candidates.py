"""Stage candidates: if exits are searched, train one of each kind after every block of the frozen baseline."""

from pathlib import Path

from earlyexit.common.files import replacing_folder, write_text
from earlyexit.params import Params, load
from stages import run

CANDIDATES = Path("models/candidates")
PACKED = Path("data/packed")


def main() -> None:
    """Write models/candidates: the answers of the candidates to the calibration split, or why there are none."""
    params = load()
    with replacing_folder(CANDIDATES) as folder:
        if params.exits.placement == "searched":
            _train(params, folder / "logits.safetensors")
        else:
            write_text(folder / "none", "exits.placement is given: there are no candidates.\n")


def _train(params: Params, path: Path) -> None:
    # Imported here: PyTorch takes seconds to load, which given exits need not wait for.
    from earlyexit.dataset import open_split
    from earlyexit.model import checkpoint
    from earlyexit.model.inference import prepare_torch
    from earlyexit.training.candidates import train_candidates
    from stages.logs import answers

    device = prepare_torch(params.train.seed, params.train.threads, params.train.device)
    (channels,) = params.head_channels(1)
    train = open_split(PACKED, "train")
    found = train_candidates(
        checkpoint.load(Path("models/baseline")),
        params.placement.heads,
        channels,
        params.disjoint.model_copy(update={"epochs": params.placement.epochs}),
        train,
        open_split(PACKED, "calibration"),
        images=params.placement.images,
        device=device,
        precision=params.train.precision,
        taught=answers(train, params.teacher.share),
    )
    found.save(path)


if __name__ == "__main__":
    run(main)
