from __future__ import annotations

import importlib

import pytest
import torch

from nnrecipe.core.errors import UserError
from nnrecipe.data import ResidentSplit, StreamedSplit

PAIRS = """
class Pairs(Dataset):
    def __init__(self, x, y):
        self.x, self.y = x, y
    def __len__(self):
        return len(self.x)
    def __getitem__(self, i):
        return self.x[i], self.y[i]
"""

GOOD = """
def make(n=40):
    x, y = torch.rand(n, 3, 4, 4), torch.arange(n) % 5
    return DATASET(x, y), DATASET(x[:10], y[:10]), DATASET(x[10:20], y[10:20])
"""


@pytest.fixture
def build(load, user_code):
    def run(body, *, workers=0, seed=0, **fields):
        target = f"{user_code(PAIRS + body)}:make"
        return load({"kind": "custom", "target": target, **fields}, workers=workers, seed=seed)

    return run


def everything(split):
    batches = list(split.batches(4))
    return torch.cat([b.inputs for b in batches]), torch.cat([b.targets for b in batches])


def test_tensors_are_held_and_other_datasets_streamed_alike(build):
    held = build(GOOD.replace("DATASET", "TensorDataset"))
    streamed = build(GOOD.replace("DATASET", "Pairs"))
    assert isinstance(held.train, ResidentSplit)
    assert isinstance(streamed.train, StreamedSplit)
    for name in ("train", "val", "test"):
        one, other = getattr(held, name), getattr(streamed, name)
        assert one.targets.equal(other.targets)
        assert all(a.equal(b) for a, b in zip(everything(one), everything(other), strict=True))
    places = torch.tensor([3, 3, 0])
    assert held.val.examples(places).inputs.equal(streamed.val.examples(places).inputs)
    assert held.classes == streamed.classes == ("0", "1", "2", "3", "4")
    assert held.indices == {}


def test_floats_come_as_they_are_and_bytes_in_pixel_units(build):
    floats = build(
        "def make(): t = TensorDataset(torch.full((4, 2), 200.), torch.arange(4) % 2); return t, t"
    )
    assert floats.examples(floats.train, torch.tensor([0])).inputs.tolist() == [[200, 200]]
    body = (
        "def make():\n    x = torch.full((4, 2), 255, dtype=torch.uint8)\n"
        "    t = TensorDataset(x, torch.arange(4) % 2)\n    return t, t"
    )
    for pixels, white in (("unit", 1), ("raw", 255)):
        bundle = build(body, pixels=pixels)
        assert bundle.examples(bundle.train, torch.tensor([0])).inputs.tolist() == [[white, white]]


def test_normalize_applies_where_it_is_asked_for(build):
    for kind in ("TensorDataset", "Pairs"):
        bundle = build(GOOD.replace("DATASET", kind), normalize="standardize")
        shown = torch.cat([b.inputs for b in bundle.batches(bundle.train, 7)])
        assert torch.allclose(shown.mean((0, 2, 3)), torch.zeros(3), atol=1e-5)


@pytest.mark.parametrize(
    ("image", "shape"),
    [
        ("torch.rand(5, 7)", (1, 5, 7)),
        ("torch.rand(6)", (6,)),
        ("torch.rand(4, 5, 7, dtype=torch.float64)", (4, 5, 7)),
        ("np.zeros((5, 7, 3), dtype=np.uint8)", (3, 5, 7)),
        ("np.zeros((3, 5, 7), dtype=np.float64)[:, ::-1]", (3, 5, 7)),
        ("[1.0, 2.0]", (2,)),
        ("3.5", (1,)),
        ("__import__('PIL.Image').Image.new('RGB', (7, 5))", (3, 5, 7)),
        ("__import__('PIL.Image').Image.new('L', (7, 5))", (1, 5, 7)),
    ],
)
def test_what_an_image_may_be(build, image, shape):
    bundle = build(f"def make(): d = [({image}, i % 2) for i in range(4)]; return d, d")
    assert bundle.input_shape == shape
    inputs, targets = everything(bundle.train)
    assert inputs.shape == (4, *shape)
    assert inputs.dtype in (torch.uint8, torch.float32)
    assert targets.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(
    "label",
    [
        "i % 2",
        "np.int64(i % 2)",
        "float(i % 2)",
        "bool(i % 2)",
        "torch.tensor(i % 2)",
        "torch.tensor([i % 2.0])",
    ],
)
def test_what_a_label_may_be(build, label):
    bundle = build(f"def make(): d = [(torch.zeros(3), {label}) for i in range(4)]; return d, d")
    assert bundle.train.targets.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("label", ["-1", "0.5", "float('nan')", "'cat'", "None", "torch.eye(3)[0]"])
def test_what_a_label_may_not_be(build, label):
    with pytest.raises(UserError, match=r"data.target: .*train\[0\]: labels must be class numbers"):
        build(f"def make(): d = [(torch.zeros(3), {label}) for i in range(4)]; return d, d")


@pytest.mark.parametrize(
    "labels",
    [
        "torch.tensor([0, -1])",
        "torch.tensor([0, .5])",
        "torch.eye(2)",
        "torch.tensor([0, torch.nan])",
    ],
)
def test_what_a_tensor_of_labels_may_not_be(build, labels):
    with pytest.raises(UserError, match=r"data.target: .*train.*: labels must be class numbers"):
        build(f"def make(): d = TensorDataset(torch.zeros(2, 3), {labels}); return d, d")


def test_non_finite_values_are_left_for_a_check_to_find(build):
    bundle = build(
        "def make():\n    t = TensorDataset(torch.full((4, 2), torch.nan), torch.arange(4) % 2)\n"
        "    return t, t"
    )
    assert bundle.examples(bundle.train, torch.tensor([0])).inputs.isnan().all()


@pytest.mark.parametrize("kind", ["TensorDataset", "Pairs"])
def test_a_class_absent_from_training_still_counts(build, kind):
    body = f"""
def make():
    y = torch.arange(40) % 10
    x = torch.rand(40, 3)
    keep = y != 7
    return {kind}(x[keep], y[keep]), {kind}(x, y)
"""
    bundle = build(body)
    assert bundle.outputs.size == 10
    assert bundle.outputs.class_counts == (4,) * 7 + (0,) + (4,) * 2
    assert build(body, classes=12).outputs.size == 12


def test_names_come_from_the_dataset_even_below_a_subset(build):
    bundle = build(
        "class Named(Pairs):\n    classes = ['ape', 'bee', 'cow']\n"
        "def make():\n    d = Named(torch.rand(8, 3), torch.arange(8) % 2)\n"
        "    return Subset(d, range(6)), Subset(d, [6, 7])\n"
    )
    assert bundle.classes == ("ape", "bee", "cow")


def test_declared_labels_save_reading_every_example(load, user_code):
    body = (
        PAIRS
        + """
class Counted(Pairs):
    reads = 0
    def __getitem__(self, i):
        type(self).reads += 1
        return super().__getitem__(i)
    @property
    def targets(self):
        return LABELS
def make():
    d = Counted(torch.rand(400, 3), torch.arange(400) % 5)
    return d, Subset(d, range(390, 400))
"""
    )
    reads = []
    for declared in ("self.y.tolist()", "[0] * 400"):
        module = user_code(body.replace("LABELS", declared))
        bundle = load({"kind": "custom", "target": f"{module}:make"})
        reads.append(importlib.import_module(module).Counted.reads)
        assert bundle.train.targets.equal(torch.arange(400) % 5)
        assert bundle.val.targets.equal(torch.arange(390, 400) % 5)
    assert reads[0] < 150 < 400 < reads[1]


def test_a_limit_is_stratified(build):
    for kind in ("TensorDataset", "Pairs"):
        bundle = build(GOOD.replace("DATASET", kind), limit=10)
        assert bundle.outputs.class_counts == (2,) * 5
        assert everything(bundle.train)[1].equal(bundle.train.targets)


def test_subsets_of_tensors_are_held(build):
    bundle = build(
        "def make():\n    d = TensorDataset(torch.arange(6.), torch.arange(6) % 2)\n"
        "    return Subset(d, [5, 2, 0, 1]), Subset(d, [3, 4])\n"
    )
    assert isinstance(bundle.train, ResidentSplit)
    assert everything(bundle.train)[0].flatten().tolist() == [5, 2, 0, 1]


RANDOM = """
class Random(Pairs):
    def __getitem__(self, i):
        drawn = torch.rand(1).item(), np.random.rand(), random.random()
        return torch.tensor(drawn) + 0 * self.x[i, 0], self.y[i]
class Overridden(TensorDataset):
    def __getitem__(self, i):
        x, y = super().__getitem__(i)
        return x + torch.rand(3), y
def make(kind="Random"):
    d = globals()[kind](torch.zeros(12, 3), torch.arange(12) % 2)
    return d, d
"""


@pytest.mark.parametrize("kind", ["Random", "Overridden"])
def test_a_random_dataset_stays_random_and_seeded(build, kind):
    bundle = build(RANDOM, args={"kind": kind})
    state = torch.get_rng_state()
    first, second = everything(bundle.val)[0], everything(bundle.val)[0]
    assert not first.equal(second)
    assert len(first.unique(dim=0)) == 12
    places = torch.arange(12)
    assert not bundle.val.examples(places).inputs.equal(bundle.val.examples(places).inputs)

    def epoch(seed):
        generator = torch.Generator().manual_seed(seed)
        return torch.cat([b.inputs for b in bundle.training_batches(5, generator=generator)])

    assert epoch(0).equal(epoch(0))
    assert not epoch(0).equal(epoch(1))
    assert torch.get_rng_state().equal(state)


def test_workers_change_nothing(build):
    def epochs(bundle):
        generator = torch.Generator().manual_seed(3)
        batches = (b for _ in range(2) for b in bundle.training_batches(5, generator=generator))
        return torch.cat([batch.inputs for batch in batches])

    assert epochs(build(RANDOM)).equal(epochs(build(RANDOM, workers=2)))


def test_a_pass_may_start_within_another_or_be_left(build):
    bundle = build(GOOD.replace("DATASET", "Pairs"), workers=1)
    expected, _ = everything(bundle.train)
    outer = []
    for batch in bundle.train.batches(16):
        outer.append(batch.inputs)
        assert everything(bundle.train)[0].equal(expected)
        assert len(next(bundle.train.batches(3)).targets) == 3
    assert torch.cat(outer).equal(expected)


def test_the_callables_own_randomness_is_seeded(build):
    body = GOOD.replace("DATASET", "TensorDataset")
    state = torch.get_rng_state()
    first = everything(build(body).train)[0]
    assert first.equal(everything(build(body).train)[0])
    assert not first.equal(everything(build(body, seed=1).train)[0])
    assert torch.get_rng_state().equal(state)


def test_arguments_are_passed(build):
    assert len(build(GOOD.replace("DATASET", "TensorDataset"), args={"n": 25}).train) == 25


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("def make(): return 3", r"must return \(train, val\).*got int"),
        ("def make(): return [], [], [], []", "must return .*got tuple of 4"),
        ("def make(): return [], []", "train is empty"),
        ("def make(): return iter(()), []", "train is .*can't be indexed or has no length"),
        ("def make(): raise KeyError('x')", r"failed: KeyError: 'x' \(.*user_data_\d+.py:\d+\)"),
        ("def make(a): return a", "failed: TypeError: .*missing 1 required"),
        (
            "def make(): d = [torch.zeros(3)] * 2; return d, d",
            r"expected \(image, label\), got Tensor",
        ),
        ("def make(): d = [{'image': 1}] * 2; return d, d", r"expected \(image, label\), got dict"),
        (
            "def make(): d = [('a.png', i) for i in range(2)]; return d, d",
            "expected a tensor.*got str",
        ),
        (
            "def make(): d = TensorDataset(torch.zeros(3, 2)); return d, d",
            "got a TensorDataset of 1",
        ),
        (
            "def make(): d = TensorDataset(torch.zeros(2, 2), torch.zeros(2)); return d, d",
            "all labels are 0",
        ),
        (
            "def make(): d = TensorDataset(torch.zeros(2, 2) * 1j, torch.ones(2)); return d, d",
            "complex",
        ),
        (
            "def make(): return [TensorDataset(torch.ones(2, n), torch.arange(2)) for n in [3, 4]]",
            r"alike, got float32 \[4\] in val, float32 \[3\] in train",
        ),
        (
            "def make(): d = [(torch.zeros(3 + (i > 5)), i % 2) for i in range(9)]; return d, d",
            r"train\[6\] is float32 \[4\], but the first example is float32 \[3\]: make all alike",
        ),
        (
            "def make(): d = [(torch.zeros(3), 10**9 * i) for i in range(9)]; return d, d",
            "18 examples with labels up to 8000000000: number the classes 0, 1, 2",
        ),
        (
            "class Bad(Pairs):\n    def __getitem__(self, i): return self.x[i], 1 // (5 - i)\n"
            "def make(): d = Bad(torch.zeros(9, 2), None); return d, d",
            r"train\[5\] failed: ZeroDivisionError: .*user_data_\d+.py:\d+",
        ),
    ],
)
@pytest.mark.parametrize("workers", [0, 1])
def test_mistakes_in_the_users_code_are_explained(build, body, message, workers):
    with pytest.raises(UserError, match=f"data.target: .*{message}"):
        build(body, workers=workers)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_mistake_that_shows_while_training_is_explained(build, workers):
    body = """
class Late(Pairs):
    targets = [0, 1] * 200
    def __getitem__(self, i):
        if i == 3:
            raise OSError("disk full of\\nwords")
        return self.x[i], self.targets[i]
def make():
    d = Late(torch.zeros(400, 2), None)
    return d, d
"""
    bundle = build(body, workers=workers)
    message = (
        r"^data.target: user_data_\d+:make: train\[3\] failed: OSError: disk full of \(.*py:\d+\)$"
    )
    with pytest.raises(UserError, match=message):
        list(bundle.training_batches(50, generator=torch.Generator()))


def test_labels_beyond_the_declared_classes_are_refused(build):
    with pytest.raises(UserError, match=r"label 4 among 3 classes \(0 ... 2\): set data.classes"):
        build(GOOD.replace("DATASET", "TensorDataset"), classes=3)


def test_augmentations_that_the_examples_cannot_take_are_refused(build):
    body = "def make(): t = TensorDataset(torch.zeros(4, 2), torch.arange(4) % 2); return t, t"
    with pytest.raises(UserError, match=r"data.augment.0: noise: it works on images"):
        build(body, augment=["noise"])


def test_policies_take_the_users_bytes_but_not_floats(build):
    body = "def make(): t = TensorDataset(IMAGES, torch.arange(8) % 2); return t, t"
    floats = body.replace("IMAGES", "torch.rand(8, 3, 32, 32)")
    with pytest.raises(UserError, match=r"data.augment.0: rand_augment: it needs uint8 images"):
        build(floats, augment=["rand_augment"])
    pixels = "torch.randint(256, (8, 3, 32, 32), dtype=torch.uint8)"
    bundle = build(body.replace("IMAGES", pixels), augment=["rand_augment", "trivial_augment"])
    batch = next(bundle.training_batches(8, generator=torch.Generator()))
    assert 0 <= batch.inputs.min() <= batch.inputs.max() <= 1


def test_what_cannot_be_normalized_so_is_refused(build):
    body = "def make(): t = TensorDataset(torch.zeros(4, WIDTH), torch.arange(4) % 2); return t, t"
    with pytest.raises(UserError, match=r"data.normalize: zca: 5000 features .* up to 4096"):
        build(body.replace("WIDTH", "5000"), normalize="zca")
    with pytest.raises(UserError, match=r"data.normalize: center: per: pixel needs images"):
        build(body.replace("WIDTH", "5"), normalize={"kind": "center", "per": "pixel"})
