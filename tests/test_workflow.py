"""dvc.yaml, params.yaml and the stage scripts agree."""

import ast
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dvc.repo import Repo
from ruamel.yaml import YAML

from tests import ROOT

YAML_12 = YAML(typ="safe", pure=True)
# Of no influence on what a stage computes.
INFRASTRUCTURE = {
    "earlyexit/params.py",
    *(f"earlyexit/common/{name}.py" for name in ("files", "pool", "quiet", "vision")),
}

TRAINED = {"baseline", "disjoint", "joint"}
QAT = {"qat@baseline", "qat@early_exit"}
QUANTIZED = {"ptq@baseline", "ptq@early_exit", "unpruned"}
STAGES_OF = {
    "data.source": {"download", "prepare"},
    "data.seed": {"download"},
    "data.train_images": {"download"},
    "data.val_images": {"download"},
    "data.coco_url": {"download"},
    "data.minival_url": {"download"},
    "data.mlperf_tiny_url": {"download"},
    "data.checksums": {"download"},
    "data.val_share": {"download"},
    "data.label_rule": {"prepare"},
    "data.min_person_area.vww": {"prepare"},
    "data.min_person_area.vww_box": {"prepare"},
    "data.min_person_area.mlperf": {"prepare"},
    "data.calibration_share": {"prepare"},
    "data.max_skipped": {"prepare"},
    "data.resolution": {"design", "prepare", "baseline"},
    "model": {"design", "baseline"},
    "model.backbone": {"design", "baseline", "placement", "emulate", "memory"},
    "exits": {"design", "placement"},
    "exits.placement": {"design", "candidates", "placement"},
    "exits.channels": {"design", "candidates", "placement", "disjoint"},
    "placement.heads": {"design", "candidates", "placement"},
    "placement.most": {"design", "placement"},
    "placement.loss": {"placement"},
    "placement.cost": {"placement"},
    "placement.images": {"candidates"},
    "placement.epochs": {"candidates"},
    "augment": TRAINED | QAT | {"shrink"},
    "teacher": {"teach"},
    "teacher.share": {"candidates", "disjoint", "joint"},
    "train": TRAINED | QAT | {"shrink", "candidates"},
    "train.seed": TRAINED | QAT | {"shrink", "candidates", "evaluate"},
    "train.threads": TRAINED | QAT | {"shrink", "candidates", "evaluate"},
    "train.device": TRAINED | QAT | {"shrink", "candidates", "evaluate"},
    "baseline": {"baseline", "shrink"},
    "disjoint": {"candidates", "disjoint"},
    "joint": {"joint"},
    "joint.w_exits": QAT | {"joint"},
    "joint.w_final": QAT | {"joint"},
    "prune": {"shrink"},
    "prune.exact": {"shrink", "prune@baseline", "prune@early_exit"},
    "prune.multiple": {"shrink", "prune@baseline", "prune@early_exit"},
    "qat": QAT,
    "export": {"export@baseline", "export@early_exit"},
    "ptq": QUANTIZED,
    "ptq.bits": QUANTIZED | QAT | {"design", "placement", "pruning", "shrink"},
    "ptq.weights": QUANTIZED | QAT | {"design", "placement", "pruning", "shrink"},
    "calibrate": {"calibrate"},
    "policy": {"policy"},
    "benchmark": {"benchmark", "unpruned"},
    "memory": {"design", "placement", "emulate", "memory"},
    "shift": {"shift"},
    "firmware": {"firmware", "verify", "failures"},
    "emulate": {"emulate"},
    "emulate.cascade_images": {"verify"},
    "emulate.images": {"emulate", "unpruned"},
    "emulate.refill": {"emulate", "unpruned", "verify"},
    "report": {"report"},
}


def leaves(content: Any, prefix: str = "") -> Iterator[str]:
    for key, value in content.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            yield from leaves(value, f"{name}.")
        else:
            yield name


LEAVES = list(leaves(YAML_12.load((ROOT / "params.yaml").read_text(encoding="utf-8"))))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repo]:
    """The workflow with empty outputs, all of it up to date."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("stages", "earlyexit"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", "params.yaml", ".dvcignore"):
        shutil.copy(ROOT / name, folder / name)
    patch = pytest.MonkeyPatch()
    patch.chdir(folder)
    repo = Repo.init(no_scm=True)
    for stage in repo.index.stages:
        for out in stage.outs:
            path = Path(out.fs_path)
            if path.suffix:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
            else:
                path.mkdir(parents=True, exist_ok=True)
                (path / "file").touch()
    repo.commit(force=True)
    assert repo.status() == {}
    yield repo
    patch.undo()


def test_compiled_python_changes_no_stage(project: Repo) -> None:
    packages = [dep.fs_path for stage in project.index.stages for dep in stage.deps if Path(dep.fs_path).is_dir()]
    code = [Path(path) for path in packages if "earlyexit" in path]
    assert code
    for package in code:
        (package / "__pycache__").mkdir(exist_ok=True)
        (package / "__pycache__" / "module.cpython-311.pyc").write_bytes(b"compiled")
    assert not any(dep.status() for stage in project.index.stages for dep in stage.deps)


@pytest.mark.parametrize("leaf", LEAVES)
def test_a_changed_leaf_marks_its_stages_and_no_others(project: Repo, leaf: str) -> None:
    path = Path(project.root_dir) / "params.yaml"
    before = path.read_text(encoding="utf-8")
    content = YAML_12.load(before)
    *sections, last = leaf.split(".")
    section = content
    for name in sections:
        section = section[name]
    section[last] = "changed"
    try:
        with path.open("w", encoding="utf-8") as file:
            YAML_12.dump(content, file)
        changed = {stage.addressing for stage in project.index.stages if any(dep.status() for dep in stage.params)}
    finally:
        path.write_text(before, encoding="utf-8")
    expected = STAGES_OF[leaf if leaf in STAGES_OF else leaf.split(".")[0]]
    assert changed == expected | {"report"}  # it shows all params


@pytest.mark.parametrize("script", sorted(path.stem for path in (ROOT / "stages").glob("*.py")))
def test_a_stage_depends_on_all_the_code_that_it_imports(project: Repo, script: str) -> None:
    stages = [stage for stage in project.index.stages if script_of(stage) == script]
    if script in {"__init__", "costs", "logs", "val"}:
        assert not stages
        return
    assert stages, f"no stage runs stages/{script}.py"
    needed = closure(f"stages/{script}.py")
    for stage in stages:
        given = {Path(dep.fs_path).relative_to(project.root_dir).as_posix() for dep in stage.deps}
        assert {path for path in given if path.startswith(("earlyexit", "stages"))} == needed


@pytest.mark.parametrize("package", ["reports", "plots", "firmware", "emulation", "shift"])
def test_a_change_in_a_package_of_the_end_reruns_no_training_and_no_quantization(project: Repo, package: str) -> None:
    path = Path(project.root_dir) / "earlyexit" / package / "__init__.py"
    before = path.read_text(encoding="utf-8")
    try:
        path.write_text(f"{before}# changed\n", encoding="utf-8")
        changed = {stage.addressing for stage in project.index.stages if any(dep.status() for dep in stage.deps)}
    finally:
        path.write_text(before, encoding="utf-8")
    assert changed
    outputs = set(changed)
    while (
        following := {
            stage.addressing
            for stage in project.index.stages
            if {dep.fs_path for dep in stage.deps}
            & {out.fs_path for s in project.index.stages if s.addressing in outputs for out in s.outs}
        }
        - outputs
    ):
        outputs |= following
    assert not outputs & (
        TRAINED | QAT | {"export@baseline", "export@early_exit", "ptq@baseline", "ptq@early_exit", "calibrate"}
    )


@pytest.mark.parametrize("script", sorted(path.stem for path in (ROOT / "stages").glob("*.py")))
def test_a_stage_reads_no_params_but_its_own(project: Repo, script: str) -> None:
    stages = [stage for stage in project.index.stages if script_of(stage) == script]
    declared = {name for stage in stages for dep in stage.params for name in dep.params}
    sections = {name.split(".")[0] for name in declared}
    assert sections_read(ROOT / "stages" / f"{script}.py") <= sections


def script_of(stage: Any) -> str:
    _exec, _python, _m, module, *_arguments = str(stage.cmd).split()
    return module.removeprefix("stages.")


def closure(script: str) -> set[str]:
    """The script, and all packages and modules that it imports, directly or not."""
    found: set[str] = {script}
    queue = [ROOT / script]
    while queue:
        for path in map(dependency, imported(queue.pop())):
            if path is None or path in INFRASTRUCTURE or path in found:
                continue
            found.add(path)
            queue += sorted((ROOT / path).rglob("*.py")) if (ROOT / path).is_dir() else [ROOT / path]
    return found


def dependency(module: str) -> str | None:
    """What dvc.yaml names for a module: its package; its file in earlyexit, earlyexit.common and stages themselves."""
    parts = module.split(".")
    depth = 3 if parts[1:2] == ["common"] else 2
    if len(parts) < depth:
        return None
    path = "/".join(parts[:depth])
    return path if (ROOT / path).is_dir() else f"{path}.py"


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in ("earlyexit", "stages"):
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (name if is_module(name) else str(node.module) for name in names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith(("earlyexit.", "stages.")))


def is_module(name: str) -> bool:
    path = ROOT / name.replace(".", "/")
    return path.is_dir() or path.with_suffix(".py").is_file()


def sections_read(path: Path) -> set[str]:
    """The sections of params that a script takes from `load()` or from a variable named `params`."""
    sections = set(load_sections())
    return {
        node.attr
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in sections and is_params(node.value)
    }


def load_sections() -> list[str]:
    return [str(name) for name in YAML_12.load((ROOT / "params.yaml").read_text(encoding="utf-8"))]


def is_params(node: ast.expr) -> bool:
    if isinstance(node, ast.Name):
        return node.id == "params"
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "load"
