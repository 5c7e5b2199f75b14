import numpy as np
import torch
from PIL import Image
from pydantic import TypeAdapter

from nnrecipe.architectures import Architecture
from nnrecipe.core.shapes import OutputSpec
from nnrecipe.layers.hidden import Hidden
from nnrecipe.layers.norms import BatchNorm

MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


def rename(key):
    return key.removeprefix("module.").replace("linear.", "fc.")


def test_the_public_resnet_20_classifies_cifar_10(shared_data, cifar10_folder):
    stored = torch.load(shared_data / "resnet20-cifar10.th", weights_only=True, map_location="cpu")
    spec = TypeAdapter(Architecture).validate_python({"kind": "resnet", "depth": 20})
    model = spec.build((3, 32, 32), OutputSpec(10), hidden=Hidden(BatchNorm()))
    keys = model.load_state_dict(
        {rename(key): value for key, value in stored["state_dict"].items()}, strict=False
    )
    assert not keys.unexpected_keys
    # the file is older than this counter of batch norm's
    assert all(key.endswith("num_batches_tracked") for key in keys.missing_keys)

    folders = sorted((cifar10_folder / "test").iterdir())
    files = [
        (path, c) for c, folder in enumerate(folders) for path in sorted(folder.iterdir())[:20]
    ]
    pixels = np.stack([np.asarray(Image.open(path).convert("RGB")) for path, _ in files])
    x = (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - MEAN) / STD
    with torch.no_grad():
        predicted = model.eval()(x).argmax(1)
    accuracy = (predicted == torch.tensor([c for _, c in files])).double().mean()
    # 0.918 on the original pixels (the file's `best_prec1`); the archive's are JPEG-compressed
    assert accuracy > 0.75
