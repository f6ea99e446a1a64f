"""Experiments by name: their params and the reports that they left in Git."""

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from dvc.exceptions import DvcException, NotDvcRepoError
from dvc.repo import Repo
from ruamel.yaml import YAML


@dataclass(frozen=True)
class Experiment:
    """A finished experiment.

    Attributes:
        name: such as seeds-3.
        revision: its commit.
        repo: where it lies.
    """

    name: str
    revision: str
    repo: Repo

    @cached_property
    def params(self) -> dict[str, Any]:
        """Its params.yaml."""
        content: dict[str, Any] = YAML(typ="safe", pure=True).load(self.read("params.yaml").decode())
        return content

    def param(self, leaf: str) -> Any:
        """Return one leaf of its params, e.g. train.seed.

        Raises:
            ValueError: there is no such leaf.
        """
        value: Any = self.params
        for key in leaf.split("."):
            if not isinstance(value, dict) or key not in value:
                raise ValueError(f"{leaf}: no such leaf in the params of {self.name}")
            value = value[key]
        return value

    def report(self, name: str) -> Any:
        """Return the content of one of its JSON reports, e.g. table1.json."""
        return json.loads(self.read(f"reports/{name}"))

    def reports(self) -> dict[str, bytes]:
        """Return every file that a stage wrote below reports/, by its path from there."""
        lock = YAML(typ="safe", pure=True).load(self.read("dvc.lock").decode())
        outs = [out["path"] for stage in lock["stages"].values() for out in stage["outs"]]
        found = {}
        for out in sorted(path for path in outs if path.startswith("reports/")):
            for path in self._files(out):
                found[path.removeprefix("reports/")] = self.read(path)
        return found

    def read(self, path: str) -> bytes:
        """Return the content of a file that Git tracks in the experiment.

        Raises:
            ValueError: there is none; the experiment did not get that far.
        """
        files = self._files(path)
        if files != [path]:
            raise ValueError(f"{self.name} ({self.revision[:7]}) has no {path}; see `dvc queue logs {self.name}`")
        with self.repo.scm.get_fs(self.revision).open(path, "rb") as file:
            content: bytes = file.read()
        return content

    def _files(self, path: str) -> list[str]:
        tree = self.repo.scm.get_fs(self.revision)
        if tree.isfile(path):
            return [path]
        return sorted(tree.find(path)) if tree.isdir(path) else []


def find(sweep: str, folder: str = ".") -> list[Experiment]:
    """Return the experiments `sweep` or `sweep`-1, `sweep`-2, ... of the newest commit that has any, in that order.

    Raises:
        ValueError: the folder is no DVC project, another process has locked it, or there are none.
    """
    try:
        repo = Repo(folder)
        listed = repo.experiments.ls(num=-1)
    except NotDvcRepoError as error:
        raise ValueError(f"{folder}: no DVC project ({error})") from error
    except DvcException as error:  # for one, another DVC process holds the lock
        raise ValueError(f"{folder}: the experiments cannot be listed: {error}") from error
    for experiments in listed.values():
        named = {name: rev for name, rev in experiments if name == sweep or _number(name, sweep) is not None}
        if named:
            order = sorted(named, key=lambda name: _number(name, sweep) or 0)
            return [Experiment(name, named[name], repo) for name in order]
    raise ValueError(f"no experiments named {sweep}-1, {sweep}-2, ...; run `make {sweep}`, see docs/sweeps.md")


def _number(name: str, sweep: str) -> int | None:
    rest = name.removeprefix(f"{sweep}-")
    return int(rest) if rest != name and rest.isdecimal() else None
