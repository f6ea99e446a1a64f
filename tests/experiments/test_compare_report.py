import subprocess
import sys
from pathlib import Path

import pytest
from dvc.repo import Repo

from earlyexit.tflite.deployment import Deployment
from experiments import compare_report
from tests.page import made

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:dvc.*")


@pytest.fixture
def project(tmp_path: Path, deployed: Deployment, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Git and DVC repository with two commits, the tags first and second, each with all reports of a run."""
    monkeypatch.chdir(tmp_path)
    git("init", "-q")
    Repo.init().close()
    for number, tag in enumerate(("first", "second"), start=1):
        for path in (tmp_path / "reports").rglob("*"):
            if path.is_file():
                path.unlink()
        for path in (tmp_path / "reports" / "plots", tmp_path / "reports"):
            if path.exists():
                path.rmdir()
        made.write(tmp_path, deployed, n=200 * number, changes={"train.seed": number})
        git("add", "--all")
        git("-c", "user.name=test", "-c", "user.email=test@example.com", "commit", "-q", "-m", tag)
        git("tag", tag)
    return tmp_path


def git(*arguments: str) -> None:
    subprocess.run(["git", *arguments], check=True)


def test_two_revisions_become_one_page(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["", "first", "second"])
    compare_report.main()
    text = (project / "reports" / "compare.html").read_text(encoding="utf-8")
    assert "<td>1</td><td>2</td>" in text  # train.seed differs
    assert "first" in text
    assert "second" in text


def test_what_cannot_be_compared(
    project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with pytest.raises(ValueError, match="third: no commit, branch, tag or experiment of that name"):
        compare_report.read(["first", "third"])
    (project / "reports" / "memory.json").unlink()
    git("-c", "user.name=test", "-c", "user.email=test@example.com", "commit", "-qam", "less")
    with pytest.raises(ValueError, match=r"HEAD: reports/memory\.json: not found; run `dvc repro memory`; then commit"):
        compare_report.read(["HEAD", "first"])
    monkeypatch.setattr(sys, "argv", ["", "first"])
    with pytest.raises(ValueError, match="usage: python"):
        compare_report.main()
    with pytest.raises(ValueError, match="no DVC project"):
        compare_report.read(["first", "second"], str(tmp_path_factory.mktemp("empty")))
