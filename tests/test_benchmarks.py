"""Benchmarks that run without a finished workflow, in small; nothing imports them."""

import subprocess
import sys
from pathlib import Path

from tests import ROOT


def test_generated_photographs_are_prepared_and_timed(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.prepare", "--members", "300", "--folder", str(tmp_path)]
    said = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert "memory of all processes" in said
    assert "\nratio " in said
    assert list(tmp_path.iterdir()) == []
