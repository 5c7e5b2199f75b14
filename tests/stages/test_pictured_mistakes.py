"""What evaluation keeps to be looked at: the worst mistakes, as facts and as images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from samples import blobs, make_bench
from torch import Tensor, nn
from torch.nn import functional as F

from nnrecipe.core.logbook import Logbook, NoTracking
from nnrecipe.core.progress import Silence
from nnrecipe.core.shapes import OutputSpec
from nnrecipe.data.outputs import outputs_of
from nnrecipe.data.split import ResidentSplit
from nnrecipe.schedulers import Constant
from nnrecipe.stages import Run
from nnrecipe.stages.data import DataStage
from nnrecipe.stages.evaluate import EvaluateStage
from nnrecipe.stages.pictures import contact_sheet, shrink
from nnrecipe.training import TrainingSpec
from nnrecipe.training.checkpoint import save_checkpoint

FOUR: dict[str, Any] = {"size": 4, "task": "single_label"}


class First(nn.Module):
    """Says what the first figures of an input are."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.outputs = outputs
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.flatten(1)[:, : self.outputs] * self.scale


def _evaluated(
    folder: Path,
    test: tuple[Tensor, Tensor],
    *,
    outputs: OutputSpec,
    loss: Any = F.cross_entropy,
    names: tuple[str, ...] = ("a", "b", "c", "d"),
) -> dict[str, Any]:
    """The facts of evaluating `First`, as the best epoch, on these test examples."""
    model = First(outputs.size)
    split = ResidentSplit(*test, device=torch.device("cpu"))
    bench = make_bench(
        model=lambda: First(outputs.size),
        loss=loss,
        train=test,
        val=test,
        data={"test": split, "outputs": outputs, "classes": names},
    )
    (folder / "checkpoints").mkdir()
    state = {"model": model.state_dict(), "epoch": 1, "step": 1000}
    state["preprocessing"] = bench.data.preprocessing.state_dict()
    save_checkpoint(folder / "checkpoints" / "best.pt", state)
    with Logbook(folder, NoTracking()) as logbook:
        run = Run(
            bench=bench,
            training=TrainingSpec(epochs=1, batch_size=32),
            scheduler=Constant(),
            early_stopping=None,
            folder=folder,
            logbook=logbook,
            progress=Silence(),
            recipe={},
        )
        return EvaluateStage().run(run).facts


def test_wrong_classes_come_with_their_images(tmp_path: Path) -> None:
    inputs, targets = torch.zeros(300, 1, 2, 2), torch.zeros(300, dtype=torch.int64)
    inputs[:, 0, 0, 0] = 1.0  # a, rightly
    inputs[7] = torch.tensor([[0.0, 0.0], [9.0, 0.0]])  # c, in the first batch
    inputs[290] = torch.tensor([[0.0, 12.0], [0.0, 0.0]])  # b, surer, in the last
    facts = _evaluated(tmp_path, (inputs, targets), outputs=outputs_of(targets, **FOUR))
    said = [(row["example"], row["predicted"], row["true"]) for row in facts["worst_mistakes"]]
    assert said == [(290, "b", "a"), (7, "c", "a")]
    assert facts["worst_mistakes"][0]["probability"] > 0.999
    with Image.open(tmp_path / "plots" / "mistakes.png") as sheet:
        assert sheet.size == (16, 2)
        pixels = torch.from_numpy(np.array(sheet))
    assert pixels[:, :4].tolist() == [[0, 255, 0, 0], [0, 0, 191, 0]]


def test_few_features_are_written_down(tmp_path: Path) -> None:
    inputs = torch.eye(4).repeat(50, 1)
    targets = (torch.arange(200) % 4 + 1) % 4
    facts = _evaluated(tmp_path, (inputs, targets), outputs=outputs_of(targets, **FOUR))
    rows = facts["worst_mistakes"]
    assert len(rows) == 24
    for row in rows:
        assert row["input"] == inputs[row["example"]].tolist()
        assert row["predicted"] == "abcd"[row["example"] % 4]
    assert not (tmp_path / "plots").exists()


def test_many_features_are_not(tmp_path: Path) -> None:
    inputs, targets = torch.rand(20, 40), torch.arange(20) % 4
    facts = _evaluated(tmp_path, (inputs, targets), outputs=outputs_of(targets, **FOUR))
    assert facts["worst_mistakes"]
    assert "input" not in facts["worst_mistakes"][0]


def test_a_wrong_label_is_named(tmp_path: Path) -> None:
    inputs, targets = torch.full((30, 4), -2.0), torch.zeros(30, 4)
    inputs[5, 2] = 3.0
    targets[9, 1] = 1.0
    facts = _evaluated(
        tmp_path,
        (inputs, targets),
        outputs=outputs_of(targets, size=4, task="multi_label"),
        loss=F.binary_cross_entropy_with_logits,
    )
    keys = ("example", "label", "predicted", "true")
    assert [tuple(row[key] for key in keys) for row in facts["worst_mistakes"]] == [
        (5, "c", True, False),
        (9, "b", False, True),
    ]
    assert facts["worst_mistakes"][0]["probability"] == pytest.approx(0.9526, abs=1e-4)


def test_the_largest_errors_of_a_regression(tmp_path: Path) -> None:
    inputs = torch.rand(30, 2)
    targets = inputs.clone()
    targets[3, 1] += 4
    facts = _evaluated(
        tmp_path,
        (inputs, targets),
        outputs=outputs_of(targets, size=2, task="regression"),
        loss=F.mse_loss,
        names=("x", "y"),
    )
    (row,) = facts["worst_mistakes"]
    assert (row["example"], row["value"]) == (3, "y")
    assert row["true"] - row["predicted"] == pytest.approx(4, abs=1e-5)
    assert "probability" not in row


def test_a_model_that_is_right_has_nothing_to_show(tmp_path: Path) -> None:
    targets = torch.arange(40) % 4
    inputs = torch.eye(4)[targets]
    facts = _evaluated(tmp_path, (inputs, targets), outputs=outputs_of(targets, **FOUR))
    assert facts["worst_mistakes"] == []


def test_the_pictured_batch_carries_its_labels(tmp_path: Path) -> None:
    with Logbook(tmp_path, NoTracking()) as logbook:
        run = Run(
            bench=make_bench(train=blobs(200, seed=1)),
            training=TrainingSpec(epochs=1, batch_size=32),
            scheduler=Constant(),
            early_stopping=None,
            folder=tmp_path,
            logbook=logbook,
            progress=Silence(),
            recipe={},
        )
        facts = DataStage(checks=()).run(run).facts
    assert len(facts["pictured"]) == 32
    assert set(facts["pictured"]) == set("abcd")
    with Image.open(tmp_path / "plots" / "inputs.png") as sheet:
        assert sheet.size == (8 * 6, 4 * 6)


def test_images_are_tiled_in_rows_and_large_ones_shrunk() -> None:
    images = torch.arange(10.0)[:, None, None, None].expand(10, 3, 2, 2)
    sheet = contact_sheet(images)
    assert sheet.shape == (3, 4, 16)
    assert (sheet[0, 0, ::2] * 9).tolist() == pytest.approx(list(range(8)))
    assert (sheet[2, 3, ::2] * 9).tolist() == pytest.approx([8, 9, 0, 0, 0, 0, 0, 0])
    assert shrink(torch.rand(2, 3, 50, 200), longest=96).shape == (2, 3, 24, 96)
    assert shrink(images, longest=96) is images
