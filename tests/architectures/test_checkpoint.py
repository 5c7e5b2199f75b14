import numpy as np
import torch
from PIL import Image

from nnrecipe.core.shapes import OutputSpec
from nnrecipe.layers.hidden import Hidden
from nnrecipe.layers.norms import BatchNorm
from nnrecipe.recipe import load_recipe

MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


def test_the_public_resnet_20_classifies_cifar_10(shared_data, cifar10_folder):
    spec = load_recipe("resnet20-cifar10-given").architecture
    model = spec.build((3, 32, 32), OutputSpec(10), hidden=Hidden(BatchNorm()))
    assert sum(parameter.numel() for parameter in model.parameters()) == 269_722
    weights = spec.weights.model_copy(update={"file": shared_data / "resnet20-cifar10.th"})
    weights.fitted(model).load_into(model)

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
