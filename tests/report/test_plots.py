import math
from xml.etree import ElementTree

import pytest
from report_samples import HOSTILE, evaluate_stage, healthy_report, ladder, metrics_lines

from nnrecipe.core.report import Report
from nnrecipe.report.curves import training_plots
from nnrecipe.report.drawing import INK, drawable, inline, log_axis, power, sketch, wide
from nnrecipe.report.plots import (
    confusion_plots,
    draw_plots,
    ladder_plots,
    overfit_plots,
    save_plots,
)
from nnrecipe.report.signals import signal_plots


def texts(plot):
    root = ElementTree.fromstring(plot.svg)
    return {"".join(element.itertext()) for element in root.iter() if element.tag.endswith("text")}


def test_a_whole_run_has_every_chart(healthy, tmp_path):
    plots = draw_plots(healthy, list(metrics_lines()))
    names = ["overfit", "lr_ladder", "confusion", "loss", "accuracy", "lr", "update_ratio"]
    assert [plot.name for plot in plots] == names
    save_plots(plots, tmp_path)
    assert {path.stem for path in (tmp_path / "plots").glob("*.svg")} == set(names)


def test_nothing_is_drawn_from_nothing(failed):
    assert draw_plots(failed, []) == []
    assert draw_plots(Report.of("x", (), {}), [{"step": 0, "loss": 1.0}]) == []
    for draw in (overfit_plots, ladder_plots, confusion_plots):
        assert list(draw({})) == []


def test_loss_curves_have_a_line_for_each_split():
    loss = next(training_plots(list(metrics_lines())))
    assert {"train", "validation", "epoch", "loss"} <= texts(loss)
    assert loss.caption == "Loss by epoch. Best in validation: 0.1266, in epoch 26."


def test_the_latest_line_of_an_epoch_counts():
    lines = [{"step": 9, "epoch": 1, "val_loss": 5.0}, {"step": 9, "epoch": 1, "val_loss": 0.5}]
    assert next(training_plots(lines)).caption.endswith("Best in validation: 0.5, in epoch 1.")


def test_a_diverged_training_says_since_when():
    lines = [
        {"step": epoch, "epoch": epoch, "train_loss": loss, "update_ratio": {"fc": ratio}}
        for epoch, loss, ratio in [(1, 2.0, 1e-3), (2, 1e38, 0.0), (3, "inf", "nan")]
    ]
    loss, ratio = training_plots(lines)
    assert loss.caption == "Loss by epoch. Not finite from epoch 3."
    assert ratio.name == "update_ratio"
    assert list(training_plots([{"step": 1, "epoch": 1, "train_loss": "nan"}])) == []


def test_many_layers_are_told_apart_by_depth():
    layers = [f"layer{place}" for place in range(40)]
    lines = list(metrics_lines(epochs=3, layers=layers))
    ratios = next(plot for plot in training_plots(lines) if plot.name == "update_ratio")
    named = {text for text in texts(ratios) if text.startswith("layer")}
    assert named == {"layer0", "layer39"}


def test_the_ladder_shows_bands_and_marks():
    facts = {"ladder": list(ladder()), "suggested": 0.046, "declared": 0.01, "steps": 40}
    (plot,) = ladder_plots(facts)
    assert {"too low", "good", "exploding", "suggested", "declared", "start"} <= texts(plot)
    assert plot.caption.startswith("Loss after 40 steps")
    assert plot.caption.endswith("Marked: suggested 0.046, declared 0.01.")


@pytest.mark.parametrize("start", [2.3, 0.0, -1.0, "nan"])
@pytest.mark.parametrize("end", ["nan", "inf", 1e300, 2.0])
def test_a_ladder_without_a_good_rung_still_draws(start, end):
    rungs = [
        {"lr": 10.0**power, "start_loss": start, "end_loss": end, "band": "exploding"}
        for power in range(-2, 1)
    ]
    (plot,) = ladder_plots({"ladder": rungs, "suggested": None, "declared": 1e6})
    assert not {"suggested", "declared"} & texts(plot)


def test_a_confusion_matrix_counts_its_cells():
    (plot,) = confusion_plots({"confusion": [[7, 3], [0, 9]], "classes": ["cat", "dog"]})
    assert {"7", "3", "9", "cat", "dog", "predicted", "true"} <= texts(plot)
    assert "0" not in texts(plot)


def test_large_confusion_matrices_have_no_figures():
    names = [f"class {place}" for place in range(100)]
    (plot,) = confusion_plots(evaluate_stage(names).facts)
    assert "34" not in texts(plot)
    assert "class 0" in texts(plot)


def test_class_names_are_text_and_nothing_else():
    (plot,) = confusion_plots(evaluate_stage(HOSTILE).facts)
    assert {"[red]", "a|b", "two lines", "[31mred", "$x_{$", "<script>ale..."} <= texts(plot)
    assert not [e for e in ElementTree.fromstring(inline(plot)).iter() if "script" in e.tag]


def test_inline_charts_take_the_page_s_ink_and_keep_their_ids_apart(healthy):
    drawn = [inline(plot) for plot in draw_plots(healthy, list(metrics_lines()))]
    ids: list[str] = []
    for svg in drawn:
        assert INK not in svg
        assert "currentColor" in svg
        root = ElementTree.fromstring(svg)
        assert root.get("role") == "img"
        own = [element.get("id") for element in root.iter() if element.get("id")]
        links = [value for e in root.iter() for key, value in e.items() if key.endswith("href")]
        assert {link[1:] for link in links if link.startswith("#")} <= {*own}
        ids += own
    assert len(ids) == len(set(ids))


def test_charts_do_not_change_from_one_drawing_to_the_next():
    first, second = (draw_plots(healthy_report(), list(metrics_lines(3))) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("figures", [(0.11, 0.13, 0.16), (0.02, 0.5, 0.6), (1e-6, 1.0, 1e6)])
def test_a_log_axis_has_figures_however_little_it_spans(figures):
    def paint(axes):
        axes.plot(figures)
        log_axis(axes, of="y")
        axes.set_xticks([])

    root = ElementTree.fromstring(sketch(paint))
    assert 2 <= len([e for e in root.iter() if e.tag.endswith("text")]) <= 9


def test_figures_for_axes():
    assert drawable([1, "0.5"]) == [1.0, 0.5]
    assert all(math.isnan(value) for value in drawable(["nan", "inf", -math.inf, 1e31]))
    assert [power(value) for value in (1e-3, 2.5e-7, 0.01, 100, 1e6)] == [
        "1e-3",
        "2.5e-7",
        "0.01",
        "100",
        "1e6",
    ]
    assert wide([1, math.nan, 100], ratio=50)
    assert not wide([0, 100], ratio=50)
    assert not wide([math.nan], ratio=50)


@pytest.mark.parametrize("key", ["path", "spread", "gradient"])
def test_layers_that_lack_a_figure_are_not_drawn(key: str) -> None:
    rows = [{"path": f"fc{n}", "spread": 1.0, "gradient": 0.1} for n in (1, 2, 3)]
    histograms = [{"low": 0.0, "high": 1.0, "shares": [0.5, 0.5]}] * 3
    (drawn,) = signal_plots({"layers": rows, "histograms": histograms})
    assert drawn.name == "init"
    del rows[1][key]
    assert list(signal_plots({"layers": rows, "histograms": histograms})) == []
