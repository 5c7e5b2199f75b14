"""All of a population's replicas, sorted into teams by the plan that is fastest."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from nnrecipe.training.population.likeness import draws, partition
from nnrecipe.training.population.plan import Contest, Engine, Plan, plans
from nnrecipe.training.population.sequential import Alone
from nnrecipe.training.population.stack import Stack
from nnrecipe.training.population.team import Feed, Team, TeamOutcome
from nnrecipe.training.setup import TrainSetup


class Crew:
    """The replicas in training: `members`, as indices into the setups, and the teams they form.

    The teams are dissolved and formed anew, from the weights and states that they left in the
    setups, whenever the plan or the members change. `refused` says why which replicas are alone.
    """

    def __init__(self, setups: Sequence[TrainSetup], engine: Engine) -> None:
        self.setups, self.members = setups, list(range(len(setups)))
        self.refused: dict[int, str] = {}
        self.plan = Plan("sequential")
        self._device = setups[0].device
        self._engine = engine
        self._contest: Contest | None = None
        self._teams: list[Team] = []
        self._pool: ThreadPoolExecutor | None = None

    def step(self, step: int, group: Sequence[Feed]) -> tuple[Tensor, Tensor | None]:
        """One optimizer step of every member: losses [K], correct [K]; NaN for who is none."""
        contest = self._contest = self._contest or self._open_contest(group)
        if self.plan != contest.current or not self._teams:
            self._form(contest.current, step)
        started = self._now() if not contest.decided else 0.0
        outcomes = list(self._outcomes(step, group))
        if not contest.decided:
            contest.add(self.plan, self._now() - started)
        return self._gathered(outcomes)

    def keep(self, alive: Tensor, next_step: int) -> None:
        """Take out the members that aren't alive ([K] bool); waits for the device."""
        left = [member for member, lives in enumerate(alive.tolist()) if lives]
        if left != self.members:
            self.members = left
            self._form(self.plan, next_step)

    def close(self) -> None:
        """Leave everything in the setups."""
        for team in self._teams:
            team.write_back()
        self._teams = []
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None
            torch.set_num_threads(torch.get_num_threads())  # for threads yet to come

    def _open_contest(self, group: Sequence[Feed]) -> Contest:
        """The plans to choose from, once it is known which replicas can be stacked."""
        stacks: list[list[int]] = []
        if self._engine != "sequential":
            stacks, self.refused = partition(self.setups, self.members)
            for stack in stacks:
                trial = Stack(self.setups, members=stack[:2])
                if (said := trial.try_forward(group)) is not None:
                    self.refused |= dict.fromkeys(stack, f"under torch.vmap: {said}")
        replicas = max((len(s) for s in stacks if s[0] not in self.refused), default=1)
        random = any(draws(setup) for setup in self.setups)
        found = plans(self._engine, replicas=replicas, device=self._device, draws=random)
        return Contest(found)

    def _form(self, plan: Plan, first_step: int) -> None:
        self.close()
        self.plan = plan
        if plan.threads > 1:
            self._pool = ThreadPoolExecutor(plan.threads, initializer=_use_one_core)
        stackable = [member for member in self.members if member not in self.refused]
        if plan.engine == "sequential":
            stackable = []
        # a replica that has outlived all like it is alone without having been refused
        for stack in partition(self.setups, stackable).stacks:
            for members in _pieces(stack, plan.chunk):
                self._teams.append(Stack(self.setups, members=members))
        stacked = {member for team in self._teams for member in team.members}
        for member in self.members:
            if member not in stacked:
                setup = self.setups[member]
                self._teams.append(Alone(setup, member=member, first_step=first_step))

    def _outcomes(self, step: int, group: Sequence[Feed]) -> Iterable[TeamOutcome]:
        if self._pool is None:
            return [team.step(step, group) for team in self._teams]
        return self._pool.map(lambda team: team.step(step, group), self._teams)

    def _gathered(self, outcomes: Sequence[TeamOutcome]) -> tuple[Tensor, Tensor | None]:
        order = [member for team in self._teams for member in team.members]
        index = torch.tensor(order, device=self._device)
        losses = torch.cat([outcome.losses for outcome in outcomes])
        counts = [outcome.correct for outcome in outcomes if outcome.correct is not None]
        return self._placed(index, losses), self._placed(
            index, torch.cat(counts)
        ) if counts else None

    def _placed(self, index: Tensor, values: Tensor) -> Tensor:
        """[k] values of members as [K] of the population."""
        dtype = values.dtype if values.is_floating_point() else torch.get_default_dtype()
        all_of_them = values.new_full((len(self.setups),), torch.nan, dtype=dtype)
        return all_of_them.index_copy(0, index, values.to(dtype))

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()


def _pieces(members: Sequence[int], largest: int) -> Iterator[Sequence[int]]:
    """As few pieces as can be, of nearly equal size."""
    count = -(-len(members) // largest)
    for piece in range(count):
        yield members[piece * len(members) // count : (piece + 1) * len(members) // count]


def _use_one_core() -> None:
    """For the thread that calls it."""
    torch.set_num_threads(1)
