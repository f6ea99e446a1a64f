"""Files and params from elsewhere: they run no code, and damaged ones end in one clear message."""

import ast
import json
import os
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML
from safetensors.torch import save_file

from earlyexit import dataset, params
from earlyexit.budget.blueprint import blueprint
from earlyexit.common.files import write_json
from earlyexit.evaluation import per_image
from earlyexit.model import pretrained
from earlyexit.model.network import EarlyExitNetwork
from earlyexit.policy.thresholds import load_thresholds
from earlyexit.tflite import deployment
from earlyexit.tflite.deployment import Deployment
from tests import ROOT, tiny_network
from tests.coco_source import write_source
from tests.plots import results

CODE = sorted(
    path
    for folder in ("earlyexit", "stages", "experiments", "rehearsal", "benchmarks")
    for path in (ROOT / folder).rglob("*.py")
)

UNPICKLERS = {"pickle", "_pickle", "cPickle", "shelve", "marshal", "dill", "joblib", "cloudpickle", "pickletools"}
FORBIDDEN_MODULES = UNPICKLERS | {"yaml", "xml", "lxml", "code", "codeop", "runpy", "pty", "commands", "ctypes"}
# ctypes loads no file from elsewhere: prctl and renameat2 of the C library, block counters that are compiled here.
CTYPES = {
    "earlyexit/common/files.py",
    "earlyexit/common/pool.py",
    "earlyexit/emulation/emulator.py",
    "earlyexit/emulation/portable.py",
}
FORBIDDEN_NAMES = {"eval", "exec", "compile", "__import__", "breakpoint"}
FORBIDDEN_CALLS = {
    "os.system", "os.popen", "torch.load", "torch.jit.load", "torch.hub.load", "tempfile.mktemp", "pd.read_pickle",
    "pandas.read_pickle", "pd.eval", "subprocess.getoutput", "subprocess.getstatusoutput", "np.fromregex",
}  # fmt: skip
FORBIDDEN_METHODS = {"extract", "extractall", "unpack_archive", "query", "load_module"}
SUBPROCESS = {
    "subprocess.run",
    "subprocess.Popen",
    "subprocess.call",
    "subprocess.check_call",
    "subprocess.check_output",
}
# Pillow's other formats include EPS, for which it starts Ghostscript.
KEYWORDS = {"np.load": "allow_pickle=False", "numpy.load": "allow_pickle=False", "Image.open": "formats="}


def offences(source: str, name: str = "module.py") -> Iterator[str]:
    """What a module does that could run code from a file, a param or a name."""
    for node in ast.walk(ast.parse(source)):
        for module in imported(node):
            if module in FORBIDDEN_MODULES and not (module == "ctypes" and name in CTYPES):
                yield f"import {module}"
        if isinstance(node, ast.Call):
            yield from offending_call(node)


def imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name.partition(".")[0] for alias in node.names]
    return [node.module.partition(".")[0]] if isinstance(node, ast.ImportFrom) and node.module else []


def offending_call(node: ast.Call) -> Iterator[str]:
    called = ast.unparse(node.func)
    keywords = {f"{keyword.arg}={ast.unparse(keyword.value)}" for keyword in node.keywords}
    method = isinstance(node.func, ast.Attribute) and node.func.attr
    if called in FORBIDDEN_NAMES | FORBIDDEN_CALLS or method in FORBIDDEN_METHODS or called.startswith("os.spawn"):
        yield f"{called}()"
    needed = KEYWORDS.get(called, "")
    if needed and not any(keyword.startswith(needed) for keyword in keywords):
        yield f"{called}() without {needed}"
    if called in SUBPROCESS:
        if any(keyword.startswith("shell=") for keyword in keywords):
            yield f"{called}(shell=...)"
        if not node.args or isinstance(node.args[0], ast.Constant | ast.JoinedStr):
            yield f"{called}() of a string"
    if called == "YAML" and "typ='safe'" not in keywords:
        yield "YAML() that is not safe"


@pytest.mark.parametrize("path", CODE, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_module_can_run_code_from_elsewhere(path: Path) -> None:
    assert list(offences(path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix())) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "from yaml import load", "import os.path, marshal", "import xml.etree.ElementTree as tree",
        "import ctypes", "eval('1')", "__import__(name)", "os.system(command)", "subprocess.run('ls', check=True)",
        "subprocess.run(f'ls {x}')", "subprocess.run(command, shell=True)", "torch.load(path)", "np.load(path)",
        "np.load(path, allow_pickle=True)", "archive.extractall(folder)", "tar.extract(member)", "YAML(typ='unsafe')",
        "YAML()", "Image.open(file)", "tempfile.mktemp()", "frame.query(text)",
    ],
)  # fmt: skip
def test_the_search_for_such_code_finds_it(source: str) -> None:
    assert list(offences(source))


def test_commands_of_the_workflow_hold_no_params() -> None:
    workflow = YAML(typ="safe", pure=True).load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
    assert not workflow.keys() & {"vars"}
    for stage in workflow["stages"].values():
        assert isinstance(stage.get("foreach", []), dict | list)  # in place, not "${a param}"
        body = stage.get("do", stage)
        assert set(re.findall(r"\$\{(.*?)\}", json.dumps(body))) <= {"item", "key"}
        assert re.fullmatch(r"exec python -m stages\.\w+( (\$\{(item|key)\}|[\w/])+)*", body["cmd"])
        assert "vars" not in body


NAMES = [
    "a b",
    "it's",
    'say "a"',
    "a;touch CANARY",
    "$(touch CANARY)",
    "`touch CANARY`",
    "a\ntouch CANARY\n",
    "-rf",
    "${x}",
]


def test_a_source_of_any_name_is_only_a_name(tmp_path: Path) -> None:
    """Through the real `dvc repro download`: a folder whose name is all of NAMES in one."""
    for name in ("stages", "earlyexit"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    source = "".join(NAMES)
    write_source(tmp_path / source)
    content = YAML(typ="safe", pure=True).load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    content["data"]["source"] = source
    (tmp_path / "params.yaml").write_text(json.dumps(content), encoding="utf-8")
    assert params.load(tmp_path / "params.yaml").data.source == source

    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "DVC_NO_ANALYTICS": "1"}
    for command in (["init", "--no-scm", "-q"], ["repro", "-q", "download"]):
        process = subprocess.run(
            [sys.executable, "-m", "dvc", *command], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert process.returncode == 0, process.stderr
    assert (tmp_path / "data/raw/annotations/instances_val.json").is_file()
    assert not list(tmp_path.rglob("CANARY"))


@pytest.mark.parametrize("name", NAMES)
def test_an_override_of_any_text_is_only_a_text(name: str) -> None:
    defaults = params.load(ROOT / "params.yaml")
    changed = params.overridden(defaults, [f"baseline.pretrained={json.dumps(name)}"])
    assert changed.baseline.pretrained == name


@pytest.mark.parametrize("text", ["!!python/object/apply:os.system ['touch CANARY']", "!!python/name:os.system ''"])
def test_a_yaml_tag_builds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(f"data: {text}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"params\.yaml: not valid YAML: could not determine a constructor"):
        params.load()
    assert not Path("CANARY").exists()


@st.composite
def mutated(draw: st.DrawFn, content: bytes, head: int | None = None) -> bytes:
    """`content` with one to four places, in its first `head` bytes, flipped, overwritten, cut, doubled or filled."""
    changed = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, min(len(changed), head or len(changed))))
        length = draw(st.integers(1, 16))
        match draw(st.integers(0, 6)):
            case 0 if start < len(changed):
                changed[start] ^= 1 << draw(st.integers(0, 7))
            case 1:
                changed[start : start + length] = draw(st.binary(min_size=length, max_size=length))
            case 2:
                changed[start:start] = draw(st.binary(max_size=length))
            case 3:
                del changed[start : start + length]
            case 4:
                del changed[start:]
            case 5:
                number = draw(st.sampled_from([0, 1, 4, 255, 2**16, 2**31 - 1, 2**31, 2**32 - 1]))
                changed[start // 4 * 4 : start // 4 * 4 + 4] = struct.pack("<I", number)
            case 6:
                other = draw(st.integers(0, len(content)))
                changed[start : start + length] = content[other : other + length]
    return bytes(changed)


@dataclass(frozen=True)
class Reader:
    """A valid file, and what reads it."""

    path: Path
    read: Callable[[Path], object]
    head: int | None = None

    def check(self, content: bytes) -> None:
        """Read `content` from the file: it must succeed, or end in an error of one line that names the file."""
        self.path.write_bytes(content)
        try:
            self.read(self.path)
        except (ValueError, OSError) as error:
            message = str(error)
            assert message.isprintable(), message
            assert self.path.stem in message, message


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Reader]:
    folder = tmp_path_factory.mktemp("files")
    structure = tiny_network.architecture()
    models = blueprint(structure)
    deployment.save(folder, Deployment(structure.outputs, models, [1] * len(models), structure.pixels), "litert")
    write_json(folder / "thresholds.json", results.thresholds().model_dump())
    per_image.save(folder / "val.safetensors", results.evaluation(6))
    baseline = EarlyExitNetwork(structure.model_copy(update={"exits": [], "head_channels": []}))
    numbered = {
        f"{layer.number}.{layer.kind}.{name}": value.clone()
        for layer in pretrained._layers(baseline)
        for name, value in (
            ("weight", layer.weight.detach()),
            ("bias", layer.weight.detach().flatten()[: len(layer.weight)]),
        )
    }
    save_file(numbered, folder / "layers.safetensors", metadata={"epsilon": "1e-3"})
    np.save(folder / "train.npy", np.zeros((4, 8, 8, 3), np.uint8))
    rows = [f"{number},train,{number % 2},0.{number}\n" for number in range(4)]
    (folder / "index.csv").write_text(f"{','.join(dataset.COLUMNS)}\n{''.join(rows)}", encoding="utf-8")
    shutil.copy(ROOT / "params.yaml", folder)
    return {
        "manifest": Reader(folder / deployment.MANIFEST, lambda path: deployment.load(path.parent)),
        "thresholds": Reader(folder / "thresholds.json", lambda path: load_thresholds(path).print_summary()),
        "evaluation": Reader(folder / "val.safetensors", lambda path: per_image.report(per_image.load(path)), head=500),
        "npy": Reader(
            folder / "train.npy", lambda path: dataset.open_split(path.parent, "train").images.sum(), head=128
        ),
        "csv": Reader(folder / "index.csv", lambda path: dataset.open_split(path.parent, "train")),
        "pretrained": Reader(
            folder / "layers.safetensors", lambda path: pretrained.load_pretrained(baseline, path), head=3000
        ),
    }


@pytest.mark.parametrize("name", ["manifest", "thresholds", "evaluation", "npy", "csv", "pretrained"])
def test_a_damaged_file_is_refused_in_one_line(readers: dict[str, Reader], name: str) -> None:
    reader = readers[name]
    valid = reader.path.read_bytes()
    reader.read(reader.path)

    @settings(max_examples=60, suppress_health_check=list(HealthCheck))
    @given(mutated(valid, reader.head))
    def damage(content: bytes) -> None:
        reader.check(content)

    try:
        damage()
    finally:
        reader.path.write_bytes(valid)


def nodes(content: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of a JSON file: what holds it, and its key there."""
    for key in content if isinstance(content, dict) else range(len(content)):
        yield content, key
        if isinstance(content[key], dict | list):
            yield from nodes(content[key])


VALUES: list[Any] = [
    None,
    True,
    -1,
    0,
    10**30,
    1e300,
    float("nan"),
    "",
    "../x.tflite",
    "a\n*/",
    [],
    {},
    [[]],
    [1] * 200,
]


@pytest.mark.parametrize("name", ["manifest", "thresholds"])
def test_json_of_another_shape_is_refused_in_one_line(readers: dict[str, Reader], name: str) -> None:
    reader = readers[name]
    valid = reader.path.read_bytes()

    @settings(max_examples=60)
    @given(st.data())
    def damage(data: st.DataObject) -> None:
        content = json.loads(valid)
        parent, key = data.draw(st.sampled_from([*nodes(content)][:400]))
        parent[key] = data.draw(st.sampled_from(VALUES))
        reader.check(json.dumps(content).encode())

    try:
        damage()
    finally:
        reader.path.write_bytes(valid)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"file": "../segment1.tflite"}, "segments.0.file: String should match pattern"),
        ({"file": "/etc/passwd"}, "segments.0.file: String should match pattern"),
        ({"classifier": "*/ int main"}, "segments.0.classifier: String should match pattern"),
        ({"macs": -1}, "segments.0.macs: Input should be greater than or equal to 0"),
    ],
)
def test_a_manifest_reaches_no_other_file(
    readers: dict[str, Reader], tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    manifest = json.loads(readers["manifest"].path.read_bytes())
    manifest["segments"][0] |= change
    write_json(tmp_path / deployment.MANIFEST, manifest)
    with pytest.raises(ValueError, match=f"{deployment.MANIFEST}: not a manifest of segments: {message}"):
        deployment.load(tmp_path)


@pytest.mark.parametrize("kind", ["F8_E4M3", "F8_E5M2", "F4", "C64", "U64"])
def test_weights_of_an_odd_type_are_named(tmp_path: Path, kind: str) -> None:
    size = {"F4": 4, "C64": 64, "U64": 64}.get(kind, 8)
    header = json.dumps({"a": {"dtype": kind, "shape": [8], "data_offsets": [0, size]}}).encode()
    path = tmp_path / "odd.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(size))
    with pytest.raises(ValueError, match=r"odd\.safetensors: tensors of type \w+, expected float16"):
        pretrained.load_pretrained(EarlyExitNetwork(tiny_network.architecture()), path)


@pytest.mark.usefixtures("at_the_end_of_the_stack")
def test_json_that_nests_too_deep_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "thresholds.json"
    path.write_text("[" * 100_000, encoding="utf-8")
    with pytest.raises(ValueError, match=r"thresholds\.json: not valid JSON"):
        load_thresholds(path)


@pytest.mark.parametrize(
    "header",
    [
        b"(" * 9000,
        b"-" * 9000 + b"1",
        b"{'descr': '|O', 'fortran_order': False, 'shape': (4, 8, 8, 3)}",
        b"{'descr': '|u1', 'fortran_order': False, 'shape': (1099511627776, 1024, 1024, 3)}",
        b"{'descr': '|u1', 'fortran_order': False, 'shape': (-4, 8, 8, 3)}",
        b"{'descr': __import__('os').system('touch CANARY'), 'fortran_order': False, 'shape': (4, 8, 8, 3)}",
    ],
)
def test_a_header_of_an_array_is_only_read(readers: dict[str, Reader], tmp_path: Path, header: bytes) -> None:
    shutil.copy(readers["csv"].path, tmp_path)
    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header) + 1) + header + b"\n" + bytes(768)
    for junk in (content, b"PK\x03\x04" + bytes(100), b"PK\x05\x06" + bytes(18), b"\x80\x04cos\nsystem\n"):
        (tmp_path / "train.npy").write_bytes(junk)
        with pytest.raises(ValueError, match=r"train\.npy: ") as error:
            dataset.open_split(tmp_path, "train")
        assert "\n" not in str(error.value)
    assert not Path("CANARY").exists()
