"""Stage prepare: photographs to labelled, packed uint8 arrays of three splits."""

from pathlib import Path

from earlyexit.packing.pack import pack
from earlyexit.params import load
from stages import run


def main() -> None:
    """Pack data/raw into data/packed and print what came out."""
    data = load().data
    summary = pack(
        Path("data/raw"),
        Path("data/packed"),
        source=data.source,
        resolution=data.resolution,
        rule=data.label_rule,
        min_person_area=getattr(data.min_person_area, data.label_rule),
        calibration_share=data.calibration_share,
        max_skipped=data.max_skipped,
    )
    counts = (f"{split} {n['person']} / {n['no_person']}" for split, n in summary["counts"].items())
    print(f"{summary['definition']}; person / no person: {', '.join(counts)}; {summary['skipped']['count']} skipped")
    if dropped := sum(n["dropped"] for n in summary["counts"].values()):
        print(f"dropped: {dropped} images whose persons are all smaller")
    if strays := sum(summary["stray_annotations"].values()):
        print(f"ignored: {strays} annotations of images that are not listed")
    for reason, count in summary["skipped"]["reasons"].items():
        print(f"skipped, {reason}: {count} (data/packed/summary.json lists them)")


if __name__ == "__main__":
    run(main)
