"""The folder as its users take it: CMake, Arduino, PlatformIO and Zephyr."""

import json
import os
import re
import runpy
import shutil
import subprocess
import tarfile
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ruamel.yaml import YAML

from earlyexit.common.files import write_text
from earlyexit.firmware import packages, source
from earlyexit.policy import decision
from earlyexit.task import CLASSES
from earlyexit.tflite import arena
from earlyexit.tflite.deployment import Deployment
from tests import ROOT, tiny_network
from tests.firmware.host import HERE, build
from tests.policies import policy

THRESHOLDS = [12, 20]
CPP = ["-std=c++11", "-Wall", "-Wextra", "-Werror"]
C = ["src/ee_network.c", "src/ee_kernels.c"]
MODULE: dict[str, Any] = {"name": str, "build": {"cmake": str, "kconfig": str}}  # of Zephyr's scripts/zephyr_module.py


@pytest.fixture(scope="module")
def folder(deployed: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("library")
    layout = source.lay_out(source.read(deployed.models))
    for name, text in packages.generate(source.generate(deployed, policy(THRESHOLDS)), layout).items():
        write_text(folder / name, text)
    return folder


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return tiny_network.images(8, seed=5)


@pytest.fixture(scope="module")
def answers(deployed: Deployment, images: np.ndarray) -> list[str]:
    """What the cascade answers in Python."""
    x, logits = deployed.quantize(images), []
    for model in deployed.models:
        outputs = sorted(arena.run(model, x), key=np.ndim)
        logits.append(outputs[0])
        x = outputs[-1]
    decided = decision.decide(np.array(logits), THRESHOLDS)
    margins = decision.margins(np.array(logits))[decided.exits, np.arange(len(images))]
    rows = zip(decided.labels, decided.exits, margins, strict=True)
    return [f"{CLASSES[label]}: exit {exit_}, margin {margin}" for label, exit_, margin in rows]


def lines(program: Path, given: bytes = b"") -> list[str]:
    return subprocess.run([program], input=given, capture_output=True, check=True).stdout.decode().splitlines()


def test_example_classifies_pixels(folder: Path, images: np.ndarray, answers: list[str], tmp_path: Path) -> None:
    """Under sanitizers."""
    sources = [folder / name for name in [packages.HOST_EXAMPLE, *C]]
    assert lines(build(sources, tmp_path / "example", includes=[folder / "src"]), images.tobytes()) == answers


@pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is not installed")
@pytest.mark.parametrize("top", [True, False])
def test_cmake_builds_it(top: bool, folder: Path, images: np.ndarray, answers: list[str], tmp_path: Path) -> None:
    """As a project of its own, and as a part of an application."""
    if not top:
        text = f"""cmake_minimum_required(VERSION 3.13)
            project(application C)
            add_subdirectory({folder} library)
            add_executable(example {folder / packages.HOST_EXAMPLE})
            target_link_libraries(example PRIVATE earlyexit)"""
        write_text(tmp_path / "CMakeLists.txt", text)
    command = ["cmake", "-S", str(folder if top else tmp_path), "-B", str(tmp_path / "build"), "-Werror=dev"]
    subprocess.run(command, capture_output=True, check=True)
    subprocess.run(["cmake", "--build", str(tmp_path / "build")], capture_output=True, check=True)
    assert lines(tmp_path / "build/example", images.tobytes()) == answers


def test_arduino_classifies_frames(folder: Path, images: np.ndarray, answers: list[str], tmp_path: Path) -> None:
    """The core of `standins` takes the place of Arduino's; frames come between other bytes, and one is cut short."""
    side = images.shape[1]
    sender = runpy.run_path(str(folder / "examples/person_detection/send_frames.py"))["frame"]
    frames = [sender(image.tobytes(), side, side) for image in images]
    wrong = b"RRGB1" + frames[0][4:6] + b"\2\1" + b"RGB\n"
    main = "#include <Arduino.h>\n#include <person_detection.ino>\nint main() { setup(); for (;;) loop(); }\n"
    write_text(tmp_path / "main.cpp", main)
    for name in C:
        command = ["gcc", "-std=c99", "-O1", "-c", str(folder / name), "-o", Path(name).stem + ".o"]
        subprocess.run(command, cwd=tmp_path, check=True)
    includes = [f"-I{path}" for path in (HERE / "standins", folder / "src", folder / "examples/person_detection")]
    command = ["g++", *CPP, "-O1", *includes, "main.cpp", "ee_network.o", "ee_kernels.o", "-o", "sketch"]
    subprocess.run(command, cwd=tmp_path, check=True)
    found = lines(tmp_path / "sketch", wrong + b"".join(frames) + b"R" + frames[0][:-1])
    expected = [f"error: frame of {side}x258 pixels, expected {side}x{side}"]
    expected += [f"{answer}, 1000 us" for answer in answers]
    assert found == [*expected, "error: frame cut short"]


def test_arduino_finds_its_properties(folder: Path) -> None:
    """What https://arduino.github.io/arduino-cli/latest/library-specification asks for."""
    properties = dict(line.split("=", 1) for line in (folder / "library.properties").read_text().splitlines())
    assert properties.keys() >= {"name", "version", "author", "maintainer", "sentence", "paragraph", "architectures"}
    assert properties["category"] == "Data Processing"
    assert (folder / "src" / properties["includes"]).is_file()
    assert re.fullmatch(r"[\w .-]{1,63}", properties["name"])


def test_all_have_the_version_of_the_project(folder: Path) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert version == packages.VERSION
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"\nversion={version}\n" in (folder / "library.properties").read_text()
    assert f"project(earlyexit VERSION {version} " in (folder / "CMakeLists.txt").read_text()
    assert json.loads((folder / "library.json").read_text())["version"] == version
    assert f"version {version}" in (folder / "zephyr/Kconfig").read_text()


@pytest.mark.skipif(shutil.which("pio") is None, reason="platformio is not installed")
def test_platformio_packs_it(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "library")
    manifest = json.loads((folder / "library.json").read_text())
    assert manifest.pop("license") == "Apache-2.0"  # PlatformIO fetches the list of licenses to check it
    write_text(tmp_path / "library/library.json", json.dumps(manifest))
    environment = os.environ | {"PLATFORMIO_CORE_DIR": str(tmp_path), "PLATFORMIO_SETTING_ENABLE_TELEMETRY": "0"}
    command = ["pio", "pkg", "pack", "library", "-o", "."]
    subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=True)
    with tarfile.open(tmp_path / f"earlyexit-{packages.VERSION}.tar.gz") as archive:
        packed = set(archive.getnames())
    examples = {f"{entry['base']}/{name}" for entry in manifest["examples"] for name in entry["files"]}
    sources = {f"src/{name}" for name in source.LIBRARY}
    assert packed - {".piopm", "library.properties"} == {"library.json"} | sources | examples


def test_zephyr_finds_the_module(folder: Path) -> None:
    module = YAML(typ="safe").load(folder / "zephyr/module.yml")
    assert {name: type(value) for name, value in module.items()} == {"name": str, "build": dict}
    assert {name: type(value) for name, value in module["build"].items()} == MODULE["build"]
    assert (folder / module["build"]["cmake"] / "CMakeLists.txt").is_file()
    assert (folder / module["build"]["kconfig"]).is_file()
    text = (folder / "zephyr/CMakeLists.txt").read_text()
    assert [(folder / "zephyr" / name).resolve().is_file() for name in re.findall(r"\.\./src/\w+\.c", text)] == [
        True
    ] * 2


def test_zephyr_has_a_symbol_for_it(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kconfiglib = pytest.importorskip("kconfiglib")
    write_text(tmp_path / "Kconfig", f'config BIG_ENDIAN\n\tbool\nsource "{folder / "zephyr/Kconfig"}"\n')
    tree = kconfiglib.Kconfig(str(tmp_path / "Kconfig"))
    tree.load_config(str(folder / "examples/zephyr/prj.conf"))
    assert tree.syms["EARLYEXIT"].str_value == "y"
    assert tree.warnings == []


def test_zephyr_example_prints_an_answer(folder: Path, tmp_path: Path) -> None:
    sources = [folder / name for name in ["examples/zephyr/src/main.c", *C]]
    program = build(sources, tmp_path / "example", includes=[HERE / "standins", folder / "src"])
    assert re.fullmatch(r"(no )?person: exit \d, margin \d+, 1000 us", "\n".join(lines(program)))
