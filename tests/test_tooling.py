"""The promises that no module keeps: the README's commands, the scripts, the wheel, the image."""

from __future__ import annotations

import json
import os
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import pytest

from nnrecipe.recipe import Recipe

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SCRIPTS = [ROOT / ".ci" / "run", *sorted(p for p in (ROOT / "scripts").iterdir() if p.is_file())]

# The host of a package registry, or a path that only one machine has.
UNWANTED = re.compile(r"(?:pypi|pythonhosted|npmjs)\.org|(?<![\w.])/(?:work|home|root|Users)/")


def test_ci_runs_the_readmes_commands_as_they_stand_there() -> None:
    ci = (ROOT / ".ci" / "run").read_text().splitlines()
    commands = [shlex.split(line)[1] for line in ci if line.startswith("readme '")]
    assert commands == [
        "pip install . && nnrecipe run quickstart",
        'pip install -e ".[test]" && pytest',
    ]
    assert set(commands) <= set((ROOT / "README.md").read_text().splitlines())


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_script_can_be_started(script: Path) -> None:
    assert os.access(script, os.X_OK)
    name = str(script)
    is_bash = script.read_text().startswith("#!/usr/bin/env bash\n")
    command = ["bash", "-n", name] if is_bash else [sys.executable, name, "--help"]
    subprocess.run(command, check=True, capture_output=True, timeout=30)


def test_no_file_names_a_registry_or_a_path_of_one_machine() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: which files are the project's can't be told")
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    files = [ROOT / name for name in names.split("\0") if name]
    found = {
        f"{path.relative_to(ROOT)}: {match}"
        for path in files
        if path.is_file()
        for match in UNWANTED.findall(path.read_text(errors="ignore"))
    }
    assert ROOT / "pyproject.toml" in files
    assert found == set()


def test_license_is_mit() -> None:
    assert (ROOT / "LICENSE").read_text().startswith("MIT License\n")
    assert PROJECT["license"] == "MIT"


def test_wheel_holds_the_package_and_the_presets_and_nothing_else(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    packed = {name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name}
    presets = {f"nnrecipe/{name}" for name in files_below("configs")}
    assert "nnrecipe/configs/quickstart.yaml" in presets
    assert packed == set(files_below("nnrecipe")) | presets


def files_below(folder: str) -> Iterator[str]:
    """Every file of a folder of the repository, but for Python's caches."""
    for path in (ROOT / folder).rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path.relative_to(ROOT).as_posix()


def test_image_is_built_from_files_that_exist_and_are_sent() -> None:
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    sent = {line[1:] for line in ignore if line.startswith("!")}
    copied = {
        source
        for instruction, rest in dockerfile()
        if instruction == "COPY"
        for source in rest.split()[:-1]
    }
    assert "*" in ignore
    assert copied == sent
    assert all((ROOT / source).exists() for source in copied)


def test_image_runs_the_command_as_a_user_without_rights_on_the_code() -> None:
    instructions = dockerfile()
    runtime = dict(instructions[last(instructions, "FROM") :])
    (command,) = json.loads(runtime["ENTRYPOINT"])
    assert command in PROJECT["scripts"]
    assert runtime["USER"] not in ("root", "0")
    assert last(instructions, "RUN") < last(instructions, "USER")


def test_image_reads_data_from_a_volume_and_writes_runs_to_another() -> None:
    runtime = dict(dockerfile())
    volumes = json.loads(runtime["VOLUME"])
    environment = dict(setting.split("=", 1) for setting in shlex.split(runtime["ENV"]))
    assert {environment["NNRECIPE_DATA"], runtime["WORKDIR"]} == set(volumes)


def dockerfile() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile, in order, each with the rest of its line."""
    text = (ROOT / "Dockerfile").read_text()
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    joined = re.sub(r"\s*\\\n\s*", " ", "\n".join(lines))
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in joined.split("\n"))]


def last(instructions: list[tuple[str, str]], name: str) -> int:
    """Where the last instruction of this name stands."""
    return max(index for index, (found, _) in enumerate(instructions) if found == name)


def test_what_is_derived_from_the_specs_is_up_to_date() -> None:
    """Of the schema only the keys: its wording is pydantic's, and changes with it."""
    script = runpy.run_path(str(ROOT / "scripts" / "document_config"))
    page = "\n".join(script["document"]()).rstrip() + "\n"
    assert page == (ROOT / "docs" / "config.md").read_text(), "run scripts/document_config"
    saved = json.loads((ROOT / "configs" / "recipe.schema.json").read_text())
    current = Recipe.model_json_schema()
    assert {n: set(d.get("properties", ())) for n, d in saved["$defs"].items()} == {
        n: set(d.get("properties", ())) for n, d in current["$defs"].items()
    }, "run scripts/document_config"
