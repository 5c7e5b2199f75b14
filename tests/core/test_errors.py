from __future__ import annotations

import pytest
from pydantic import ValidationError, model_validator

from nnrecipe.core.errors import Problem, RecipeError, UserError, conflict
from nnrecipe.core.spec import Spec


def test_a_problem_says_where_what_and_how_to_mend_it():
    problem = Problem("a.yaml:3:5", "optimizer.lr", "-1 is not above 0", "use 0.1, say")
    assert str(problem) == "a.yaml:3:5: optimizer.lr: -1 is not above 0\n    use 0.1, say"


def test_a_problem_without_a_remedy_is_one_line():
    assert str(Problem("a.yaml:1:1", "name", "is missing")) == "a.yaml:1:1: name: is missing"


def test_a_recipe_error_lists_every_problem_and_is_the_users():
    problems = [Problem("a.yaml:1:1", "name", "one"), Problem("a.yaml:2:1", "seed", "two")]
    error = RecipeError(problems)
    assert isinstance(error, UserError)
    assert isinstance(error, ValueError)
    assert error.problems == problems
    assert str(error).splitlines() == ["a.yaml:1:1: name: one", "a.yaml:2:1: seed: two"]


class Pair(Spec):
    low: int = 0
    high: int = 1

    @model_validator(mode="after")
    def _ordered(self):
        if self.low > self.high:
            raise conflict("pair.low", "{low} exceeds {high}", "swap {them}")
        return self


def test_a_conflict_keeps_its_path_and_braces():
    with pytest.raises(ValidationError) as caught:
        Pair(low=2)
    (error,) = caught.value.errors()
    assert error["type"] == "conflict"
    assert error["msg"] == "{low} exceeds {high}"
    assert error["ctx"]["path"] == "pair.low"
    assert error["ctx"]["remedy"] == "swap {them}"
