"""Stage prepare: photographs to labelled, packed uint8 arrays of three splits."""

from pathlib import Path
from typing import Any

from earlyexit.packing.pack import pack
from earlyexit.params import DataParams, load
from stages import run


def prepare(data: DataParams, raw: Path, folder: Path, workers: int | None = None) -> dict[str, Any]:
    """Pack photographs in the raw layout into `folder` as the params say; return the summary."""
    return pack(
        raw,
        folder,
        source=data.source,
        resolution=data.resolution,
        rule=data.label_rule,
        min_person_area=data.min_person_area.model_dump(),
        calibration_share=data.calibration_share,
        max_skipped=data.max_skipped,
        workers=workers,
    )


def main() -> None:
    """Pack data/raw into data/packed and print the counts."""
    summary = prepare(load().data, Path("data/raw"), Path("data/packed"))
    counts = (f"{split} {n['person']} / {n['no_person']}" for split, n in summary["counts"].items())
    print(f"{summary['definition']}; person / no person: {', '.join(counts)}; {summary['skipped']['count']} skipped")
    if dropped := sum(n["dropped"] for n in summary["counts"].values()):
        print(f"dropped: {dropped} images whose persons are all smaller")
    for split, both in summary["vww_and_vww_box"].items():
        print(f"{split}: label_rule vww and vww_box differ on {both['differ']} of {both['images']} images")
    if strays := sum(summary["stray_annotations"].values()):
        print(f"ignored: {strays} annotations of images that are not listed")
    for reason, count in summary["skipped"]["reasons"].items():
        print(f"skipped, {reason}: {count} (data/packed/summary.json lists them)")


if __name__ == "__main__":
    run(main)
