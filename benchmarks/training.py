"""Training speed against its ceiling and against what people use: one table, one run, one machine.

    python benchmarks/training.py DATA/bioimlab.zip --architectures tf_mobilenetv3_small_100 --size 128

For each architecture, images a second of

* ceiling: the same training step, again and again, on one batch that is ready on the device;
* bandbridge: an epoch of :func:`bandbridge.training.loop.train`, augmentation, order and checkpointing included;
* torchvision: an ``ImageFolder`` of the same images as PNG files, a ``DataLoader`` with workers, transforms v2 (pad to
  a square, resize, flips, blur, normalise), and a plain loop around the same step;
* timm: timm's own loader on the same folder, its augmentation left off, and the same step.

Each is measured in rounds that take turns, and the best round of each is printed: other load only ever slows. The
ratio to the ceiling is what there is left to win.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from bandbridge.dataset.decode import decode_gray
from bandbridge.dataset.imagefolder import open_dataset
from bandbridge.dataset.prepare import Preparation, prepare_image
from bandbridge.karyotype import CLASS_INDEX
from bandbridge.model.architectures import create_model, find_architecture
from bandbridge.training.device import open_fabric
from bandbridge.training.loop import TrainingJob, make_optimiser, train
from bandbridge.training.recipe import RecipeSpec, recipe_for

MEAN = STD = (0.5, 0.5, 0.5)
ROUNDS = 3


def write_folder(images: list[np.ndarray], labels: list[str], home: Path) -> None:
    """Write ``images`` as an ImageFolder: home/<class>/<number>.png."""
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        folder = home / f"{CLASS_INDEX[label]:02d}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).convert("RGB").save(folder / f"{number}.png")


def pad_to_square(image: Image.Image) -> Image.Image:
    """Pad the shorter side with black, the image in the middle, as the published preparation does."""
    side = max(image.size)
    square = Image.new("RGB", (side, side))
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square


def torchvision_batches(home: Path, size: int, batch: int, workers: int) -> Iterable[tuple[Tensor, Tensor]]:
    """The loop that most tutorials show."""
    transform = v2.Compose(
        [
            pad_to_square,
            v2.PILToTensor(),
            v2.Resize((size, size), antialias=False),
            v2.RandomHorizontalFlip(),
            v2.RandomVerticalFlip(),
            v2.RandomApply([v2.GaussianBlur(7, (0.1, 1.0))], 0.5),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )
    dataset = ImageFolder(str(home), transform)
    return torch.utils.data.DataLoader(dataset, batch, shuffle=True, drop_last=True, num_workers=workers)


def timm_batches(home: Path, size: int, batch: int, workers: int) -> Iterable[tuple[Tensor, Tensor]]:
    """timm's loader, without the crops and colours that would change what is learned."""
    from timm.data import create_dataset, create_loader

    loader: Iterable[tuple[Tensor, Tensor]] = create_loader(
        create_dataset("", root=str(home)),
        input_size=(3, size, size),
        batch_size=batch,
        is_training=True,
        no_aug=True,
        use_prefetcher=False,
        mean=MEAN,
        std=STD,
        num_workers=workers,
        device=torch.device("cpu"),
    )
    return loader


def plain_loop(model: nn.Module, optimiser: torch.optim.Optimizer, batches: Iterable[tuple[Tensor, Tensor]]) -> int:
    """Train on ``batches``; return how many images there were."""
    seen = 0
    for images, targets in batches:
        optimiser.zero_grad(set_to_none=True)
        loss = functional.cross_entropy(model(images.contiguous(memory_format=torch.channels_last)), targets)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        seen += len(images)
    return seen


def measure(name: str, arguments: argparse.Namespace, images: list[np.ndarray], labels: list[str]) -> dict[str, float]:
    """Return images a second of each way for one architecture."""
    architecture = find_architecture(name)
    recipe = recipe_for(RecipeSpec(epochs=1, batch_size=arguments.batch), architecture.timm_name, pretrained=True)
    targets = np.array([CLASS_INDEX[label] for label in labels])
    prepared = np.stack([prepare_image(image, Preparation(size=arguments.size)) for image in images])

    def fresh() -> tuple[nn.Module, torch.optim.Optimizer]:
        model = create_model(architecture, 24, arguments.size, torch.Generator().manual_seed(0))
        return model.to(memory_format=torch.channels_last).train(), make_optimiser(model, recipe.phases[0])

    def ceiling() -> int:
        model, optimiser = fresh()
        resident = torch.rand((arguments.batch, 3, arguments.size, arguments.size))
        truth = torch.arange(arguments.batch) % 24
        return plain_loop(model, optimiser, [(resident, truth)] * (len(images) // arguments.batch))

    def ours() -> int:
        model, _ = fresh()
        rows = np.arange(len(images))
        job = TrainingJob("benchmark", recipe, prepared, targets, rows, rows[:0], MEAN, STD)
        with tempfile.TemporaryDirectory() as place:
            train(model, job, open_fabric("cpu", "fp32"), Path(place) / "checkpoint.pt")
        return job.steps_per_epoch * job.batch_size

    with tempfile.TemporaryDirectory() as place:
        write_folder(images, labels, Path(place))
        settings = (Path(place), arguments.size, arguments.batch, arguments.workers)
        ways: dict[str, Callable[[], int]] = {
            "ceiling": ceiling,
            "bandbridge": ours,
            "torchvision": lambda: plain_loop(*fresh(), torchvision_batches(*settings)),
            "timm": lambda: plain_loop(*fresh(), timm_batches(*settings)),
        }
        best = dict.fromkeys(ways, 0.0)
        for _ in range(ROUNDS):
            for way, run in ways.items():
                started = time.perf_counter()
                seen = run()
                best[way] = max(best[way], seen / (time.perf_counter() - started))
    return best


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--architectures", nargs="+", default=["tf_mobilenetv3_small_100"])
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--images", type=int, default=960, help="of the dataset, the first so many")
    parser.add_argument("--workers", type=int, default=2, help="of the two peers' loaders")
    arguments = parser.parse_args()
    dataset = open_dataset(arguments.dataset)
    rows = dataset.samples.iloc[: arguments.images]
    images = [decode_gray(dataset.read_bytes(name), name) for name in rows["file_name"]]
    print(
        f"{len(images)} images, {arguments.size} px, batch {arguments.batch}, {torch.get_num_threads()} threads, fp32"
    )
    for name in arguments.architectures:
        found = measure(name, arguments, images, rows["label"].tolist())
        speeds = ", ".join(f"{way} {speed:.0f}/s" for way, speed in found.items())
        ratios = ", ".join(f"{way} {found['bandbridge'] / found[way]:.2f}" for way in found if way != "bandbridge")
        print(f"{name}: {speeds}; bandbridge over {ratios}", flush=True)


if __name__ == "__main__":
    main()
