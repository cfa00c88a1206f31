"""torchvision's side of `input.py`: ImageFolder, RandomResizedCrop and DataLoader as documented.

`sides.Side` runs `python torch_input.py FOLDER SETTINGS`. SETTINGS is a JSON object with side (of
the crops, in pixels), batch (images), steps (batches per turn) and workers (persistent processes
that decode). A turn reads as many random images as its batches take; its number of steps must be
`steps`.
"""

import json
import sys
from pathlib import Path

import sides
import torch
import torchvision
from torch.utils.data import DataLoader, RandomSampler
from torchvision import transforms


def main() -> None:
    folder, settings = Path(sys.argv[1]), json.loads(sys.argv[2])
    crop = transforms.RandomResizedCrop(settings["side"], antialias=True)
    pixels = transforms.Compose([crop, transforms.PILToTensor()])
    images = torchvision.datasets.ImageFolder(str(folder / "train"), pixels)
    size, steps = settings["batch"], settings["steps"]
    loader = DataLoader(
        images,
        batch_size=size,
        sampler=RandomSampler(images, replacement=True, num_samples=size * steps),
        num_workers=settings["workers"],
        persistent_workers=True,
    )

    def read(asked: int) -> float:
        batches = [batch.shape for batch, _ in loader]
        assert batches == [torch.Size((size, 3, settings["side"], settings["side"]))] * asked
        return 0.0  # there is no loss

    versions = {"torch": torch.__version__, "torchvision": torchvision.__version__}
    sides.serve({"versions": versions}, read)


if __name__ == "__main__":
    main()
