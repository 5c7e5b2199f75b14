import base64
import io

import numpy as np
import pytest
from PIL import Image
from report_samples import DIGITS, HOSTILE, mistakes, png, sheet

from nnrecipe.report.tiles import stage_tiles


def evaluated(folder, rows, image=None):
    (folder / "mistakes.png").write_bytes(sheet(len(rows)) if image is None else image)
    return stage_tiles("evaluate", {"worst_mistakes": rows}, folder)


def grey(tile):
    assert tile.uri.startswith("data:image/png;base64,")
    with Image.open(io.BytesIO(base64.b64decode(tile.uri.partition(",")[2]))) as picture:
        return picture.size, set(np.array(picture).ravel().tolist())


@pytest.mark.parametrize("count", [1, 8, 9, 24])
def test_each_mistake_gets_its_own_image(count, tmp_path):
    found = evaluated(tmp_path, list(mistakes(count=count)))
    assert [grey(tile) for tile in found.tiles] == [((4, 4), {2 * n + 1}) for n in range(count)]
    assert found.coarse
    assert found.broad is (count > 12)


def test_a_class_says_what_it_was_taken_for_and_how_surely(tmp_path):
    first = evaluated(tmp_path, list(mistakes())).tiles[0]
    assert (first.of, first.said, first.sure, first.true) == ("", "0", "99 %", "1")
    assert first.title == "example 0: 0 is 1"


def test_a_label_is_named(tmp_path):
    row = {"example": 3, "label": "prime", "predicted": True, "true": False, "probability": 0.9}
    (tile,) = evaluated(tmp_path, [row]).tiles
    assert (tile.of, tile.said, tile.true) == ("prime", "yes", "no")


def test_a_value_is_named_where_there_are_several(tmp_path):
    rows = [{"example": n, "value": "ink", "predicted": 0.31228, "true": 0.5} for n in range(2)]
    found = evaluated(tmp_path, rows)
    assert (found.tiles[0].of, found.tiles[0].said, found.tiles[0].sure) == ("", "0.3123", "")
    assert "how sure" not in found.caption
    rows[1]["value"] = "width"
    assert [tile.of for tile in evaluated(tmp_path, rows).tiles] == ["ink", "width"]


def test_training_examples_carry_their_labels(tmp_path):
    (tmp_path / "inputs.png").write_bytes(sheet(32))
    facts = {"pictured": [DIGITS[n % 10] for n in range(32)]}
    found = stage_tiles("data", facts, tmp_path)
    assert [tile.said for tile in found.tiles] == facts["pictured"]
    assert grey(found.tiles[31]) == ((4, 4), {63})
    assert stage_tiles("evaluate", facts, tmp_path) is None


@pytest.mark.parametrize("words", [*HOSTILE, "x" * 200])
def test_hostile_names_are_cut_and_cleaned(words, tmp_path):
    (tile, *_) = evaluated(tmp_path, list(mistakes([words, "dog"], 2))).tiles
    assert len(tile.said) <= 32
    assert (tile.said + tile.title).isprintable()


@pytest.mark.parametrize("image", [b"", b"no picture", png(2)])
def test_without_a_sheet_that_fits_there_are_none(image, tmp_path):
    assert evaluated(tmp_path, list(mistakes()), image) is None
    (tmp_path / "mistakes.png").unlink()
    assert stage_tiles("evaluate", {"worst_mistakes": list(mistakes())}, tmp_path) is None


@pytest.mark.parametrize("rows", [[], [{}], [1], "odd", [{"example": 1}], None])
def test_odd_facts_are_left_for_a_table(rows, tmp_path):
    (tmp_path / "mistakes.png").write_bytes(sheet(3))
    assert stage_tiles("evaluate", {"worst_mistakes": rows}, tmp_path) is None
