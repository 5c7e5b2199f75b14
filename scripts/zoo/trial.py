"""One case with one seed: nnrecipe's word on it, a plain training, and what other tools say."""

from __future__ import annotations

import contextlib
import json
import math
import shutil
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from nnrecipe import cli
from zoo.case import Case, for_seed
from zoo.rules import TOOLS
from zoo.telemetry import train

OUR_ERROR = 3  # the exit code
RECIPE, DIAGNOSED, TRAINED = "recipe.yaml", "nnrecipe.json", "training.json"


@dataclass(frozen=True)
class Trial:
    """A case with one seed, on the pictures of `source`, in a folder of its own."""

    case: Case
    seed: int
    source: str
    output: Path

    @property
    def folder(self) -> Path:
        """Where everything of the trial lies."""
        return self.output / self.case.name / f"seed-{self.seed}"

    @property
    def missing(self) -> list[str]:
        """Which of the trial's results are not there, or are another recipe's."""
        text = self._text()
        recipe = self.folder / RECIPE
        if not recipe.exists() or recipe.read_text() != text:
            return [DIAGNOSED, TRAINED]
        return [name for name in (DIAGNOSED, TRAINED) if not self._has(name)]

    def _has(self, name: str) -> bool:
        """Whether a result is there; what an error of nnrecipe's own cut short is none."""
        path = self.folder / name
        return path.exists() and json.loads(path.read_text()).get("exit_code") != OUR_ERROR

    def result(self, name: str) -> dict[str, Any] | None:
        """What is known of the trial; None if it hasn't been run."""
        if name in self.missing:
            return None
        found: dict[str, Any] = json.loads((self.folder / name).read_text())
        return found

    def run(self) -> dict[str, Any]:
        """Do what is missing; the seconds that it took and, in a word, what came out."""
        missing = self.missing
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / RECIPE).write_text(self._text())
        for name, work in ((DIAGNOSED, self._diagnose), (TRAINED, self._train)):
            if name in missing:
                (self.folder / name).unlink(missing_ok=True)
                started = time.perf_counter()
                found = work()
                found["seconds"] = round(time.perf_counter() - started, 2)
                # Renaming is atomic: an interrupted trial leaves no half of a result behind.
                unfinished = self.folder / f"{name}.new"
                unfinished.write_text(json.dumps(found, indent=1) + "\n")
                unfinished.rename(self.folder / name)
        diagnosed, trained = (
            json.loads((self.folder / name).read_text()) for name in (DIAGNOSED, TRAINED)
        )
        return {"diagnosed": diagnosed, "trained": trained}

    def _text(self) -> str:
        config = for_seed(self.case.config, self.seed, self.source)
        return yaml.safe_dump({"tracking": "none", **config}, sort_keys=False)

    def _diagnose(self) -> dict[str, Any]:
        """`nnrecipe run` as a user calls it, and what its report says."""
        run = self.folder / "run"
        shutil.rmtree(run, ignore_errors=True)
        words = ["run", str(self.folder / RECIPE), "--output", str(run), "--device", "cpu"]
        with (
            (self.folder / "log.txt").open("w") as log,
            contextlib.redirect_stdout(log),
            contextlib.redirect_stderr(log),
        ):
            code = cli.main(words)
        report = run / "report.json"
        found: dict[str, Any] = {
            "exit_code": code,
            "verdict": "error",
            "causes": [],
            "findings": [],
        }
        if report.exists() and code in (0, 1):
            found |= _read(json.loads(report.read_text()))
        shutil.rmtree(run / "checkpoints", ignore_errors=True)
        return found

    def _train(self) -> dict[str, Any]:
        """The plain training, and the rules that fire on it; a training may also crash."""
        try:
            seen = train(self.folder / RECIPE)
        except Exception:
            reason = traceback.format_exc(limit=-3)
            return {"accuracy": 0.0, "crash": reason, "rules": {tool: [] for tool in TOOLS}}
        return {
            "accuracy": _rounded(seen.final_accuracy),
            "train_accuracy": list(map(_rounded, seen.train_accuracy)),
            "val_accuracy": list(map(_rounded, seen.val_accuracy)),
            "train_loss": list(map(_rounded, seen.train_loss)),
            "val_loss": list(map(_rounded, seen.val_loss)),
            "rules": {tool: rules(seen) for tool, rules in TOOLS.items()},
        }


def _read(report: dict[str, Any]) -> dict[str, Any]:
    """The verdict, the ranked causes, and each finding that is more than a `pass`."""
    return {
        "verdict": report["verdict"],
        "causes": [row["cause"] for row in report["diagnosis"]],
        "confidence": [row["confidence"] for row in report["diagnosis"]],
        "findings": [
            f"{stage['stage']}/{finding['check']}: {finding['verdict']} {finding['cause']}"
            for stage in report["stages"]
            for finding in stage["findings"]
            if finding["verdict"] != "pass"
        ],
    }


def _rounded(value: float) -> float | str:
    return round(value, 4) if math.isfinite(value) else str(value)
