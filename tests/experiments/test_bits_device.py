from experiments import bits_device
from tests.experiments.measured import Finished


def test_an_entry_holds_the_costs_of_files_and_library() -> None:
    entry = bits_device.entry("8 bits", Finished(1))  # type: ignore[arg-type]
    assert entry["tflm"] == {
        "segment 1 (exit1)": {"flash": 100, "sram": 60},
        "segment 2 (final)": {"flash": 7901, "sram": 40},
        "early-exit network": {"flash": 8001, "sram": 60},
        "baseline": {"flash": 7951, "sram": 90},
    }
    assert entry["cycles"] == {"leaves at exit1": 1_000_000, "leaves at final": 3_000_000, "baseline": 2_000_000}
    assert entry["kinds"] == {
        "conv": {"layers": 2, "cycles": 1_500_000},
        "pointwise": {"layers": 1, "cycles": 1_500_000},
    }
    assert entry["compared"] == {"layers": 5, "images": 20, "outputs": 1240}


def test_entries_stand_side_by_side() -> None:
    entries = [bits_device.entry(f"{count} bits", Finished(1, count)) for count in (8, 4)]  # type: ignore[arg-type]
    lines = bits_device.markdown(entries).splitlines()
    assert "| segment 2 (final) | 7,901 | 40 | 3,901 | 40 |" in lines
    assert "| **flash** | 8,001 | 4,001 |" in lines
    assert "| leaves at final | 3,000,000 | 3,300,000 | 1.10x |" in lines
    assert "| **all** | 3 | 3,000,000 | 3 | 3,300,000 |" in lines
    assert [line.split(" |")[0] for line in lines if line.startswith("| baseline")] == ["| baseline"] * 2
    assert lines[-1].endswith("4 bits: 5 layers (both networks), 20 images, 1,240 logits and features.")


def test_a_network_with_other_exits_leaves_cells_empty() -> None:
    first, second = (bits_device.entry(title, Finished(1)) for title in ("8 bits", "larger"))  # type: ignore[arg-type]
    for part, name in (("cycles", "leaves at exit1"), ("tflm", "segment 1 (exit1)"), ("kinds", "conv")):
        del second[part][name]
    lines = bits_device.markdown([first, second]).splitlines()
    assert "| leaves at exit1 | 1,000,000 | - | - |" in lines
    assert "| segment 1 (exit1) | 100 | 60 | - | - |" in lines
    assert "| conv | 2 | 1,500,000 | - | - |" in lines
