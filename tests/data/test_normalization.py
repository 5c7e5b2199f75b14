from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.preprocessing import StandardScaler

from nnrecipe.core.spec import members
from nnrecipe.data.normalization import Center, NoNormalization, Normalize, Standardize, moments
from nnrecipe.data.preprocessing import Preprocessing


@pytest.mark.parametrize("member", members(Normalize))
def test_every_member_fits_what_preprocessing_takes(member):
    images = torch.rand(20, 3, 4, 5) * 7 + 2
    mean, std = member().fit(images.split(6))
    result = Preprocessing(unit=torch.tensor(255.0), mean=mean, std=std)(images)
    assert result.shape == images.shape
    assert result.isfinite().all()


@pytest.mark.parametrize("shape", [(50, 3, 4, 5), (50, 7)])
@pytest.mark.parametrize("per", ["channel", "feature"])
def test_moments_are_numpys_whatever_the_batches(shape, per):
    values = torch.randn(shape, dtype=torch.float64) * 3 + 1
    axes = (0, *range(2, len(shape))) if per == "channel" else (0,)
    mean, std = moments(values.split(7), per=per)
    assert np.allclose(mean.squeeze(), values.numpy().mean(axes), atol=1e-12)
    assert np.allclose(std.squeeze(), values.numpy().std(axes), atol=1e-12)


def test_moments_keep_their_precision_far_from_zero():
    values = torch.randn(1000, 2, dtype=torch.float64) + 1e8
    _, std = moments(values.split(33), per="feature")
    assert np.allclose(std, values.numpy().std(0), rtol=1e-6)


def test_standardize_agrees_with_sklearn():
    table = torch.randn(100, 5) * torch.tensor([1, 10, 100, 0.1, 0]) + 0.3
    mean, std = Standardize(per="feature").fit(table.split(30))
    ours = Preprocessing(unit=torch.tensor(255.0), mean=mean, std=std)(table)
    reference = StandardScaler().fit_transform(table.double().numpy())
    assert np.allclose(ours, reference, atol=1e-5)


def test_what_does_not_vary_becomes_zero_and_stays_finite():
    images = torch.full((10, 1, 2, 2), 0.1)
    mean, std = Standardize().fit([images[:3], images[3:]])
    assert std.item() == 1
    result = Preprocessing(unit=torch.tensor(255.0), mean=mean, std=std)(images)
    assert torch.equal(result, torch.zeros_like(images))


def test_center_leaves_the_spread():
    images = torch.rand(10, 3, 2, 2) * 9
    mean, std = Center(per="feature").fit([images])
    assert torch.equal(std, torch.ones_like(std))
    assert torch.allclose(mean.float(), images.mean(0))


def test_none_reads_nothing():
    def unread():
        pytest.fail("the data were read")
        yield

    assert NoNormalization().fit(unread()) == (torch.zeros(()), torch.ones(()))


@pytest.mark.parametrize("unit", [1.0, 255.0])
def test_preprocessing_is_its_formula(unit):
    raw = torch.randint(0, 256, (6, 3, 4, 4), dtype=torch.uint8)
    mean, std = torch.rand(3, 1, 1) * 255 / unit, torch.rand(3, 1, 1) + 0.1
    preprocessing = Preprocessing(unit=torch.tensor(unit), mean=mean, std=std)
    expected = (raw.double() / unit - mean.double()) / std.double()
    assert torch.allclose(preprocessing(raw).double(), expected, rtol=1e-5, atol=1e-5)
    in_two_steps = preprocessing.normalize(preprocessing.pixels(raw))
    assert torch.allclose(in_two_steps.double(), expected, rtol=1e-5, atol=1e-5)


def test_floats_are_not_scaled_and_not_shared():
    raw = torch.randn(4, 5)
    preprocessing = Preprocessing(
        unit=torch.tensor(255.0), mean=torch.zeros(()), std=torch.ones(())
    )
    result = preprocessing(raw)
    assert torch.equal(result, raw)
    assert result.data_ptr() != raw.data_ptr()


def test_preprocessing_comes_back_from_its_state(tmp_path):
    first = Preprocessing(unit=torch.tensor(1.0), mean=torch.rand(3, 1, 1), std=torch.rand(3, 1, 1))
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second = Preprocessing.from_state(torch.load(tmp_path / "state.pt", weights_only=True))
    raw = torch.randint(0, 256, (2, 3, 4, 4), dtype=torch.uint8)
    assert torch.equal(first(raw), second(raw))
