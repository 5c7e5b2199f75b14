from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
from pydantic import TypeAdapter, ValidationError
from sklearn.preprocessing import StandardScaler
from torchvision.transforms import Normalize as TorchvisionsNormalize

from nnrecipe.core.spec import members
from nnrecipe.data import Data, Normalize
from nnrecipe.data.moments import covariance, moments
from nnrecipe.data.normalization import Center, Fixed, NoNormalization, Standardize, Zca
from nnrecipe.data.preprocessing import Preprocessing


def preprocessing(statistics, *, unit=255.0):
    return Preprocessing(
        unit=torch.tensor(unit),
        mean=statistics.mean,
        std=statistics.std,
        whitening=statistics.whitening,
    )


@pytest.mark.parametrize("member", members(Normalize))
def test_every_member_fits_what_preprocessing_takes(member):
    images = torch.rand(20, 3, 4, 5) * 7 + 2
    before = images.clone()
    result = preprocessing(member().fit(images.split(6)))(images)
    assert result.shape == images.shape
    assert result.isfinite().all()
    assert torch.equal(images, before)
    assert member.source


@pytest.mark.parametrize(
    ("shape", "per", "axes"),
    [
        ((50, 3, 4, 5), "channel", (0, 2, 3)),
        ((50, 3, 4, 5), "feature", (0,)),
        ((50, 3, 4, 5), "pixel", (0, 1)),
        ((50, 7), "channel", (0,)),
        ((50, 7), "feature", (0,)),
    ],
)
def test_moments_are_numpys_whatever_the_batches(shape, per, axes):
    values = torch.randn(shape, dtype=torch.float64) * 3 + 1
    mean, std = moments(values.split(7), per=per)
    assert mean.shape == std.shape
    assert (values - mean).shape == shape
    assert np.allclose(mean.squeeze(), values.numpy().mean(axes), atol=1e-12)
    assert np.allclose(std.squeeze(), values.numpy().std(axes), atol=1e-12)


def test_moments_keep_their_precision_far_from_zero():
    values = torch.randn(1000, 2, dtype=torch.float64) + 1e8
    _, std = moments(values.split(33), per="feature")
    assert np.allclose(std, values.numpy().std(0), rtol=1e-6)


def test_standardize_agrees_with_sklearn():
    table = torch.randn(100, 5) * torch.tensor([1, 10, 100, 0.1, 0]) + 0.3
    ours = preprocessing(Standardize(per="feature").fit(table.split(30)))(table)
    reference = StandardScaler().fit_transform(table.double().numpy())
    assert np.allclose(ours, reference, atol=1e-5)


def test_fixed_is_torchvisions_normalize():
    images = torch.rand(4, 3, 5, 6)
    expected = TorchvisionsNormalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))(images)
    assert torch.allclose(preprocessing(Fixed().fit([images]))(images), expected, atol=1e-6)
    gray = preprocessing(Fixed(mean=(0.5,), std=(0.25,)).fit([images[:, :1]]))(images[:, :1])
    assert torch.allclose(gray, (images[:, :1] - 0.5) / 0.25)


def test_fixed_refuses_another_number_of_channels():
    data = TypeAdapter(Data)
    with pytest.raises(ValidationError, match="2 means and 3 spreads"):
        data.validate_python({"kind": "mnist", "normalize": {"kind": "fixed", "mean": [0.1, 0.2]}})
    with pytest.raises(ValidationError, match="of 3 channels, and the examples have 1"):
        data.validate_python({"kind": "mnist", "normalize": "fixed"})


def test_what_does_not_vary_becomes_zero_and_stays_finite():
    images = torch.full((10, 1, 2, 2), 0.1)
    statistics = Standardize().fit([images[:3], images[3:]])
    assert statistics.std.item() == 1
    assert torch.equal(preprocessing(statistics)(images), torch.zeros_like(images))


def test_center_leaves_the_spread():
    images = torch.rand(10, 3, 2, 2) * 9
    statistics = Center(per="feature").fit([images])
    assert torch.equal(statistics.std, torch.ones(3, 2, 2))
    assert torch.allclose(statistics.mean.float(), images.mean(0))
    assert torch.allclose(preprocessing(statistics)(images), images - images.mean(0), atol=1e-5)


def test_pixels_share_their_mean_over_the_channels():
    images = torch.rand(10, 3, 2, 2) * 9
    result = preprocessing(Standardize(per="pixel").fit(images.split(3)))(images)
    assert torch.allclose(result.mean((0, 1)), torch.zeros(2, 2), atol=1e-5)
    assert torch.allclose(result.std((0, 1), correction=0), torch.ones(2, 2), atol=1e-5)
    assert result.mean((0, 2, 3)).abs().max() > 0.01


def test_none_reads_nothing():
    def unread():
        pytest.fail("the data were read")
        yield

    statistics = NoNormalization().fit(unread())
    assert (statistics.mean, statistics.std) == (torch.zeros(()), torch.ones(()))
    assert statistics.whitening is None


@pytest.mark.parametrize("unit", [1.0, 255.0])
def test_preprocessing_is_its_formula(unit):
    raw = torch.randint(0, 256, (6, 3, 4, 4), dtype=torch.uint8)
    mean, std = torch.rand(3, 1, 1) * 255 / unit, torch.rand(3, 1, 1) + 0.1
    fitted = Preprocessing(unit=torch.tensor(unit), mean=mean, std=std)
    expected = (raw.double() / unit - mean.double()) / std.double()
    assert torch.allclose(fitted(raw).double(), expected, rtol=1e-5, atol=1e-5)
    in_two_steps = fitted.normalize(fitted.pixels(raw))
    assert torch.allclose(in_two_steps.double(), expected, rtol=1e-5, atol=1e-5)


def test_floats_are_not_scaled_and_not_shared():
    raw = torch.randn(4, 5)
    result = preprocessing(NoNormalization().fit([]))(raw)
    assert torch.equal(result, raw)
    assert result.data_ptr() != raw.data_ptr()


@pytest.mark.parametrize("member", members(Normalize))
def test_preprocessing_comes_back_from_its_state(tmp_path, member):
    raw = torch.randint(0, 256, (20, 3, 4, 4), dtype=torch.uint8)
    first = preprocessing(member().fit([raw / 255]))
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second = Preprocessing.from_state(torch.load(tmp_path / "state.pt", weights_only=True))
    assert torch.equal(first(raw), second(raw))
    assert second.state_dict().keys() == first.state_dict().keys()


def test_a_state_from_before_whitening_still_loads():
    raw = torch.randint(0, 256, (20, 3, 4, 4), dtype=torch.uint8)
    first = preprocessing(Standardize().fit([raw / 255]))
    state = {name: tensor for name, tensor in first.state_dict().items() if name != "whitening"}
    assert len(state) == 3
    assert torch.equal(Preprocessing.from_state(state)(raw), first(raw))


def correlated(count=400, features=12):
    """A table whose columns depend on each other, with a wide range of variances."""
    generator = torch.Generator().manual_seed(2)
    mixing = torch.randn(features, features, generator=generator, dtype=torch.float64)
    scales = torch.logspace(-2, 1, features, dtype=torch.float64)
    values = torch.randn(count, features, generator=generator, dtype=torch.float64)
    return values * scales @ mixing + 5


def test_covariance_is_numpys_whatever_the_batches():
    table = correlated()
    mean, spread = covariance(table.view(400, 3, 2, 2).split(37))
    assert mean.shape == (3, 2, 2)
    assert np.allclose(mean.flatten(), table.numpy().mean(0), rtol=1e-12)
    assert np.allclose(spread, np.cov(table.numpy().T, bias=True), rtol=1e-10)
    _, far = covariance((table + 1e7).split(37))
    assert np.allclose(far, spread, rtol=1e-5)


@pytest.mark.parametrize("eps", [1e-6, 1e-2, 3.0])
@pytest.mark.parametrize("shape", [(12,), (3, 2, 2)])
def test_zca_is_its_formula(eps, shape):
    table = correlated()
    images = table.float().view(-1, *shape)
    ours = preprocessing(Zca(eps=eps).fit(images.split(33)))(images)
    variances, directions = scipy.linalg.eigh(
        np.cov(images.flatten(1).double().numpy().T, bias=True)
    )
    matrix = directions @ np.diag((variances + eps) ** -0.5) @ directions.T
    centred = images.flatten(1).double().numpy()
    centred -= centred.mean(0)
    assert ours.shape == images.shape
    assert np.allclose(ours.flatten(1), centred @ matrix, rtol=1e-3, atol=1e-4)


def test_zca_leaves_features_uncorrelated_of_variance_one_and_near_themselves():
    table = correlated().float()
    white = preprocessing(Zca(eps=1e-9).fit(table.split(50)))(table)
    assert np.allclose(np.cov(white.T, bias=True), np.eye(12), atol=1e-2)
    standard = preprocessing(Standardize(per="feature").fit([table]))(table)
    # Of all rotations of white features, ZCA's has the most in common with what they come from.
    basis, _ = torch.linalg.qr(torch.randn(12, 12, generator=torch.Generator().manual_seed(1)))
    assert ((table - table.mean(0)) * white).sum() > (
        (table - table.mean(0)) * (white @ basis)
    ).sum()
    assert standard.shape == white.shape


def test_zca_does_not_blow_up_what_does_not_vary():
    images = torch.rand(50, 1, 4, 4)
    images[..., 0, 0] = 0.25
    fitted = preprocessing(Zca().fit([images]))
    assert fitted(images)[..., 0, 0].abs().max() < 1e-4
    images[..., 0, 0] = 0.75
    assert fitted(images)[..., 0, 0].abs().max() <= 0.5 / 1e-2**0.5 + 1e-4


def test_zca_of_a_nan_is_left_for_a_check_to_find():
    images = torch.rand(10, 1, 2, 2)
    images[3, 0, 0, 0] = torch.nan
    assert preprocessing(Zca().fit([images]))(images).isnan().all()


@pytest.mark.parametrize(
    ("normalize", "config", "reason"),
    [
        ({"kind": "zca"}, {"kind": "digits", "image_size": 65}, "4225 features.*up to 4096"),
        ({"kind": "zca", "eps": 0}, {"kind": "digits"}, "greater than or equal"),
    ],
)
def test_what_cannot_be_whitened_is_a_fault_of_the_config(normalize, config, reason):
    with pytest.raises(ValidationError, match=reason) as caught:
        TypeAdapter(Data).validate_python(config | {"normalize": normalize})
    if "image_size" in config:
        assert caught.value.errors()[0]["ctx"]["path"] == "data.normalize"


@pytest.mark.parametrize("kind", ["center", "standardize"])
def test_a_table_has_no_pixels(kind):
    member = TypeAdapter(Normalize).validate_python({"kind": kind, "per": "pixel"})
    with pytest.raises(ValueError, match=r"per: pixel needs images \[C, H, W\].* are \[30\]"):
        member.check_inputs((30,))
    member.check_inputs((3, 8, 8))


@pytest.mark.parametrize(
    "normalize", ["none", {"kind": "standardize", "per": "pixel"}, {"kind": "center"}, "zca"]
)
def test_a_bundle_knows_of_its_training_split_alone(load, normalize):
    bundle = load({"kind": "digits", "normalize": normalize, "limit": 300})
    pixels = torch.cat([inputs / 255 for inputs, _ in bundle.train.batches(100)])
    again = preprocessing(bundle.normalization.fit([pixels]))
    for name, fitted in bundle.preprocessing.state_dict().items():
        assert torch.allclose(fitted, again.state_dict()[name], atol=1e-5), name
    raw = bundle.val.examples(torch.arange(50)).inputs
    shown = bundle.examples(bundle.val, torch.arange(50)).inputs
    assert torch.allclose(shown, again(raw), atol=1e-4)


def test_whitened_digits_are_white_in_training_and_near_it_in_validation(load):
    bundle = load({"kind": "digits", "normalize": {"kind": "zca", "eps": 1e-4}})
    spreads = {}
    for name, split in (("train", bundle.train), ("val", bundle.val)):
        inputs = torch.cat([batch.inputs for batch in bundle.batches(split, 500)]).flatten(1)
        values = np.cov(inputs.double().numpy().T, bias=True)
        spreads[name] = np.linalg.eigvalsh(values)
    varying = spreads["train"][-45:]
    assert np.allclose(varying, 1, atol=0.05)
    assert spreads["train"].max() <= 1
    assert spreads["val"].max() > 1.01


def test_augmented_images_are_whitened_after_their_augmentation(load):
    config = {"kind": "digits", "normalize": "zca"}
    augment = [{"kind": "horizontal_flip", "probability": 1.0}]
    bundle = load(config | {"augment": augment})
    batch = next(bundle.training_batches(20, generator=torch.Generator(), shuffle=False))
    raw = bundle.train.examples(torch.arange(20)).inputs
    assert torch.allclose(batch.inputs, bundle.preprocessing(raw.flip(-1)), atol=1e-5)
