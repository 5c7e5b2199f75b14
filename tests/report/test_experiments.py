from xml.etree import ElementTree

import pytest
from report_samples import HOSTILE, diagnosis_stage

from nnrecipe.report.drawing import BAD, GOOD, inline
from nnrecipe.report.experiments import experiment_plots


def texts(plot):
    root = ElementTree.fromstring(plot.svg)
    return ["".join(e.itertext()) for e in root.iter() if e.tag.endswith("text")]


def test_the_experiment_that_helps_most_is_on_top():
    (plot,) = experiment_plots(diagnosis_stage().facts)
    names = [text for text in texts(plot) if "out" in text or "batches" in text]
    assert names == ["larger batches", "without clipping", "without dropout"]  # from below
    assert {"0.71", "0.13", "0"} <= set(texts(plot))
    assert "1 of 3 helps." in plot.caption
    assert GOOD in plot.svg
    assert BAD in plot.svg


@pytest.mark.parametrize(
    ("after", "said"), [(["no change"], "None of them helps."), (["helps"], "It helps.")]
)
def test_the_caption_counts(after, said):
    rows = [("a", "lr_too_low", 0.5, verdict) for verdict in after]
    (plot,) = experiment_plots(diagnosis_stage(rows).facts)
    assert plot.caption.endswith(said)


def test_nothing_is_drawn_where_none_were_made():
    for facts in ({}, {"experiments": []}, {"experiments": None}, {"experiments": [1]}):
        assert list(experiment_plots(facts)) == []


@pytest.mark.parametrize("after", ["nan", "inf", None, 1e300, -5.0])
def test_odd_figures_are_left_out(after):
    rows = [("a", "lr_too_low", after, "no change"), ("b", "lr_too_low", 0.5, "helps")]
    (plot,) = experiment_plots(diagnosis_stage(rows).facts)
    assert {"a", "b", "0.5"} <= set(texts(plot))


@pytest.mark.parametrize("words", HOSTILE)
def test_hostile_names_are_text(words):
    (plot,) = experiment_plots(diagnosis_stage([(words, "leakage", 0.5, words)]).facts)
    assert not [e for e in ElementTree.fromstring(inline(plot)).iter() if "script" in e.tag]
