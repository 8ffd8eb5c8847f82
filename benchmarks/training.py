"""Training speed against its ceiling and against what people use: one table, one row an architecture, one device.

    python benchmarks/training.py [DATASET] [--architectures NAME ...] [--device cpu|cuda] [--out table.md]

Images a second, and peak memory, of

* ceiling: Bandbridge's training step alone (same model, precision, memory layout, optimiser, clipping), again and again
  on one batch that is ready on the device;
* Bandbridge: :func:`bandbridge.training.loop.train` itself: order, reading, augmentation, step, running sums;
* torchvision: an ``ImageFolder`` of the same images as PNG files, a ``DataLoader`` with workers, transforms v2 (pad
  to a square, resize, flips, blur, normalise) and the loop of PyTorch's tutorials;
* Trainer: Hugging Face's, on the same folder and transforms, with its defaults;
* timm: its loader on the same folder, without augmentation (it cuts off the ends of long images), and the loop of its
  training script.

All train with AdamW. The peers run in the usual memory layout and in fp32, as they come, or, with
``--peer-precision bf16``, under autocast.

Other load only ever slows, and it drifts. So the ways take turns in short blocks, each in a process of its own that
sleeps meanwhile: in one process the peers would also get Bandbridge's settings of the memory allocator. The first round
warms up. The best round of each is printed, and of the ratios within each round the median. Starting the loaders'
workers is not counted; where a block is long enough to drain them, neither are the batches that they made in advance.
Memory is, on a GPU, the most that tensors took; on a CPU the largest resident size, libraries included, and what the
workers hold for themselves.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import inspect
import multiprocessing
import platform
import resource
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from lightning_fabric import Fabric
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from bandbridge.dataset.decode import decode_gray
from bandbridge.dataset.imagefolder import open_dataset
from bandbridge.dataset.prepare import Preparation, prepare_image
from bandbridge.files import write_text
from bandbridge.karyotype import CLASS_INDEX, CLASSES
from bandbridge.model.architectures import ARCHITECTURES, create_model, find_architecture
from bandbridge.synthetic.cells import draw_cell
from bandbridge.training.device import open_fabric
from bandbridge.training.loop import TrainingJob, lay_out, make_optimiser, train
from bandbridge.training.recipe import Recipe, RecipeSpec, recipe_for

MEAN = STD = (0.5, 0.5, 0.5)
LEAST_STEPS = 3
#: Steps between two readings of the loss in timm's training script.
TIMM_LOG_INTERVAL = 50
PROCESSES = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Plan:
    """What all ways of one architecture share; ``steps`` a block, after ``lead`` that use up the workers' stock."""

    architecture: str
    place: Path
    size: int
    batch: int
    device: str
    precision: Any
    peer_precision: str
    workers: int
    rounds: int
    steps: int = LEAST_STEPS

    @property
    def blocks(self) -> int:
        """Blocks of each way: the rounds, and the one that warms up."""
        return self.rounds + 1

    @property
    def lead(self) -> int:
        """DataLoader makes two batches a worker in advance; a tenth of the time at most goes into using them up."""
        return min(2 * self.workers, self.steps // 10)

    @property
    def total_steps(self) -> int:
        """Steps of a peer in all, and as many more as its workers may have made in advance."""
        return self.blocks * (self.lead + self.steps) + 4 * (self.workers + 1)

    def model(self) -> nn.Module:
        """Return the model with random weights, on the CPU, in training mode."""
        generator = torch.Generator().manual_seed(0)
        return create_model(find_architecture(self.architecture), len(CLASSES), self.size, generator).train()

    def recipe(self) -> Recipe:
        """Return the ``fast`` recipe at one image size, without averaging, which the peers lack."""
        spec = RecipeSpec(epochs=self.blocks, batch_size=self.batch)
        recipe = recipe_for(spec, find_architecture(self.architecture).timm_name, pretrained=True)
        return recipe.model_copy(update={"growth": None, "averaging": None})

    def autocast(self) -> torch.autocast:
        """Return what the peers' forward passes run under."""
        return torch.autocast(self.device, torch.bfloat16, enabled=self.peer_precision == "bf16")


class Finished(Exception):
    """There are no more turns."""


class Turns:
    """A way's end of the line: waits for its turn, counts steps, answers with speed and memory."""

    def __init__(self, line: Connection, plan: Plan) -> None:
        self._line, self._plan = line, plan
        self._lead = self._steps = self._done = 0
        self._started = 0.0

    def begin(self, precision: str) -> None:
        """Say that everything is set up, and wait for the first turn."""
        self._line.send(precision)
        self._wait()

    def step(self) -> None:
        """Count a step that is over; after the block's last one answer and wait. Raises :class:`Finished`."""
        self._done += 1
        if self._done == self._lead:
            self._started = self._now()
        elif self._done == self._lead + self._steps:
            self.answer(self._steps * self._plan.batch / (self._now() - self._started))

    def answer(self, speed: float) -> None:
        """Give the ``speed`` of a block, images a second, and wait for the next. Raises :class:`Finished`."""
        self._line.send((speed, peak_memory(self._plan.device)))
        self._wait()

    def _wait(self) -> None:
        order = self._line.recv()
        if order is None:
            raise Finished
        self._lead, self._steps = order
        self._done, self._started = 0, self._now()

    def _now(self) -> float:
        if self._plan.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def peak_memory(device: str) -> int:
    """Return bytes: of tensors on a GPU; else of this process at its largest and, unshared, of its workers now."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024
    workers = sum(worker.memory_full_info().uss for worker in psutil.Process().children(recursive=True))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit + workers


def run_ceiling(plan: Plan, turns: Turns) -> None:
    """Bandbridge's step, and nothing else; what surrounds it in bandbridge.training.loop is left out."""
    model, recipe = plan.model(), plan.recipe()
    fabric = fabric_for(plan, model)
    layout = lay_out(model, fabric.device)
    forward = fabric.setup_module(model)
    optimiser: Any = fabric.setup_optimizers(make_optimiser(model, recipe.phases[0]))
    images = torch.rand((plan.batch, 3, plan.size, plan.size)).to(fabric.device, memory_format=layout)
    targets = torch.arange(plan.batch, device=fabric.device) % len(CLASSES)
    turns.begin(fabric.strategy.precision.precision)
    while True:
        optimiser.zero_grad(set_to_none=True)
        loss = functional.cross_entropy(forward(images).float(), targets, label_smoothing=recipe.label_smoothing)
        fabric.backward(loss)
        if recipe.clip_norm is not None:
            nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
        optimiser.step()
        turns.step()


def run_bandbridge(plan: Plan, turns: Turns) -> None:
    """One epoch a block; its speed is the one that Bandbridge writes into a run's history."""
    model = plan.model()
    fabric = fabric_for(plan, model)
    turns.begin(fabric.strategy.precision.precision)
    train_epochs(plan, model, fabric, lambda entry: turns.answer(entry["images_per_second"]))


def train_epochs(plan: Plan, model: nn.Module, fabric: Fabric, report: Callable[[dict[str, float]], None]) -> None:
    """Train as a study does, from the memory map; where there are too few images, rows are taken several times."""
    images = np.load(plan.place / "prepared.npy", mmap_mode="r")
    rows = np.resize(np.arange(len(images)), plan.steps * plan.batch)
    targets = np.load(plan.place / "targets.npy")
    job = TrainingJob("benchmark", plan.recipe(), images, targets, rows, rows[:0], MEAN, STD)
    with tempfile.TemporaryDirectory() as folder:
        train(model, job, fabric, Path(folder) / "checkpoint.pt", report=report, checkpoint_interval=float("inf"))


def fabric_for(plan: Plan, model: nn.Module) -> Fabric:
    """Open the device as a training does; where precision depends on the model, the model is asked."""
    if "model" in inspect.signature(open_fabric).parameters:
        return open_fabric(plan.device, plan.precision, model)
    return open_fabric(plan.device, plan.precision)


class Repeated(Dataset[tuple[Any, int]]):
    """A dataset again and again, ``length`` items in all, so that no loader comes to the end of its epoch."""

    def __init__(self, dataset: Any, length: int) -> None:
        self.dataset, self.length = dataset, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Any, int]:
        item: tuple[Any, int] = self.dataset[index % len(self.dataset)]
        return item

    @property
    def transform(self) -> Any:
        """The dataset's transform, which timm sets from outside."""
        return self.dataset.transform

    @transform.setter
    def transform(self, transform: Any) -> None:
        self.dataset.transform = transform


def pad_to_square(image: Image.Image) -> Image.Image:
    """Pad the shorter side with black, the image in the middle, as the published preparation does."""
    side = max(image.size)
    square = Image.new("RGB", (side, side))
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square


def image_folder(plan: Plan) -> Repeated:
    """Return what most tutorials would make of the folder, with the augmentation that Bandbridge has by default."""
    sigma = 2.0 * plan.size / 256
    transform = v2.Compose(
        [
            pad_to_square,
            v2.PILToTensor(),
            v2.Resize((plan.size, plan.size)),
            v2.RandomHorizontalFlip(),
            v2.RandomVerticalFlip(),
            v2.RandomApply([v2.GaussianBlur(2 * int(np.ceil(3 * sigma)) + 1, (0.05 * sigma, sigma))], 0.5),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )
    return Repeated(ImageFolder(str(plan.place / "png"), transform), plan.total_steps * plan.batch)


def run_torchvision(plan: Plan, turns: Turns) -> None:
    """The training loop of PyTorch's tutorials, with their running sums."""
    on_gpu = plan.device == "cuda"
    loader = DataLoader(image_folder(plan), plan.batch, shuffle=True, num_workers=plan.workers, pin_memory=on_gpu)
    model = plan.model().to(plan.device)
    optimiser = torch.optim.AdamW(model.parameters(), plan.recipe().phases[0].learning_rate)
    criterion = nn.CrossEntropyLoss()
    running_loss, running_corrects = 0.0, 0
    turns.begin(plan.peer_precision)
    for images, targets in loader:
        images, targets = images.to(plan.device, non_blocking=True), targets.to(plan.device, non_blocking=True)
        optimiser.zero_grad()
        with plan.autocast():
            logits = model(images)
            loss = criterion(logits, targets)
        loss.backward()
        optimiser.step()
        running_loss += loss.item() * len(images)
        running_corrects += (logits.argmax(1) == targets).sum().item()
        turns.step()


class ForTrainer(nn.Module):
    """A timm model as Hugging Face's Trainer calls one."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return the loss and the logits."""
        logits = self.model(pixel_values)
        return {"loss": functional.cross_entropy(logits, labels), "logits": logits}


def collate_for_trainer(items: list[tuple[Tensor, int]]) -> dict[str, Tensor]:
    """Return a batch under the names of :class:`ForTrainer`'s arguments."""
    images, labels = zip(*items, strict=True)
    return {"pixel_values": torch.stack(images), "labels": torch.tensor(labels)}


def run_trainer(plan: Plan, turns: Turns) -> None:
    """Hugging Face's Trainer, from outside: a callback counts its steps and makes it wait for its turn."""
    from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

    class TakeTurns(TrainerCallback):
        def on_step_end(self, *arguments: Any, **named: Any) -> None:
            turns.step()

    settings = TrainingArguments(
        output_dir=str(plan.place / "trainer"),
        per_device_train_batch_size=plan.batch,
        max_steps=plan.total_steps,
        learning_rate=plan.recipe().phases[0].learning_rate,
        dataloader_num_workers=plan.workers,
        bf16=plan.peer_precision == "bf16",
        use_cpu=plan.device == "cpu",
        remove_unused_columns=False,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
    )
    trainer = Trainer(
        ForTrainer(plan.model()),
        settings,
        data_collator=collate_for_trainer,
        train_dataset=image_folder(plan),
        callbacks=[TakeTurns()],
    )
    trainer.remove_callback(PrinterCallback)
    turns.begin(plan.peer_precision)
    trainer.train()


def run_timm(plan: Plan, turns: Turns) -> None:
    """timm's loader, without the crops and colours that would change what is learned, and its script's loop."""
    from timm.data import create_dataset, create_loader
    from timm.optim import create_optimizer_v2
    from timm.utils import AverageMeter

    on_gpu = plan.device == "cuda"
    loader: Iterable[tuple[Tensor, Tensor]] = create_loader(
        Repeated(create_dataset("", root=str(plan.place / "png")), plan.total_steps * plan.batch),
        input_size=(3, plan.size, plan.size),
        batch_size=plan.batch,
        is_training=True,
        no_aug=True,
        use_prefetcher=on_gpu,
        mean=MEAN,
        std=STD,
        num_workers=plan.workers,
        device=torch.device(plan.device),
    )
    model = plan.model().to(plan.device)
    phase = plan.recipe().phases[0]
    optimiser = create_optimizer_v2(model, opt="adamw", lr=phase.learning_rate, weight_decay=phase.weight_decay)
    criterion = nn.CrossEntropyLoss()
    losses = AverageMeter()
    turns.begin(plan.peer_precision)
    for step, (images, targets) in enumerate(loader):
        if not on_gpu:
            images, targets = images.to(plan.device), targets.to(plan.device)
        with plan.autocast():
            loss = criterion(model(images), targets)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step % TIMM_LOG_INTERVAL == 0:
            losses.update(loss.item(), len(images))
        turns.step()


WAYS: dict[str, Callable[[Plan, Turns], None]] = {
    "ceiling": run_ceiling,
    "Bandbridge": run_bandbridge,
    "torchvision": run_torchvision,
    "Trainer": run_trainer,
    "timm": run_timm,
}
RIVALS = tuple(way for way in WAYS if way != "Bandbridge")


def serve(line: Connection, way: str, plan: Plan, start_method: str) -> None:
    """Be the process of one ``way``; a failure goes over the line."""
    # A spawned process would spawn the loaders' workers too, where people's programs mostly fork them.
    multiprocessing.set_start_method(start_method, force=True)
    try:
        WAYS[way](plan, Turns(line, plan))
    except (Finished, KeyboardInterrupt):
        return
    except BaseException:
        with suppress(OSError):
            line.send(RuntimeError(traceback.format_exc()))


class Worker:
    """One way in a process of its own, which computes only when it is told to."""

    def __init__(self, way: str, plan: Plan) -> None:
        self._way = f"{way}, {plan.architecture}"
        self._line, theirs = PROCESSES.Pipe()
        # Not a daemon: those may not have children, and loaders' workers are.
        self._process = PROCESSES.Process(
            target=serve, args=(theirs, way, plan, multiprocessing.get_start_method()), daemon=False
        )
        self._process.start()
        theirs.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *fault: object) -> None:
        with suppress(OSError):
            self._line.send(None)
        self._process.join(30)
        if self._process.is_alive():
            self._process.kill()

    def answer(self) -> Any:
        """Return what the way says next; RuntimeError if it failed."""
        try:
            found = self._line.recv()
        except EOFError:
            raise RuntimeError(f"{self._way}: killed, as it happens where memory is short") from None
        if isinstance(found, RuntimeError):
            raise RuntimeError(f"{self._way}: {found}")
        return found

    def run(self, lead: int, steps: int) -> tuple[float, int]:
        """Return images a second over ``steps`` steps after ``lead`` others, and peak memory in bytes."""
        wait_for_quiet()
        self._line.send((lead, steps))
        found: tuple[float, int] = self.answer()
        return found


def wait_for_quiet(pause: float = 0.2, longest: float = 10.0) -> None:
    """Wait until our processes rest: after its block a loader's workers fill their stock, in the next one's time."""
    spent, deadline = seconds_of_descendants(), time.monotonic() + longest
    while time.monotonic() < deadline:
        time.sleep(pause)
        before, spent = spent, seconds_of_descendants()
        if spent - before < 0.1 * pause:
            return


def seconds_of_descendants() -> float:
    """Return the processor time that this process's descendants have taken so far."""
    total = 0.0
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system
    return total


@dataclass(frozen=True)
class Round:
    """One turn of every way: images a second, and peak memory in bytes."""

    speeds: dict[str, float]
    memory: dict[str, int]


def measure(plan: Plan, seconds: float) -> tuple[str, list[Round]]:
    """Return Bandbridge's precision and the rounds, without the one that warms up, of blocks of about ``seconds``."""
    with ExitStack() as stack:
        workers = {"ceiling": stack.enter_context(Worker("ceiling", plan))}
        precision: str = workers["ceiling"].answer()
        speed, _ = workers["ceiling"].run(2, 1)
        speed, _ = workers["ceiling"].run(0, max(1, round(0.2 * seconds * speed / plan.batch)))
        plan = replace(plan, steps=max(LEAST_STEPS, round(seconds * speed / plan.batch)))
        for way in list(WAYS)[1:]:
            workers[way] = stack.enter_context(Worker(way, plan))
        for way in list(WAYS)[1:]:
            workers[way].answer()
        rounds = []
        for number in range(plan.blocks):
            # There and back, so that a load that rises or falls favours nobody.
            turns = list(WAYS) if number % 2 == 0 else list(reversed(WAYS))
            found = {way: workers[way].run(plan.lead, plan.steps) for way in turns}
            rounds.append(Round(*({way: found[way][part] for way in WAYS} for part in (0, 1))))  # type: ignore[arg-type]
    return precision, rounds[1:]


def median_ratio(rounds: list[Round], rival: str) -> float:
    """Return the median over ``rounds`` of Bandbridge's speed over the ``rival``'s in the same round."""
    return statistics.median(one.speeds["Bandbridge"] / one.speeds[rival] for one in rounds)


def format_row(name: str, precision: str, rounds: list[Round]) -> str:
    """Return the table's row: of each way the best speed and the largest memory, then the ratios."""
    cells = [name, precision]
    for way in WAYS:
        speed = max(one.speeds[way] for one in rounds)
        memory = max(one.memory[way] for one in rounds) / 2**30
        cells.append(f"{speed:.{0 if speed >= 100 else 1}f}/s, {memory:.2f} GiB")
    cells += [f"{median_ratio(rounds, rival):.3f}" for rival in RIVALS]
    return f"| {' | '.join(cells)} |"


def format_head(facts: str) -> str:
    """Return ``facts`` and the head of the table."""
    columns = ["architecture", "precision", *WAYS, *(f"Bandbridge / {rival}" for rival in RIVALS)]
    return f"{facts}\n\n| {' | '.join(columns)} |\n|{'---|' * 2}{'---:|' * (len(columns) - 2)}\n"


def read_rows(text: str, facts: str) -> dict[str, str]:
    """Return the rows of an earlier table by architecture; ValueError if it tells of other circumstances."""
    head = format_head(facts)
    if text and not text.startswith(head):
        raise ValueError(f"it is not a table of: {facts}")
    lines = (line for line in text[len(head) :].splitlines() if line.startswith("| "))
    return {line.split(" | ")[0].removeprefix("| "): line for line in lines}


def lowest_ratios(rows: dict[str, str]) -> str:
    """Return the sentence that names the least favourable ratio to the ceiling and to a peer."""
    ratios = [
        (float(cell), rival, name)
        for name, row in rows.items()
        for rival, cell in zip(RIVALS, row.strip("| ").split(" | ")[-len(RIVALS) :], strict=True)
    ]
    ceiling = min(entry for entry in ratios if entry[1] == "ceiling")
    peer = min(entry for entry in ratios if entry[1] != "ceiling")
    return f"Lowest: {ceiling[0]:.3f} of the ceiling ({ceiling[2]}), {peer[0]:.3f} times a peer ({peer[1]}, {peer[2]})."


def write_images(arguments: argparse.Namespace, place: Path) -> None:
    """Write the images as an ImageFolder of PNG files and as Bandbridge prepares them."""
    if arguments.dataset is None:
        cells = (draw_cell("G", seed=0, cell=cell) for cell in count())
        drawn = (chromosome for cell in cells for chromosome in cell)
        labelled = [(one.image, one.label) for one, _ in zip(drawn, range(arguments.images), strict=False)]
    else:
        dataset = open_dataset(arguments.dataset)
        rows = dataset.samples.iloc[: arguments.images]
        names = zip(rows["file_name"], rows["label"], strict=True)
        labelled = [(decode_gray(dataset.read_bytes(name), name), label) for name, label in names]
    for number, (image, label) in enumerate(labelled):
        folder = place / "png" / f"{CLASS_INDEX[label]:02d}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).convert("RGB").save(folder / f"{number}.png")
    preparation = Preparation(size=arguments.size)
    np.save(place / "prepared.npy", np.stack([prepare_image(image, preparation) for image, _ in labelled]))
    np.save(place / "targets.npy", np.array([CLASS_INDEX[label] for _, label in labelled]))


def describe(arguments: argparse.Namespace) -> str:
    """Return the facts that a table's numbers hold for."""
    versions = ", ".join(
        f"{package} {importlib.metadata.version(package)}"
        for package in ("torch", "torchvision", "transformers", "timm")
    )
    images = arguments.dataset.stem if arguments.dataset else "synthetic"
    return (
        f"{device_name(arguments.device)}, {torch.get_num_threads()} threads, {versions}; "
        f"{arguments.images} {images} images, {arguments.size} px, batch {arguments.batch}, "
        f"peers in {arguments.peer_precision} with {arguments.workers} workers; "
        f"best of {arguments.rounds} rounds of {arguments.seconds:g} s"
    )


def device_name(device: str) -> str:
    """Return the GPU's or the processor's name."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def print_profile(plan: Plan) -> None:
    """Print where the time of ten real steps goes, after ten that warm up."""
    plan = replace(plan, steps=10, rounds=1)
    activities = [torch.profiler.ProfilerActivity.CPU]
    if plan.device == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    profile = torch.profiler.profile(activities=activities)
    model = plan.model()
    train_epochs(
        plan, model, fabric_for(plan, model), lambda entry: [profile.start, profile.stop][int(entry["epoch"]) - 1]()
    )
    order = "self_device_time_total" if plan.device == "cuda" else "self_cpu_time_total"
    print(profile.key_averages().table(sort_by=order, row_limit=25))


def parse_arguments() -> argparse.Namespace:
    """Return what the command line says; ``names`` are the architectures' own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, nargs="?", help="a folder or zip; default: drawn chromosomes")
    parser.add_argument("--architectures", nargs="+", default=[row.name for row in ARCHITECTURES])
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto", help="of Bandbridge")
    parser.add_argument("--peer-precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--size", type=int, default=128, help="pixels")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--images", type=int, default=960, help="of the dataset, the first so many")
    parser.add_argument("--workers", type=int, default=2, help="of each peer's loader")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="length of a block; three steps at least")
    parser.add_argument("--out", type=Path, help="also write the table here; rows that are there are kept")
    parser.add_argument("--profile", metavar="NAME", help="print where the time of ten steps goes, and no table")
    arguments = parser.parse_args()
    if arguments.device == "auto":
        arguments.device = "cuda" if torch.cuda.is_available() else "cpu"
    arguments.names = [find_architecture(name).name for name in arguments.architectures]
    return arguments


def main() -> None:
    """Print the table, or a profile."""
    arguments = parse_arguments()
    shared = ("size", "batch", "device", "precision", "peer_precision", "workers", "rounds")
    with tempfile.TemporaryDirectory() as folder:
        plan = Plan("", Path(folder), **{name: getattr(arguments, name) for name in shared})
        write_images(arguments, plan.place)
        if arguments.profile:
            print_profile(replace(plan, architecture=arguments.profile))
        else:
            print_table(arguments, plan)


def print_table(arguments: argparse.Namespace, plan: Plan) -> None:
    """Print the table row by row; write it, as far as it is, after every row."""
    facts = describe(arguments)
    earlier = arguments.out.read_text() if arguments.out and arguments.out.is_file() else ""
    try:
        rows = read_rows(earlier, facts)
    except ValueError as fault:
        raise SystemExit(f"{arguments.out} is kept as it is: {fault}. Name another file.") from None
    print(format_head(facts) + "".join(f"{row}\n" for row in rows.values()), end="", flush=True)
    for name in arguments.names:
        if name not in rows:
            rows[name] = format_row(name, *measure(replace(plan, architecture=name), arguments.seconds))
            print(rows[name], flush=True)
            if arguments.out:
                table = "".join(f"{row}\n" for row in rows.values())
                write_text(arguments.out, f"{format_head(facts)}{table}\n{lowest_ratios(rows)}\n")
    print(f"\n{lowest_ratios(rows)}")


if __name__ == "__main__":
    main()
