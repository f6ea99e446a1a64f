from pathlib import Path

import numpy as np

from earlyexit.model.candidates import Candidates


def test_round_trip(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    logits = {head: rng.normal(size=(3, 5, 2)).astype(np.float32) for head in ("separable", "pooled")}
    before = Candidates(logits, rng.normal(size=(5, 2)).astype(np.float32), rng.integers(0, 2, 5))
    before.save(tmp_path / "logits.safetensors")
    after = Candidates.load(tmp_path / "logits.safetensors")
    assert after.logits.keys() == logits.keys()
    assert all(np.array_equal(after.logits[head], logits[head]) for head in logits)
    assert np.array_equal(after.final, before.final)
    assert np.array_equal(after.labels, before.labels)
