import sys
from pathlib import Path

import pytest

from earlyexit.params import Params
from stages import design, run
from tests.stages.tiny_params import tiny


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def given(monkeypatch: pytest.MonkeyPatch, params: Params) -> None:
    monkeypatch.setattr(design, "load", lambda: params)


def test_the_word_for_what_fits_is_always_the_same(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = set()
    for limit in (1_000_000, 2_000_000):
        given(monkeypatch, tiny(**{"memory.flash_limit.mobilenet_v2": limit}))
        design.main()
        words.add((here / "models/within_budget").read_bytes())
        assert f"of {limit:,} bytes: fits" in (here / "reports/design.md").read_text()
    assert len(words) == 1


def test_over_budget_training_is_not_let_through(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given(monkeypatch, tiny(**{"memory.sram_limit.mobilenet_v2": 1000}))
    monkeypatch.delenv("EARLYEXIT_TRACEBACK", raising=False)
    monkeypatch.setattr(sys, "exit", lambda message: print(message))
    run(design.main)
    assert "error: memory.sram_limit: the network needs" in capsys.readouterr().out
    assert "over by" in (here / "reports/design.md").read_text()
    assert not (here / "models/within_budget").exists()
