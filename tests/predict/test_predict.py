"""Predictions for files are those of the run's own evaluation, whatever the files are like."""

from __future__ import annotations

import csv
import io
import json
import pickle
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor

from nnrecipe.cli import main
from nnrecipe.data.image_files import ImageFormat
from nnrecipe.predict.reading import FEW, Reading, read_ahead
from nnrecipe.recipe import load_recipe

CONFIG = """
architecture: {kind: mlp, widths: [16]}
optimizer: {kind: adam, lr: 1e-2}
training: {epochs: 2, batch_size: 32, compile: off, threads: 1}
stages: [train, evaluate]
tracking: none
name: small
"""
DIGITS = "data: {kind: digits, limit: 300}\n"
FOLDER = "data: {kind: image_folder, root: photos, image_size: 9, val_fraction: 0.4, cache: off}\n"
AGREE = {"rtol": 1e-5, "atol": 1e-6}


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the digits, in a folder with the images as files: `images/0003-3.png`, say."""
    folder = tmp_path_factory.mktemp("digits")
    write_digits(folder / "images", 40)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        train("out", DIGITS)
    return folder


@pytest.fixture
def at_digits(digits_run: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(digits_run)
    return digits_run


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_digits(folder: Path, count: int) -> None:
    source = load_digits()
    folder.mkdir()
    pixels = np.round(source.images * 255 / 16).astype(np.uint8)
    for number in range(count):
        name = f"{number:04}-{source.target[number]}.png"
        Image.fromarray(pixels[number]).save(folder / name)


def train(folder: str, data: str, *changes: str, more: str = CONFIG) -> None:
    Path(f"{folder}.yaml").write_text(data + more)
    assert main(["run", f"{folder}.yaml", *changes, "--keep-going", "--output", folder]) in (0, 1)


Predict = Callable[..., tuple[int, list[dict[str, str]], str]]


@pytest.fixture
def predict(capsys: pytest.CaptureFixture[str]) -> Predict:
    """Runs the command; gives its exit code, the rows of its CSV, and what it told besides."""

    def call(*words: str) -> tuple[int, list[dict[str, str]], str]:
        capsys.readouterr()
        code = main(["predict", *words, "--format", "csv"])
        told = capsys.readouterr()
        return code, list(csv.DictReader(io.StringIO(told.out))), told.err

    return call


def shares(rows: list[dict[str, str]], names: tuple[str, ...]) -> Tensor:
    """The probabilities of all classes `[N, C]`, from rows of as many ranks."""
    found = []
    for row in rows:
        ends = ["", *(f"_{place}" for place in range(2, len(names) + 1))]
        told = {row[f"class{end}"]: float(row[f"probability{end}"]) for end in ends}
        assert list(told.values()) == sorted(told.values(), reverse=True)
        found.append([told[name] for name in names])
    return torch.tensor(found)


@torch.no_grad()
def evaluated(run: str, *, split: str = "test", checkpoint: str = "best") -> tuple[Any, Tensor]:
    """The run's data, built from its config, and the checkpoint's outputs on a split."""
    recipe = load_recipe(f"{run}/config.yaml")
    data = recipe.data.build(device=torch.device("cpu"), seed=recipe.seed)
    saved = torch.load(f"{run}/checkpoints/{checkpoint}.pt", weights_only=True)
    model = recipe.architecture.build(data.input_shape, data.outputs, hidden=recipe.hidden)
    model.load_state_dict(saved["model"])
    batches = data.batches({"test": data.test, "val": data.val}[split], 64)
    return data, torch.cat([model.eval()(inputs) for inputs, _ in batches])


def digits_of(data: Any, split: str) -> list[str]:
    """The files of a split, in its order; they are written here."""
    source = load_digits()
    pixels = np.round(source.images * 255 / 16).astype(np.uint8)
    Path(split).mkdir()
    for place, index in enumerate(data.indices[split]):
        Image.fromarray(pixels[index]).save(f"{split}/{place:04}.png")
    return [split]


def accuracy(rows: list[dict[str, str]], data: Any) -> Any:
    true = [data.classes[target] for target in data.test.targets]
    right = [row["class"] == name for row, name in zip(rows, true, strict=True)]
    return pytest.approx(sum(right) / len(right))


def reported(run: str) -> float:
    report = json.loads(Path(run, "report.json").read_text())
    return float(report["metrics"]["test_accuracy"])


def photos(random: np.random.Generator) -> Iterator[tuple[str, Image.Image]]:
    """Images of many modes and sizes, by the ending that can hold them."""
    for number in range(6):
        size = (7 + number, 12 - number)
        colour = Image.fromarray(random.integers(0, 256, (*size, 3), dtype=np.uint8))
        alpha = Image.fromarray(random.integers(0, 256, (*size, 4), dtype=np.uint8))
        gray = colour.convert("L")
        yield from [
            (f"{number}.png", colour),
            (f"{number}-alpha.png", alpha),
            (f"{number}-palette.gif", colour.quantize(16)),
            (f"{number}-cmyk.jpg", colour.convert("CMYK")),
            (f"{number}-gray.JPEG", gray),
            (f"{number}-gray-alpha.png", gray.convert("LA")),
            (f"{number}-bits.png", gray.convert("1")),
            (f"{number}-palette.png", alpha.quantize(8)),
        ]


def write_photos(gray: bool) -> None:
    random = np.random.default_rng(0)
    for name in ("train/cat", "train/dog", "test/cat", "test/dog"):
        Path("photos", name).mkdir(parents=True)
        for file, image in photos(random):
            if (image.mode in ("1", "L", "LA") or not gray) and not file.endswith(".gif"):
                image.save(Path("photos", name, file))


@pytest.mark.parametrize("gray", [False, True])
@pytest.mark.parametrize("normalize", ["standardize", "zca"])
def test_files_are_read_as_training_read_them(
    gray: bool, normalize: str, empty: Path, predict: Predict
) -> None:
    write_photos(gray)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PIL has advice on palettes
        train("out", FOLDER, f"data.normalize={normalize}")
        data, outputs = evaluated("out")
    code, rows, _ = predict("out", "photos/test/cat", "photos/test/dog", "--top-k", "9")
    assert code == 0
    assert data.input_shape == (1 if gray else 3, 9, 9)
    assert len(rows) == len(outputs) > 20
    made = shares(rows, ("cat", "dog"))
    torch.testing.assert_close(made, outputs.softmax(1), **AGREE)
    in_others = predict("out", "photos/test/*/*", "--top-k", "2", "--workers", "1")[1]
    assert in_others == rows


@pytest.mark.parametrize("change", ["data.limit=200", "data.image_size=12", "data.pixels=raw"])
def test_digits_from_files_get_the_probabilities_of_the_evaluation(
    change: str, empty: Path, predict: Predict
) -> None:
    train("out", DIGITS, change, "training.average=ema", "training.batch_size=16")
    data, outputs = evaluated("out")
    code, rows, told = predict("out", *digits_of(data, "test"), "--top-k", "10")
    assert (code, len(rows)) == (0, 359)
    torch.testing.assert_close(shares(rows, data.classes), outputs.softmax(1), **AGREE)
    assert accuracy(rows, data) == reported("out")
    assert "out/checkpoints/best.pt, epoch" in told


def test_the_precision_is_the_runs_own(empty: Path, predict: Predict) -> None:
    train("out", DIGITS, "precision=bf16")
    data, exact = evaluated("out")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, rounded = evaluated("out")
    _, rows, _ = predict("out", *digits_of(data, "test"), "--top-k", "10")
    made = shares(rows, data.classes)
    torch.testing.assert_close(made, rounded.float().softmax(1), rtol=0.02, atol=1e-3)
    assert (made - rounded.float().softmax(1)).abs().max() < (made - exact.softmax(1)).abs().max()


@pytest.mark.parametrize(("what", "size"), [("traits", 4), ("ink", 1)])
def test_labels_and_values(
    what: str, size: int, empty: Path, predict: Predict, capsys: pytest.CaptureFixture[str]
) -> None:
    train("out", DIGITS, f"data.predict={what}")
    data, outputs = evaluated("out")
    files = digits_of(data, "test")
    code, rows, _ = predict("out", *files)
    made = torch.tensor([[float(row[name]) for name in data.classes] for row in rows])
    assert (code, made.shape) == (0, (359, size))
    expected = outputs.sigmoid() if what == "traits" else outputs
    torch.testing.assert_close(made, expected, **AGREE)
    assert main(["predict", "out", *files, "--format", "json"]) == 0
    entry = json.loads(capsys.readouterr().out)[3]
    key = "probabilities" if what == "traits" else "values"
    assert list(entry[key]) == list(data.classes)
    assert main(["predict", "out", *files, "--top-k", "2"]) == (0 if what == "traits" else 2)
    told = capsys.readouterr()
    assert what == "traits" or "--top-k 2: is for classes and labels" in told.err


def test_the_ensemble_comes_first_and_others_on_request(empty: Path, predict: Predict) -> None:
    train("out", DIGITS, "ensemble={kind: members, size: 2}", "stages=[train, ensemble]")
    data, best = evaluated("out")
    files = digits_of(data, "test")
    saved = torch.load("out/checkpoints/ensemble.pt", weights_only=True)
    rows = {name: predict("out", *files, "--top-k", "10", *words) for name, words in {
        "both": [], "ensemble": ["--checkpoint", "ensemble"], "best": ["--checkpoint", "best"],
        "last": ["--checkpoint", "last"]}.items()}  # fmt: skip
    made = {name: shares(found[1], data.classes) for name, found in rows.items()}
    torch.testing.assert_close(made["best"], best.softmax(1), **AGREE)
    last = evaluated("out", checkpoint="last")[1]
    torch.testing.assert_close(made["last"], last.softmax(1), **AGREE)
    second = torch.cat([mlp(x, saved["members"][1]) for x, _ in data.batches(data.test, 64)])
    torch.testing.assert_close(made["both"], (best.softmax(1) + second) / 2, **AGREE)
    assert torch.equal(made["both"], made["ensemble"])
    assert "ensemble.pt" in rows["both"][2]


def mlp(x: Tensor, state: dict[str, Tensor]) -> Tensor:
    hidden = (x.flatten(1) @ state["fc1.weight"].T + state["fc1.bias"]).relu()
    return (hidden @ state["fc2.weight"].T + state["fc2.bias"]).softmax(1)


def test_a_network_on_stages_is_put_together_again(empty: Path, predict: Predict) -> None:
    resnet = "architecture={kind: resnet, depth: 8, width: 0.25}"
    train("first", DIGITS, resnet, "stages=[train]")
    weights = "architecture.weights={file: first/checkpoints/best.pt, head: replace}"
    stages = [resnet, weights, "transfer.strategy=stages", "stages=[transfer, train, evaluate]"]
    train("out", DIGITS, *stages)
    Path("first/checkpoints/best.pt").unlink()  # what it started from is not needed
    recipe = load_recipe("out/config.yaml")
    data = recipe.data.build(device=torch.device("cpu"), seed=0)
    _, rows, _ = predict("out", *digits_of(data, "test"))
    assert accuracy(rows, data) == reported("out")
    assert main(["export", "out", "--format", "torch"]) == 0


CODE = """
import torch
from torch import nn
from torch.utils.data import TensorDataset

def net():
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(8), nn.ReLU(), nn.LazyLinear(3))

def data(low=0.0, high=1.0):
    draw = torch.Generator().manual_seed(0)
    x = low + (high - low) * torch.rand(60, 3, 6, 6, generator=draw)
    return TensorDataset(x, torch.arange(60) % 3), TensorDataset(x, torch.arange(60) % 3)
"""


def custom_run(module: str, data: str = "") -> None:
    Path("own").mkdir()
    Path("own", f"{module}.py").write_text(CODE)
    config = f"data: {{kind: custom, target: '{module}:data', args: {{{data}}}}}\n" + CONFIG
    own = f"kind: custom, target: '{module}:net'"
    Path("own/net.yaml").write_text(config.replace("kind: mlp, widths: [16]", own))
    assert main(["run", "own/net.yaml", "--keep-going", "--output", "out"]) in (0, 1)


def test_a_network_of_ones_own(empty: Path, predict: Predict) -> None:
    custom_run("own_code_of_the_first")
    pixels = np.random.default_rng(0).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    Image.fromarray(pixels).save("one.png")
    _, rows, told = predict("out", "one.png", "--top-k", "3")
    assert "code   own_code_of_the_first:net" in told
    saved = torch.load("out/checkpoints/best.pt", weights_only=True)["model"]
    x = torch.tensor(pixels).permute(2, 0, 1).flatten().float() / 255
    hidden = (saved["1.weight"] @ x + saved["1.bias"]).relu()
    expected = (saved["3.weight"] @ hidden + saved["3.bias"]).softmax(0)
    torch.testing.assert_close(shares(rows, ("0", "1", "2"))[0], expected, **AGREE)
    assert main(["export", "out", "--format", "torch"]) == 0


def test_floats_of_unknown_making_are_refused(empty: Path, predict: Predict) -> None:
    custom_run("own_code_of_the_second", "low: -1.0")
    Image.new("RGB", (6, 6)).save("one.png")
    code, _, told = predict("out", "one.png")
    assert code == 2
    assert "your Dataset gives floats from -" in told
    path = Path("out/checkpoints/best.pt")
    saved = torch.load(path, weights_only=True)
    del saved["float_range"]
    torch.save(saved, path)
    assert "an older nnrecipe wrote it" in predict("out", "one.png")[2]


def test_an_older_checkpoint_leaves_the_task_to_the_recipe(empty: Path, predict: Predict) -> None:
    train("out", DIGITS, "data.predict=traits", "stages=[train]")
    write_digits(Path("images"), 3)
    before = predict("out", "images")[1]
    path = Path("out/checkpoints/best.pt")
    saved = torch.load(path, weights_only=True)
    del saved["float_range"], saved["task"]
    torch.save(saved, path)
    assert predict("out", "images")[1] == before


@pytest.mark.parametrize("workers", ["0", "2"])
def test_images_that_cannot_be_read_are_named_and_the_others_go_on(
    workers: str, at_digits: Path, tmp_path: Path, predict: Predict, monkeypatch: Any
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    whole = Path("images/0007-7.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole)
    (tmp_path / "cut.png").write_bytes(whole[:80])
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "words.jpg").write_text("no image")
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(tmp_path / "deep.png")
    Image.new("1", (40, 40)).save(tmp_path / "bomb.png")
    Image.new("1", (60, 60)).save(tmp_path / "larger-bomb.png")
    (tmp_path / "gone.png").symlink_to("nowhere")
    (tmp_path / "z.png").write_bytes(whole)
    words = ["out", str(tmp_path), "--workers", workers, "--batch-size", "2"]
    code, rows, told = predict(*words)
    assert code == 1
    assert [Path(row["image"]).name for row in rows] == ["a.png", "z.png"]
    bad = ("cut", "empty", "words", "deep", "bomb", "larger-bomb", "gone")
    assert all(told.count(f"/{name}.") == 1 for name in bad)
    assert "more than 8 bits a channel" in told
    assert told.count("it has more than 1,000 pixels") == 2
    assert "No such file" in told
    assert "7 of 9 images could not be read" in told
    assert predict("out", str(tmp_path / "cut.png"))[:2] == (1, [])


def test_a_table_for_people(at_digits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "out", "images/0000-0.png", "images/0001-1.png", "--top-k", "2"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["class", "2.", "image"]
    assert [line.split()[-1] for line in lines] == ["images/0000-0.png", "images/0001-1.png"]
    assert all(line.count(" %  ") == 2 for line in lines)
    assert {line.index("images/") for line in lines} == {head.index("image")}


def test_json_is_a_list_with_a_line_for_each_image(
    at_digits: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--format", "json", "--top-k", "3", "--batch-size", "7", "--workers", "1"]
    assert main(["predict", "out", "images", *words]) == 0
    text = capsys.readouterr().out
    found = json.loads(text)
    assert len(found) == len(text.splitlines()) - 2 == 40
    assert [set(entry) for entry in found] == [{"image", "predictions"}] * 40
    assert [set(told) for told in found[0]["predictions"]] == [{"class", "probability"}] * 3


def test_the_outputs_name_says_the_format(at_digits: Path, tmp_path: Path, capsys: Any) -> None:
    for suffix, form in {"csv": "csv", "json": "json", "txt": "table"}.items():
        path = tmp_path / "new" / f"said.{suffix}"
        assert main(["predict", "out", "images", "--out", str(path)]) == 0
        assert main(["predict", "out", "images", "--format", form]) == 0
        assert path.read_text() == capsys.readouterr().out
    assert len(list((tmp_path / "new").iterdir())) == 3
    assert main(["predict", "out", "images", "--out", "/dev/null/said.csv"]) == 2
    assert "can't be written" in capsys.readouterr().err


def test_words_are_files_folders_and_patterns(
    at_digits: Path, tmp_path: Path, predict: Predict
) -> None:
    image = Path("images/0000-0.png").read_bytes()
    names = ["b/2.PNG", "b/1.png", "b/.hidden.png", "b/.git/x.png", "b/notes.txt", "b/a/3.bmp"]
    for name in [*names, "c[1].png", "c1.png", "noending"]:
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_bytes(image)

    def found(*words: str) -> list[str]:
        code, rows, _ = predict("out", *(str(tmp_path / word) for word in words))
        assert code == 0
        return [str(Path(row["image"]).relative_to(tmp_path)) for row in rows]

    assert found("b") == ["b/1.png", "b/2.PNG", "b/a/3.bmp"]
    assert found("c[1].png", "b/*.png") == ["c[1].png", "b/1.png"]
    assert found("**/*.png") == ["b/1.png", "c1.png", "c[1].png"]
    assert found("noending", "c?.png", "c1.png") == ["noending", "c1.png", "c1.png"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["out", "nowhere.png"], "IMAGES: nowhere.png: no such file or folder"),
        (["out", "none-*.png"], "IMAGES: none-*.png: no such file or folder"),
        (["out", "out/checkpoints"], "IMAGES: out/checkpoints: no images in it (.jpg"),
        (["nowhere", "images"], "nowhere: no such folder"),
        (["images", "images"], "images: no images/checkpoints/best.pt: name the folder of one run"),
        (["out", "images", "--checkpoint", "ensemble"], "the run has made no ensemble"),
        (["out", "images", "--batch-size", "0"], "0 is not in the range"),
        (["out"], "Missing argument 'IMAGES...'"),
    ],
)
def test_a_mistake_is_told(
    words: list[str], message: str, at_digits: Path, predict: Predict
) -> None:
    code, rows, told = predict(*words)
    assert (code, rows) == (2, [])
    assert message in told
    assert "Traceback" not in told


class Harm:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("harm"),)


def test_code_in_a_checkpoint_is_never_run(empty: Path, predict: Predict) -> None:
    train("out", DIGITS, "stages=[train]")
    write_digits(Path("images"), 1)
    path = Path("out/checkpoints/best.pt")
    saved = torch.load(path, weights_only=True)
    torch.save(saved | {"recipe": Harm()}, path)
    code, _, told = predict("out", "images")
    assert (code, Path("harm").exists()) == (2, False)
    assert "not a readable checkpoint" in told
    assert pickle.dumps(Harm())  # it is one that would do it
    path.write_bytes(path.read_bytes()[:-100])
    assert predict("out", "images")[0] == 2


def test_a_network_that_does_not_fit_its_weights_is_told(empty: Path, predict: Predict) -> None:
    train("out", DIGITS, "stages=[train]")
    write_digits(Path("images"), 1)
    path = Path("out/checkpoints/best.pt")
    saved = torch.load(path, weights_only=True)
    wrong = saved | {"model": {**saved["model"], "fc1.weight": torch.zeros(3, 3)}}
    for message, state in {
        "the weights don't fit the network": wrong,
        "recipe.": saved | {"recipe": {"data": 3}},
        "it has no 'classes'": {k: v for k, v in saved.items() if k != "classes"},
        "not finite": saved | {"model": {k: v * torch.nan for k, v in saved["model"].items()}},
    }.items():
        torch.save(state, path)
        code, _, told = predict("out", "images")
        assert code == 2
        assert message in told


def test_files_are_read_while_predictions_are_made(digits_run: Path) -> None:
    drawn = []

    def paths() -> Iterator[str]:
        for number in range(10 * FEW):
            drawn.append(number)
            yield str(digits_run / "images" / "0000-0.png")

    reading = Reading(ImageFormat("L", 8, 8, resize=True, model=""), by_torch=False)
    portions = read_ahead(paths(), reading, size=16, workers=0, pin=False)
    assert next(portions).images.shape == (16, 1, 8, 8)
    assert len(drawn) <= 2 * FEW
    assert sum(len(portion.paths) for portion in portions) == 10 * FEW - 16


def test_a_row_of_numbers_is_no_image(empty: Path, predict: Predict) -> None:
    code = CODE.replace("(60, 3, 6, 6, generator", "(60, 5, generator")
    Path("rows_of_the_third.py").write_text(code)
    config = "data: {kind: custom, target: 'rows_of_the_third:data'}\n" + CONFIG
    Path("out.yaml").write_text(config)
    assert main(["run", "out.yaml", "--stages", "train", "--output", "out"]) in (0, 1)
    write_digits(Path("images"), 1)
    code_, _, told = predict("out", "images")
    assert code_ == 2
    assert "the network takes examples [5]" in told
    assert main(["export", "out", "--format", "torch"]) == 0
