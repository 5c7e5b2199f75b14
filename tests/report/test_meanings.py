import pytest

from nnrecipe.core.causes import Cause
from nnrecipe.core.spec import kind_of, members
from nnrecipe.report.meanings import MEANINGS, STAGES
from nnrecipe.stages import Stage


def test_every_cause_and_every_stage_has_a_meaning():
    assert set(MEANINGS) == set(Cause)
    assert set(STAGES) == {kind_of(stage) for stage in members(Stage)}


@pytest.mark.parametrize("meaning", [*MEANINGS.values(), *STAGES.values()])
def test_a_meaning_is_one_short_plain_sentence(meaning):
    assert meaning[0].isupper()
    assert meaning.endswith(".")
    assert ". " not in meaning
    assert "  " not in meaning
    assert len(meaning) <= 170


def test_no_two_causes_mean_the_same():
    assert len(set(MEANINGS.values())) == len(MEANINGS)
