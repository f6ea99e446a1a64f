"""Finished experiments by name: their params and reports as Git holds them, their models as DVC's cache holds them."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dvc.api import DVCFileSystem
from dvc.exceptions import DvcException, NotDvcRepoError
from dvc.repo import Repo
from ruamel.yaml import YAML

from earlyexit.common.files import write_json, write_text


@dataclass(frozen=True)
class Experiment:
    """A finished experiment.

    Attributes:
        name: such as seeds-3.
        revision: its commit.
        repo: the project.
    """

    name: str
    revision: str
    repo: Repo

    def param(self, leaf: str) -> Any:
        """Return one leaf of its params, e.g. train.seed.

        Raises:
            ValueError: there is no such leaf.
        """
        value = self._params
        for key in leaf.split("."):
            if not isinstance(value, dict) or key not in value:
                raise ValueError(f"{leaf}: no such leaf in the params of {self.name}")
            value = value[key]
        return value

    def report(self, name: str) -> Any:
        """Return the content of one of its JSON reports, e.g. table1.json."""
        return json.loads(self.read(f"reports/{name}"))

    def reports(self) -> dict[str, bytes]:
        """Return the content of each file that a stage wrote below reports/, by its path from there."""
        stages = _yaml(self.read("dvc.lock"))["stages"].values()
        outs = sorted(out["path"] for stage in stages for out in stage["outs"] if out["path"].startswith("reports/"))
        return {path.removeprefix("reports/"): self.read(path) for out in outs for path in self._files(out)}

    def read(self, path: str) -> bytes:
        """Return the content of a file that Git tracks in the experiment.

        Raises:
            ValueError: there is no such file; the experiment did not get that far.
        """
        if self._files(path) != [path]:
            raise ValueError(f"{self.name} ({self.revision[:7]}) has no {path}; see `dvc queue logs {self.name}`")
        content: bytes = self.repo.scm.get_fs(self.revision).cat_file(path)
        return content

    def fetch(self, paths: Sequence[str], folder: Path) -> None:
        """Copy files and folders of the experiment, such as models/int8, into `folder`.

        Raises:
            ValueError: one is not there, or not in DVC's cache.
        """
        files = DVCFileSystem(url=self.repo.root_dir, rev=self.revision)
        for path in paths:
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                files.get(path, str(target), recursive=files.isdir(path))
            except (DvcException, OSError) as error:
                raise ValueError(f"{self.name} ({self.revision[:7]}): {path} cannot be read: {error}") from error

    @cached_property
    def _params(self) -> Any:
        return _yaml(self.read("params.yaml"))

    def _files(self, path: str) -> list[str]:
        """Return `path` if it is a file, and all files below it if it is a folder."""
        return sorted(self.repo.scm.get_fs(self.revision).find(path))


def find(sweep: str, folder: str = ".") -> list[Experiment]:
    """Return the experiments `sweep` or `sweep`-1, `sweep`-2, ... of the newest commit that has any, in that order.

    Raises:
        ValueError: the folder is no DVC project, another process has locked it, or there are no such experiments.
    """
    try:
        repo = Repo(folder)
        listed = repo.experiments.ls(num=-1)
    except NotDvcRepoError as error:
        raise ValueError(f"{folder}: no DVC project ({error})") from error
    except DvcException as error:  # for one, another DVC process holds the lock
        raise ValueError(f"{folder}: the experiments cannot be listed: {error}") from error
    for experiments in listed.values():
        numbered = [(_number(name, sweep), name, revision) for name, revision in experiments]
        named = sorted(entry for entry in numbered if entry[0] is not None)
        if named:
            return [Experiment(name, revision, repo) for _, name, revision in named]
    raise ValueError(f"no experiments named {sweep}-1, {sweep}-2, ...; run `make {sweep}`, see docs/sweeps.md")


def folders(arguments: Sequence[str], paths: Sequence[str]) -> Iterator[Path]:
    """Yield the folder of each finished run; that of an experiment is a copy, removed when the next is asked for.

    Args:
        arguments: folders of finished runs, or names as `find` takes them.
        paths: what is read of a run.

    Raises:
        ValueError: there is no such folder and no such experiment, or it lacks one of `paths`.
    """
    for argument in arguments:
        if Path(argument).is_dir():
            yield Path(argument)
            continue
        for experiment in find(argument):
            with TemporaryDirectory() as copy:
                experiment.fetch(paths, Path(copy))
                yield Path(copy)


def seed(folder: Path) -> int:
    """Return train.seed of the finished run in `folder`."""
    return int(_yaml((folder / "params.yaml").read_bytes())["train"]["seed"])


def save(sweep: str, content: Any, text: str) -> None:
    """Write reports/sweeps/`sweep`.json with `content`, and .md with `text`; print `text`."""
    write_json(f"reports/sweeps/{sweep}.json", content)
    write_text(f"reports/sweeps/{sweep}.md", text)
    print(text)


def _number(name: str, sweep: str) -> int | None:
    """Return I for the name `sweep`-I, 0 for `sweep` itself, None for any other name."""
    if name == sweep:
        return 0
    rest = name.removeprefix(f"{sweep}-")
    return int(rest) if rest != name and rest.isdecimal() else None


def _yaml(content: bytes) -> Any:
    return YAML(typ="safe", pure=True).load(content.decode())
