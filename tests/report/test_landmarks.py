import math
from xml.etree import ElementTree

import pytest
from report_samples import metrics_lines, stage

from nnrecipe.core.report import Report
from nnrecipe.report.curves import training_plots
from nnrecipe.report.landmarks import Landmarks


def texts(plot):
    root = ElementTree.fromstring(plot.svg)
    return {"".join(e.itertext()) for e in root.iter() if e.tag.endswith("text")}


def charts(landmarks, lines=None):
    return {plot.name: plot for plot in training_plots(lines or list(metrics_lines()), landmarks)}


def test_they_are_read_off_the_stages():
    sanity = stage("sanity", loss_at_chance=2.303)
    train = stage("train", start_loss=2.4, best_epoch=14)
    assert Landmarks.of(Report.of("x", [sanity, train], {})) == Landmarks(2.303, 2.4, 14)
    unknown = Landmarks.of(Report.of("x", [stage("train", best_epoch=None)], {}))
    assert all(map(math.isnan, (unknown.chance, unknown.start, unknown.best)))


def test_guessing_the_start_and_the_epoch_that_is_kept_are_marked():
    drawn = charts(Landmarks(chance=2.303, start=2.4, best=14))
    assert {"guessing", "kept"} <= texts(drawn["loss"])
    assert "kept" in texts(drawn["accuracy"])
    assert "guessing" not in texts(drawn["accuracy"])
    assert drawn["loss"].caption.endswith(
        "Dashed: the loss of guessing, 2.303. The hollow dot is the untrained network."
    )


def test_without_landmarks_the_curves_stand_alone():
    for landmarks in (None, Landmarks()):
        loss = charts(landmarks)["loss"]
        assert not {"guessing", "kept"} & texts(loss)
        assert "Dashed" not in loss.caption


@pytest.mark.parametrize("start", [50.0, -1.0, math.nan])
def test_a_start_that_would_flatten_the_curves_is_left_out(start):
    assert "hollow" not in charts(Landmarks(start=start))["loss"].caption


@pytest.mark.parametrize("chance", [50.0, 0.0, -1.0, math.nan])
def test_so_is_a_loss_of_guessing_far_from_all_others(chance):
    assert "Dashed" not in charts(Landmarks(chance=chance))["loss"].caption


def test_the_last_epoch_needs_no_mark():
    assert "kept" not in texts(charts(Landmarks(best=30))["loss"])


def test_losses_below_zero_and_not_finite_are_drawn():
    lines = [
        {"step": n, "epoch": n, "train_loss": loss} for n, loss in enumerate((2.0, "nan", -7.0), 1)
    ]
    assert "guessing" in texts(charts(Landmarks(2.3, 2.4, 1), lines)["loss"])
