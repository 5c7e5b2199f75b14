"""The ensemble stage: several models, each by itself and all together, on the validation split."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from torch import Tensor

from nnrecipe.core.device import evaluation_batch
from nnrecipe.core.errors import UserError
from nnrecipe.core.findings import Finding, StageResult, Verdict
from nnrecipe.core.seeding import derive_seed, isolated_rng
from nnrecipe.core.spec import Spec
from nnrecipe.data import DataBundle, Split
from nnrecipe.stages.fitting import full_setup
from nnrecipe.stages.run import Run
from nnrecipe.training.agreement import Agreement, agree
from nnrecipe.training.checkpoint import load_checkpoint, save_checkpoint
from nnrecipe.training.course import Course
from nnrecipe.training.ensembles import Ensemble, Members, NoEnsemble, Several, Snapshots, TopTrials
from nnrecipe.training.fit import fit

SOURCE = "lecture: model ensembles"
ENSEMBLE_FILE = "ensemble.pt"
ALIKE = 0.95
"""The correlation of their errors from which members have next to nothing to add to each other."""

State = dict[str, Tensor]


class EnsembleStage(Spec):
    """Trains or collects the members of `ensemble`, and measures what their average gains.

    Without an `ensemble` it is left out of the walk.
    """

    source: ClassVar[str] = SOURCE

    kind: Literal["ensemble"] = "ensemble"

    def run(self, run: Run) -> StageResult:
        """Write `ensemble.pt`, and compare each member with the average on the validation split."""
        if isinstance(run.ensemble, NoEnsemble):
            return StageResult.of(self.kind, {}, [])
        path = run.checkpoints / "best.pt"
        trained = "train" in [result.stage for result in run.results]
        if not trained and not path.exists():
            raise UserError(
                f"stages: ensemble needs a model, and {path} isn't there: add the train stage"
            )
        best = load_checkpoint(path, device=run.device) if path.exists() else None
        states = [] if best is None else _states(run, run.ensemble, best)
        if best is None or len(states) < run.ensemble.size:
            return StageResult.of(self.kind, {}, [_too_few(len(states), run.ensemble.size)])
        save_checkpoint(run.checkpoints / ENSEMBLE_FILE, _artefact(run, run.ensemble, states))
        facts, findings = measure(run, run.bench.data, run.bench.data.val, "val")
        for number in range(2, run.ensemble.size + 1):
            run.member_path(number).unlink(missing_ok=True)
        return StageResult.of(self.kind, facts, findings)


def measure(
    run: Run, data: DataBundle, split: Split, name: str
) -> tuple[dict[str, Any], list[Finding]]:
    """The saved ensemble on a split: its figures, also as metrics, and what they are worth."""
    saved = load_checkpoint(run.checkpoints / ENSEMBLE_FILE, device=run.device, part="members")
    ensemble = Ensemble.of_states(
        run.bench.make_model(), saved["members"], task=saved["task"], average=saved["average"]
    )
    batches = data.batches(split, evaluation_batch(run.device))
    precision = run.bench.precision
    found = agree(ensemble, batches, outputs=run.bench.outputs, precision=precision)
    average = found.average_figures()
    run.metrics |= {f"ensemble_{name}_{figure}": value for figure, value in average.items()}
    rows = _rows(found, saved["labels"])
    beside = _beside(run, data, split)
    run.logbook.scalars(0, {f"ensemble_{name}": {row["model"]: _first(row) for row in rows}})
    facts: dict[str, Any] = {
        "kind": saved["kind"],
        "average_of": "outputs" if saved["task"] == "regression" else saved["average"],
        "weights": run.training.average.kind,
        "gain_in_points": 100 * _first(_gain(found)),
        "gain": _gain(found),
        "disagreement": found.disagreement,
        "error_correlation": found.error_correlation,
        "models": [*rows, *beside],
    }
    return facts, [_judge_gain(found, name), _judge_diversity(found)]


def _states(run: Run, ensemble: Several, best: dict[str, Any]) -> list[State]:
    """The members' state dicts; fewer than asked for where a training was lost."""
    if isinstance(ensemble, Snapshots):
        paths = [run.snapshot_path(number) for number in range(1, ensemble.size + 1)]
        kept = [load_checkpoint(path, device=run.device) for path in paths if path.exists()]
        return [checkpoint["model"] for checkpoint in kept]
    if isinstance(ensemble, TopTrials):
        tops = [load_checkpoint(path, device=run.device) for path in _top_paths(run, ensemble)]
        return [checkpoint["model"] for checkpoint in tops]
    run.progress.begin(
        "ensemble", total=(ensemble.size - 1) * run.training.epochs * run.steps_per_epoch
    )
    others = (_member(run, number) for number in range(2, ensemble.size + 1))
    return [best["model"], *(state for state in others if state is not None)]


def _top_paths(run: Run, ensemble: TopTrials) -> list[Path]:
    """The kept models of the search's best trials, the best first."""
    searched = [result.facts for result in run.results if result.stage == "search"]
    best = searched[0].get("best", []) if searched else []
    paths = [run.trial_path(row["trial"]) for row in best]
    return [path for path in paths if path.exists()][: ensemble.size]


def _member(run: Run, number: int) -> State | None:
    """`_train`, or what it came to before the run was cut off."""
    path = run.member_path(number)
    try:
        state = State(load_checkpoint(path, device=run.device)["model"])
        run.progress.advance(run.training.epochs * run.steps_per_epoch)
        return state
    except UserError as error:
        if path.exists():
            run.progress.say(f"{error}: training member {number} anew")
    trained = _train(run, number)
    if trained is not None:
        save_checkpoint(path, {"model": trained})
    return trained


def _train(run: Run, number: int) -> State | None:
    """The best epoch's state of a member; None where no epoch ended with a finite loss.

    Its seed follows from the recipe's, so that ensembles of neighbouring seeds share no member.
    """
    rate = run.learning_rate
    assert rate is not None, "member 1 was trained"
    seed = derive_seed(run.bench.seed, "member", number)
    setup = full_setup(run, run.bench.make_variant(seed=seed), rate=rate)
    average = run.training.average.build(setup.model, epochs=run.training.epochs)
    course, state = Course(run.training.select_by, run.early_stopping), None
    with isolated_rng(seed, "train"):
        epochs = fit(
            setup,
            run.bench.data,
            run.training,
            average=average,
            seed=seed,
            progress=run.progress,
        )
        for record in epochs:
            if course.add(record):
                kept = average.model.state_dict()
                state = {name: tensor.detach().clone() for name, tensor in kept.items()}
            run.progress.advance(0, note=f"member {number}, epoch {record.epoch}")
            if course.should_stop:
                break
    return state


def _artefact(run: Run, ensemble: Several, states: list[State]) -> dict[str, Any]:
    """What `ensemble.pt` holds: as `best.pt`, with several state dicts in place of one."""
    noun = {"members": "member", "snapshots": "snapshot", "search": "trial, no."}[ensemble.kind]
    return {
        "members": states,
        "labels": [f"{noun} {number}" for number in range(1, len(states) + 1)],
        "kind": ensemble.kind,
        "average": ensemble.average,
        **run.about_model(),
    }


def _rows(found: Agreement, labels: list[str]) -> list[dict[str, Any]]:
    """A row for each member, for their mean and for the average."""
    members = found.member_figures()
    rows = [{"model": name, **row} for name, row in zip(labels, members, strict=True)]
    mean = {"model": "mean of these", **_means(members)}
    return [*rows, mean, {"model": "their average", **found.average_figures()}]


def _beside(run: Run, data: DataBundle, split: Split) -> list[dict[str, Any]]:
    """Also the train stage's model: a weight average, or else the best epoch's.

    Of independent members it is the first.
    """
    if isinstance(run.ensemble, Members):
        return []
    kind = run.training.average.kind
    best = load_checkpoint(run.checkpoints / "best.pt", device=run.device)
    alone = Ensemble.of_states(
        run.bench.make_model(), [best["model"]], task=run.bench.outputs.task, average="logits"
    )
    batches = data.batches(split, evaluation_batch(run.device))
    precision = run.bench.precision
    found = agree(alone, batches, outputs=run.bench.outputs, precision=precision)
    (row,) = found.member_figures()
    return [{"model": "best epoch" if kind == "none" else f"weight average ({kind})", **row}]


def _means(rows: list[dict[str, float]]) -> dict[str, float]:
    return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}


def _first(row: dict[str, Any]) -> float:
    """The score that figures are known by, the first of them; a row begins with a name."""
    return next(value for value in row.values() if isinstance(value, float))


def _gain(found: Agreement) -> dict[str, float]:
    """The average's figures less the members' mean."""
    mean, average = _means(found.member_figures()), found.average_figures()
    return {name: average[name] - mean[name] for name in mean}


def _judge_gain(found: Agreement, split: str) -> Finding:
    average, gain = found.average_figures(), _first(_gain(found))
    name = next(iter(average))
    worse = gain < 0
    return Finding(
        check="ensemble_gain",
        verdict=Verdict.WARN if worse else Verdict.PASS,
        measured=f"{name} {average[name]:.4f} in {split}, {100 * gain:+.2f} points "
        f"on the mean of {len(found.members)} members",
        expected="at least the members' mean",
        advice="Average the other of probabilities and logits, or leave out the worst members: "
        "a later start of snapshots, or a longer training of each."
        if worse
        else "",
        source=SOURCE,
    )


def _judge_diversity(found: Agreement) -> Finding:
    correlation = found.error_correlation
    alike = correlation is not None and correlation > ALIKE
    shown = "none: a member makes no errors" if correlation is None else f"{correlation:.2f}"
    return Finding(
        check="ensemble_diversity",
        verdict=Verdict.WARN if alike else Verdict.PASS,
        measured=f"correlation of the members' errors {shown}",
        expected=f"up to {ALIKE:g}, or an average has little to gain",
        advice="Make the members differ: longer cycles with a higher learning rate (snapshots), "
        "or random initial weights and a shuffled order (members)."
        if alike
        else "",
        source=SOURCE,
    )


def _too_few(found: int, size: int) -> Finding:
    return Finding(
        check="ensemble_members",
        verdict=Verdict.FAIL,
        measured=f"{found} of {size} models: a training lost its loss, or ended early",
        expected=f"{size} models",
        advice="Mend what the train stage reports, or lower the learning rate.",
        source=SOURCE,
    )
