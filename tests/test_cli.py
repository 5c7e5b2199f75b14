from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

import nnrecipe.grid
import nnrecipe.runner
from nnrecipe.cli import FAST, main
from nnrecipe.core.errors import UserError
from nnrecipe.core.findings import StageResult, Verdict
from nnrecipe.core.report import Report
from nnrecipe.recipe import Recipe, load, load_recipe
from nnrecipe.recipe.catalogue import FAMILIES
from nnrecipe.recipe.network import activation_tables
from nnrecipe.training.compilation import has_compiler

COMMAND = [sys.executable, "-m", "nnrecipe"]
COMMANDS = [
    "run", "resume", "validate", "ls", "cp", "cat", "schema", "summary", "report", "compare",
    "dashboard", "explain", "predict", "export",
]  # fmt: skip
TINY = "data: {kind: digits, limit: 100}\narchitecture: {kind: mlp, widths: [4]}\nname: tiny\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test starts in an empty folder with one config, `tiny.yaml`."""
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(TINY)
    return tmp_path


class Runs:
    """Stands in for the runner: keeps what it is asked to run, and answers at once."""

    def __init__(self, verdicts: list[Verdict], error: BaseException | None = None) -> None:
        self.verdicts, self.error = verdicts, error
        self.recipes: list[Recipe] = []
        self.options: list[dict[str, Any]] = []

    def __call__(self, recipe: Recipe, **options: Any) -> nnrecipe.runner.Outcome:
        self.recipes.append(recipe)
        self.options.append(options)
        options["output"].mkdir(parents=True)
        if self.error is not None:
            raise self.error
        verdict = self.verdicts[(len(self.recipes) - 1) % len(self.verdicts)]
        stage = StageResult(stage="data", verdict=verdict, seconds=0.1, facts={}, findings=())
        metrics = {"test_accuracy": 0.9 + 0.01 * len(self.recipes)}
        report = Report.of(recipe.name, [stage], metrics)
        return nnrecipe.runner.Outcome(report=report, folder=options["output"])


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    stand_in = Runs([Verdict.PASS])
    monkeypatch.setattr(nnrecipe.grid, "run_recipe", stand_in)
    return stand_in


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["ls"], ["ls", "--help"], ["run", "--help"], ["cat", "quickstart"]],
)
def test_light_commands_import_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom nnrecipe.cli import main\n"
        f"assert main({arguments!r}) == 0\n"
        "heavy = {'torch', 'numpy', 'pydantic', 'matplotlib', 'rich'}.intersection(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_help_answers_at_once() -> None:
    def seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([*COMMAND, "--help"], check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds() for _ in range(3)) < 0.3


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {command} " in shown for command in COMMANDS)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("nnrecipe 0.")


def test_a_run_makes_its_folder_and_a_report(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "tiny.yaml", "--stages", "data", "--output", "out"]) == 0
    assert json.loads(Path("out/report.json").read_text())["stages"][0]["stage"] == "data"
    assert load_recipe("out/config.yaml") == load_recipe("tiny.yaml")
    assert "out/report.html" in capsys.readouterr().out
    assert main(["report", "out"]) == 0
    assert main(["run", "tiny.yaml", "--output", "out"]) == 2
    assert "holds a run already" in capsys.readouterr().err


def test_the_folder_is_named_after_the_recipe_and_the_time(runs: Runs) -> None:
    assert main(["run", "tiny.yaml"]) == 0
    (output,) = [options["output"] for options in runs.options]
    assert output.parent == Path("runs/tiny")


@pytest.mark.parametrize("content", [b"{", b"\xff", b"[" * 100_000, b"3"])
def test_a_report_does_without_a_broken_environment(content: bytes) -> None:
    assert main(["run", "tiny.yaml", "--stages", "data", "--output", "out"]) == 0
    Path("out/report.html").unlink()
    Path("out/environment.json").write_bytes(content)
    assert main(["report", "out"]) == 0
    assert "</html>" in Path("out/report.html").read_text()


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "tiny.yaml", "seed=3", "--device", "cpu", "--keep-going", "--output", "o"],
        ["--device", "cpu", "--keep-going", "run", "--output", "o", "tiny.yaml", "seed=3"],
        ["--device=cpu", "--output=o", "run", "seed=3", "--keep-going", "tiny.yaml"],
    ],
)
def test_flags_go_anywhere(runs: Runs, arguments: list[str]) -> None:
    assert main(arguments) == 0
    (recipe,), (options,) = runs.recipes, runs.options
    assert (recipe.name, recipe.seed, recipe.device) == ("tiny", 3, "cpu")
    assert (options["output"], options["keep_going"], options["stages"]) == (Path("o"), True, None)


def test_words_are_files_presets_and_overrides(runs: Runs) -> None:
    Path("a=b.yaml").write_text("training: {epochs: 3}\nnorm: batch\n")
    assert main(["run", "tiny.yaml", "training.batch_size=5", "a=b.yaml", "~norm"]) == 0
    (recipe,) = runs.recipes
    assert (recipe.training.epochs, recipe.training.batch_size) == (3, 5)
    assert recipe.norm.kind == "none"


def test_stages_are_handed_on(runs: Runs) -> None:
    assert main(["run", "tiny.yaml", "--stages", "data, sanity"]) == 0
    assert runs.options[0]["stages"] == ["data", "sanity"]


def test_fast_is_a_set_of_overrides_that_others_win_over(runs: Runs) -> None:
    assert main(["run", "quickstart", "--fast"]) == 0
    assert main(["run", "quickstart", "--output", "o", "--fast", "training.epochs=2"]) == 0
    fast, two = runs.recipes
    assert fast == load_recipe("quickstart", overrides=FAST)
    assert (fast.training.epochs, two.training.epochs) == (1, 2)


@pytest.mark.parametrize(
    ("verdict", "code"), [(Verdict.PASS, 0), (Verdict.WARN, 0), (Verdict.FAIL, 1)]
)
def test_the_verdict_is_the_exit_code(runs: Runs, verdict: Verdict, code: int) -> None:
    runs.verdicts = [verdict]
    assert main(["run", "tiny.yaml"]) == code


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("data.root: nothing there"), 2, "error: data.root: nothing there\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_an_expected_end_is_one_line(
    runs: Runs, capsys: pytest.CaptureFixture[str], error: BaseException, code: int, line: str
) -> None:
    runs.error = error
    assert main(["run", "tiny.yaml", "--output", "out"]) == code
    assert capsys.readouterr().err == line


def test_a_bug_of_ours_is_one_line_and_a_file(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nnrecipe.runner, "write_html", None)
    assert main(["run", "tiny.yaml", "--stages", "data", "--output", "out"]) == 3
    told = capsys.readouterr().err
    assert told.startswith(
        "unexpected error: TypeError: 'NoneType' object is not callable (see out"
    )
    assert told.count("\n") == 1
    assert "Traceback" in Path("out/error.txt").read_text()


def test_a_bug_of_ours_outside_a_run_leaves_a_file_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nnrecipe.recipe.loading.render", None)
    assert main(["validate", "tiny.yaml"]) == 3
    told = capsys.readouterr().err
    assert "Traceback" in Path(told.rpartition("(see ")[2].rstrip(")\n")).read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Usage: nnrecipe"),
        (["rum", "x"], "No such command 'rum'"),
        (["run"], "Missing argument"),
        (["run", "tiny.yaml", "--devise", "cpu"], "No such option"),
        (["run", "tiny.yaml", "--device", "tpu"], "'tpu' is not one of"),
        (["run", "tiny.yaml", "--seeds", "1,x"], "write whole numbers and commas"),
        (["run", "tiny.yaml", "--seeds", ""], "names nothing"),
        (["run", "tiny.yaml", "--stages", ""], "names nothing"),
        (["run", "tiny.yaml", "--stages", ", ,"], "names nothing"),
        (["run", "tiny.yaml", "--stages", "data,nope"], "nope"),
        (["run", "quikstart"], "did you mean quickstart?"),
        (["run", ""], "no such file or preset"),
        (["run", "seed=1"], "no config"),
        (["validate", "tiny.yaml", "sed=1"], "did you mean 'seed'?"),
        (["validate", "tiny.yaml", "seed=-1", "name=3"], "2 problems:"),
        (["run", "tiny.yaml", "--vary", "norm"], "--vary norm: names no values"),
        (["ls", "optimizer"], "did you mean 'optimizers'?"),
        (["compare"], "Missing argument"),
        (["compare", "nowhere"], "nowhere: no such folder"),
        (["compare", "."], "no run in it"),
        (["compare", ".", "--output", "picture.txt"], "no kind of picture"),
        (["cat", "quikstart"], "did you mean quickstart?"),
        (["cat", "latin.yaml"], "latin.yaml:2:6: YAML: byte 0xe9 is not UTF-8"),
        (["cp", "latin.yaml", "copy.yaml"], "byte 0xe9 is not UTF-8"),
        (["report", "nowhere"], "no report.json"),
        (["dashboard", "nowhere"], "no such folder"),
        (["dashboard", "."], "no TensorBoard files"),
        (["dashboard", ".", "--port", "0"], "Invalid value"),
    ],
)
def test_mistakes_of_the_user_end_in_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    Path("latin.yaml").write_bytes(b"seed: 1\n# caf\xe9s\n")
    assert main(arguments) == 2
    told = capsys.readouterr().err
    assert words in told
    assert "Traceback" not in told


def test_a_users_own_code_is_to_blame_for_its_errors(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine_for_cli.py").write_text("def net(inputs):\n    raise ZeroDivisionError('oh')\n")
    target = "architecture={kind: custom, target: 'mine_for_cli:net'}"
    assert main(["summary", "tiny.yaml", target]) == 2
    assert "mine_for_cli.py:2" in capsys.readouterr().err


CUSTOM = """\
from torch import nn

class Deaf(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        return self.fc(x)[:, no_such_name]
"""


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("deaf_for_cli:Deaf", ["architecture.target: deaf_for_cli:Deaf failed", "deaf_for_cli.py"]),
        ("builtins:dict", ["architecture.target: builtins:dict"]),
    ],
)
def test_a_custom_network_that_cannot_be_summarized_is_the_users(
    capsys: pytest.CaptureFixture[str], target: str, words: list[str]
) -> None:
    Path("deaf_for_cli.py").write_text(CUSTOM)
    assert main(["summary", "tiny.yaml", f"architecture={{kind: custom, target: '{target}'}}"]) == 2
    told = capsys.readouterr().err
    assert all(word in told for word in words)


def test_a_users_own_exit_is_no_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    Path("exits_for_cli.py").write_text("def net(inputs):\n    raise SystemExit(0)\n")
    target = "architecture={kind: custom, target: 'exits_for_cli:net'}"
    assert main(["run", "tiny.yaml", target]) == 2
    assert "sys.exit" in capsys.readouterr().err


def test_validate(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "tiny.yaml"]) == 0
    assert capsys.readouterr().out == "tiny: valid\n"


@pytest.mark.parametrize("command", ["run", "validate"])
def test_print_config_prints_a_config(capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert main([command, "tiny.yaml", "seed=7", "--print-config"]) == 0
    printed = capsys.readouterr().out
    assert printed == load("tiny.yaml", overrides=["seed=7"]).resolved
    Path("printed.yaml").write_text(printed)
    assert load_recipe("printed.yaml") == load_recipe("tiny.yaml", overrides=["seed=7"])
    assert "# seed=7" in printed
    assert not Path("runs").exists()


def test_summary_is_the_lectures_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["summary", "lenet5-fashion-mnist"]) == 0
    assert "Total parameters: 61,706" in capsys.readouterr().out


def test_summary_tells_what_is_frozen(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["summary", "lenet5-fashion-mnist", "transfer.freeze=[^conv]"]) == 0
    shown = capsys.readouterr().out
    assert "Total parameters: 61,706" in shown
    frozen = (6 * 25 + 6) + (16 * 6 * 25 + 16)
    assert f"Trainable parameters: {61_706 - frozen:,}" in shown
    rows = {line.split()[0]: line.split()[1:] for line in shown.splitlines() if line}
    assert rows["conv2.weight"] == ["16x6x5x5", "frozen", "^conv"]
    assert rows["fc3.weight"] == ["10x84", "lr", "x", "1", "weights"]


def test_summary_follows_a_batch_through_the_layers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["summary", "tiny.yaml", "--activations"]) == 0
    assert capsys.readouterr().out == f"{activation_tables(load_recipe('tiny.yaml'))}\n"


def test_schema_describes_recipes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema["$schema"].endswith("2020-12/schema")
    assert set(schema["properties"]) == set(Recipe.model_fields)
    assert schema["additionalProperties"] is False
    assert "batch" in schema["properties"]["norm"]["anyOf"][0]["enum"]


def test_ls_describes_every_preset(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split()[0] == "quickstart" for line in lines)
    assert all(len(line.split()) > 3 for line in lines)


def test_ls_describes_a_family(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls", "norms"]) == 0
    shown = capsys.readouterr().out
    assert "norm: batch" in shown
    assert [line.split()[0] for line in shown.splitlines()[3:] if line[:1].isalpha()] == [
        "none", "batch", "layer", "group", "instance",
    ]  # fmt: skip


def test_ls_help_names_the_families(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls", "--help"]) == 0
    shown = capsys.readouterr().out
    assert all(family in shown for family in FAMILIES)


def test_compare_reads_what_runs_left(capsys: pytest.CaptureFixture[str]) -> None:
    for norm in ("none", "batch"):
        line = ["run", "tiny.yaml", f"norm={norm}", "--stages", "data", "--output", f"r/{norm}"]
        assert main(line) == 0
    capsys.readouterr()
    assert main(["compare", "r/none", "r"]) == 0
    shown = capsys.readouterr().out
    assert [line.split()[0] for line in shown.splitlines() if "up to data" in line] == [
        "none", "batch",
    ]  # fmt: skip
    assert "no picture: no run came to a metric" in shown


def test_cp_never_overwrites_by_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cp", "lecture/overfit-20"]) == 0
    copy = Path("overfit-20.yaml")
    assert main(["cat", "lecture/overfit-20"]) == 0
    (schema, text), printed = copy.read_text().split("\n", 1), capsys.readouterr().out
    assert printed.endswith(f"$schema=../recipe.schema.json\n{text}")
    _, _, place = schema.partition("# yaml-language-server: $schema=file://")
    assert json.loads(Path(place).read_text())["title"] == "Recipe"
    copy.write_text("mine")
    assert main(["cp", "lecture/overfit-20"]) == 2
    assert copy.read_text() == "mine"
    assert main(["cp", "lecture/overfit-20", "--force"]) == 0
    assert copy.read_text() != "mine"
    Path("folder").mkdir()
    assert main(["cp", "quickstart", "folder"]) == 0
    assert main(["cp", "quickstart", "folder/other.yaml"]) == 0
    assert {path.name for path in Path("folder").iterdir()} == {"quickstart.yaml", "other.yaml"}
    assert main(["cp", "quickstart", "no/such/folder.yaml"]) == 2
    assert main(["cp", "tiny.yaml", "same.yaml"]) == 0
    assert Path("same.yaml").read_text() == TINY


def test_a_reader_that_leaves_is_no_error() -> None:
    shell = " ".join([*COMMAND, "schema | head -1; exit ${PIPESTATUS[0]}"])
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "{\n", "")


def test_a_run_whose_reader_leaves_is_interrupted() -> None:
    shell = " ".join([*COMMAND, "run tiny.yaml --stages data | head -1; exit ${PIPESTATUS[0]}"])
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "")


def test_a_file_name_that_is_no_text_is_no_obstacle() -> None:
    name = os.fsdecode(b"caf\xe9.yaml")
    Path(name).write_text(f"{TINY}")
    done = subprocess.run([*COMMAND, "validate", name, "--print-config"], capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"# caf\\udce9.yaml:3" in done.stdout
    Path(name).write_text("seed: -1")
    done = subprocess.run([*COMMAND, "validate", name], capture_output=True)
    assert done.returncode == 2


@pytest.mark.slow
def test_dashboard_serves_this_machine_alone_and_ends_with_its_child(folder: Path) -> None:
    assert main(["run", "tiny.yaml", "--stages", "data", "--output", "out"]) == 0
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [*COMMAND, "dashboard", "out", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert f"http://127.0.0.1:{port}/" in line
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as answer:
            assert answer.status == 200
        assert main(["dashboard", "out", "--port", str(port)]) == 2
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 130
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def _trained(folder: Path) -> dict[str, object]:
    report = json.loads((folder / "report.json").read_text())
    facts: dict[str, object] = next(s["facts"] for s in report["stages"] if s["stage"] == "train")
    return facts


SHORT = ("data.limit=200", "training.epochs=2", "optimizer.lr=1e-3")


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_the_speed_of_a_training_is_for_the_config_to_set(precision: str) -> None:
    changes = [f"precision={precision}", "training.threads=1", "training.compile=off"]
    code = main(["run", "quickstart", *SHORT, *changes, "--stages", "train", "--output", "out"])
    assert code in (0, 1)
    facts = _trained(Path("out"))
    assert (facts["precision"], facts["compiled"]) == (precision, False)
    environment = json.loads(Path("out/environment.json").read_text())
    assert environment["threads"] == 1


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("precision=fp8", "precision"),
        ("training.threads=0", "training.threads"),
        ("training.compile=maybe", "training.compile"),
    ],
)
def test_a_speed_that_is_none_is_refused(
    change: str, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["validate", "quickstart", change]) == 2
    assert named in capsys.readouterr().err


def test_fp16_and_lbfgs_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "mlp-cifar10", "precision=fp16", "optimizer=lbfgs"]) == 2
    assert "use bf16 or fp32" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(not has_compiler(), reason="no C++ compiler here")
def test_a_compiled_training_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    changes = [*SHORT, "architecture={kind: mlp, widths: [8]}", "training.compile=on"]
    arguments = ["run", "quickstart", *changes, "--stages", "train", "--output", "out"]
    assert main(arguments) in (0, 1), capsys.readouterr().err
    assert _trained(Path("out"))["compiled"] is True


def test_a_preset_that_is_tried_in_a_few_steps_does_not_fail() -> None:
    """Its one epoch is short and its schedule is soon over, as `--fast` makes them."""
    assert main(["run", "digits-lenet5", "--fast", "data.limit=600", "--output", "out"]) == 0
