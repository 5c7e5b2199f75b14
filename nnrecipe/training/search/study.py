"""A search's trials on disk, in Optuna's journal: what was drawn, and what came of it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnrecipe.core.errors import UserError
from nnrecipe.core.logbook import drop_torn_line
from nnrecipe.training.search.distributions import Drawn, hull
from nnrecipe.training.search.kinds import AnySearch, Space
from nnrecipe.training.search.trial import Ended

if TYPE_CHECKING:
    import optuna

RESULT = "result"


@dataclass(frozen=True)
class Outcome:
    """What a trial came to, over its seeds.

    `score` is the mean of the figure that trials are judged by, None where no seed has one;
    `figures` are the means of the best epochs' figures, and `curve` those of the judged figure
    after each epoch that all seeds reached. `seconds` are summed.
    """

    ended: Ended
    score: float | None
    figures: Mapping[str, float]
    curve: Sequence[float]
    epochs: int
    seconds: float
    reason: str = ""


@dataclass(frozen=True)
class Known:
    """A trial in the journal; `outcome` is None while it is in training, or was when killed."""

    number: int
    round: int
    drawn: Mapping[str, Drawn]
    outcome: Outcome | None


class Study:
    """Draws trials and keeps them, each on disk before the call returns, whole or not at all.

    A file that is there already is gone on with; no other process may have it open. What is drawn
    depends on the seed, on the trial's number and, for tpe, on the outcomes of its round, never on
    when the search was interrupted. A round is a study of Optuna's, as its choices may differ from
    another's.
    """

    def __init__(self, path: Path, spec: AnySearch, *, seed: int, maximize: bool) -> None:
        """Raises `UserError` if the file is no journal."""
        self._spec, self._seed = spec, seed
        drop_torn_line(path)
        with _quiet():
            import optuna
            from optuna.storages import JournalStorage
            from optuna.storages.journal import JournalFileBackend

            optuna.logging.set_verbosity(optuna.logging.ERROR)
            try:
                journal = JournalFileBackend(str(path), lock_obj=_NoLock())  # type: ignore[arg-type]
                self._storage = JournalStorage(journal)
                self._rounds = [
                    optuna.create_study(
                        storage=self._storage,
                        study_name=f"round-{number}",
                        direction="maximize" if maximize else "minimize",
                        load_if_exists=True,
                    )
                    for number in range(1, len(spec.rounds) + 1)
                ]
            except (ValueError, KeyError, UnicodeDecodeError) as error:
                raise UserError(f"{path}: is no search's journal: move it away") from error
        trials = [part.trials for part in spec.rounds]
        self._offsets = [sum(trials[:number]) for number in range(len(trials))]

    def trials(self, round_number: int) -> list[Known]:
        """The trials of a round that are known, in the order of their numbers."""
        found = self._rounds[round_number].get_trials(deepcopy=False)
        return [_known(trial, round_number, self._offsets[round_number]) for trial in found]

    def all(self) -> list[Known]:
        """All trials that are known."""
        return [trial for number in range(len(self._rounds)) for trial in self.trials(number)]

    def draw(self, round_number: int, space: Space, count: int) -> None:
        """Draw trials of a round until it has `count`; a grid may have fewer."""
        study, grid = self._rounds[round_number], self._spec.grid(space, count)
        wanted = count if grid is None else len(grid)
        optunas = {path: distribution.optuna() for path, distribution in space.items()}
        known = study.get_trials(deepcopy=False)
        if len(known) >= wanted:
            return
        with _quiet():
            import optuna

            # Optuna would write a trial in several lines, between which a kill may come
            desk = optuna.create_study(direction=study.direction)
            desk.add_trials(known)
            for place in range(len(known), wanted):
                desk.sampler = self._spec.sampler(self._seed, self._offsets[round_number] + place)
                if grid is not None:
                    desk.enqueue_trial(dict(grid[place]))
                desk.ask(optunas)
                study.add_trial(desk.get_trials(deepcopy=False)[-1])

    def tell(self, trial: Known, outcome: Outcome) -> None:
        """Keep what a trial came to."""
        from optuna.trial import TrialState

        study, number = self._rounds[trial.round], trial.number - self._offsets[trial.round]
        owner = self._storage.get_study_id_from_name(study.study_name)
        key = self._storage.get_trial_id_from_study_id_trial_number(owner, number)
        self._storage.set_trial_user_attr(key, RESULT, _plain(outcome))
        whole = outcome.ended == "finished" and outcome.score is not None
        state = TrialState.COMPLETE if whole else TrialState.PRUNED
        with _quiet():
            study.tell(number, outcome.score if whole else None, state=state)

    def importance(self, spaces: Sequence[Space]) -> dict[str, float]:
        """Each path's share in what makes the finished trials differ; {} of too few.

        `spaces` are those of the rounds. Functional ANOVA (Hutter et al. 2014), over the ranges
        that hold all rounds' values: Optuna itself leaves out a path whose range has changed.
        """
        done = [trial for trial in self.all() if _scored(trial)]
        scores = {trial.outcome.score for trial in done if trial.outcome is not None}
        if len(done) < FEWEST or len(scores) < 2:
            return {}
        whole = {path: hull([space[path] for space in spaces]).optuna() for path in spaces[0]}
        with _quiet():
            import optuna
            from optuna.importance import FanovaImportanceEvaluator, get_param_importances

            study = optuna.create_study(direction=self._rounds[0].direction)
            for trial in done:
                assert trial.outcome is not None, "it is finished"
                study.add_trial(
                    optuna.trial.create_trial(
                        params=dict(trial.drawn),
                        distributions=whole,
                        value=trial.outcome.score,
                    )
                )
            evaluator = FanovaImportanceEvaluator(seed=self._seed)
            return dict(get_param_importances(study, evaluator=evaluator))


def _scored(trial: Known) -> bool:
    outcome = trial.outcome
    return outcome is not None and outcome.ended == "finished" and outcome.score is not None


FEWEST = 8
"""Finished trials from which importances are told."""


def settings(space: Space, drawn: Mapping[str, Drawn]) -> dict[str, Any]:
    """The config's values, by path, of what was drawn."""
    return {path: space[path].setting(value) for path, value in drawn.items()}  # type: ignore[arg-type]


def names(space: Space) -> dict[str, str]:
    """What each path is called: its own name, or its last word where that is no other's."""
    short = {path: d.name or path.rpartition(".")[2] for path, d in space.items()}
    words = list(short.values())
    return {path: word if words.count(word) == 1 else path for path, word in short.items()}


def shown(space: Space, drawn: Mapping[str, Drawn]) -> dict[str, str]:
    """What was drawn, as it is shown, by name."""
    called = names(space)
    return {called[path]: space[path].text(value) for path, value in drawn.items()}  # type: ignore[arg-type]


def _known(trial: optuna.trial.FrozenTrial, round_number: int, offset: int) -> Known:
    result = trial.user_attrs.get(RESULT)
    ended = result is not None and trial.state.is_finished()
    return Known(
        number=offset + trial.number,
        round=round_number,
        drawn=trial.params,
        outcome=Outcome(**(result or {})) if ended else None,
    )


def _plain(outcome: Outcome) -> dict[str, Any]:
    return {
        "ended": outcome.ended,
        "score": outcome.score,
        "figures": dict(outcome.figures),
        "curve": list(outcome.curve),
        "epochs": outcome.epochs,
        "seconds": outcome.seconds,
        "reason": outcome.reason,
    }


class _NoLock:
    """For Optuna's own lock on the journal, which outlives a kill: the run folder has one."""

    def acquire(self) -> bool:
        """It is ours already."""
        return True

    def release(self) -> None:
        """It stays ours."""


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Optuna's remarks on which of its parts are experimental."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
