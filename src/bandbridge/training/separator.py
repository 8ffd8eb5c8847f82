"""The training of the separator: a small network that tells crossing and touching chromosomes apart.

    python -m bandbridge.export.separator FOLDER --spreads 2000 --minutes 80 --bfloat16

The one of the package learns from drawn spreads alone (:mod:`bandbridge.synthetic.spread`), so that its rights are
clear; whoever has reviewed metaphases adds them (:mod:`bandbridge.training.reviewed`). For each pixel it
says whether a chromosome is there, whether two are, and, for each of twelve directions, whether the core of a
chromosome passes in that direction. Crossing chromosomes share a pixel but no direction: in the space of place and
direction they are apart (Boehm et al., ISBI 2019, doi 10.1109/ISBI.2019.8759206, who do so for worms).
FOLDER keeps the drawn examples and the state of the training: the same command goes on where it was stopped.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from bandbridge.errors import UserError
from bandbridge.extras import need
from bandbridge.files import replacing
from bandbridge.metaphase.ground import BlankField, level
from bandbridge.metaphase.lifted import BINS, from_bytes, to_bytes
from bandbridge.progress import note
from bandbridge.synthetic.spread import DIRECTIONS, NOWHERE, draw_spread

#: Pixels of a side of the patches, and patches of a step.
PATCH, BATCH = 160, 8
_RATE = 2e-3
#: Patches that begin at a chromosome; the rest anywhere.
_ON_CHROMOSOME = 0.85
#: How much more the core of a chromosome counts than the ground.
_CORE_WEIGHT, _OVERLAP_WEIGHT = 4.0, 4.0
_STATE = "training.pt"
#: What an example of a reviewed metaphase is called, and how many patches are of those, where there are any.
REVIEWED, _OF_REVIEWED = "reviewed-", 0.3
#: Steps after which the state is kept.
_KEPT = 100
#: Patches that normalisations are measured on where a training begins from a graph.
_MEASURED = 64


@dataclass(frozen=True, eq=False)
class Example:
    """A drawn spread as it is learnt from: contrast as bytes [H, W], chromosomes at a pixel [H, W], axes [2, H, W]."""

    contrast: np.ndarray
    layers: np.ndarray
    axes: np.ndarray


class Separator(nn.Module):
    """A U-Net on blocks of 2 x 2 pixels: contrast [N, 1, H, W] -> logits [N, 2 + BINS, H, W]; H and W divide by 16."""

    def __init__(self, widths: Sequence[int] = (24, 48, 80, 112)) -> None:
        super().__init__()
        ins = (4, *widths[:-1])
        self.down = nn.ModuleList(_twice(low, high) for low, high in zip(ins, widths, strict=True))
        self.up = nn.ModuleList(
            _twice(high + low, low) for low, high in zip(widths[-2::-1], widths[:0:-1], strict=True)
        )
        self.head = nn.Conv2d(widths[0], 4 * (2 + BINS), 1)

    def forward(self, contrast: Tensor) -> Tensor:
        """Return the logits of: a chromosome, two of them, the core of one in each direction."""
        x = functional.pixel_unshuffle(contrast, 2)
        kept = []
        for step, block in enumerate(self.down):
            x = block(functional.max_pool2d(x, 2) if step else x)
            kept.append(x)
        for block, beside in zip(self.up, kept[-2::-1], strict=True):
            x = block(torch.cat([functional.interpolate(x, scale_factor=2.0, mode="nearest"), beside], dim=1))
        logits: Tensor = functional.pixel_shuffle(self.head(x), 2)
        return logits


def _twice(low: int, high: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for each in (low, high):
        layers += [nn.Conv2d(each, high, 3, padding=1, bias=False), nn.BatchNorm2d(high), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def draw_example(seed: int, number: int) -> Example | None:
    """Draw spread ``number``, in G or Q by turns, without its ground; None where nothing is seen on it."""
    spread = draw_spread("G" if number % 2 else "Q", seed, number)
    try:
        contrast = level(spread.gray).contrast
    except BlankField:
        return None
    layers = (spread.first > 0).astype(np.uint8) + (spread.second > 0)
    return Example(to_bytes(contrast), layers, spread.axes)


def _draw_file(folder: Path, seed: int, number: int) -> None:
    place = folder / f"spread-{number:05d}.npz"
    if place.is_file():
        return
    example = draw_example(seed, number)
    if example is None:
        return
    with replacing(place) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, contrast=example.contrast, layers=example.layers, axes=example.axes)


def draw_examples(folder: Path, count: int, seed: int = 0, processes: int = 1) -> None:
    """Draw ``count`` examples into ``folder``; those that are there are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(processes) as pool:
        for _ in pool.map(partial(_draw_file, folder, seed), range(count)):
            pass


def read_examples(folder: Path, known: dict[Path, Example]) -> dict[Path, Example]:
    """Return the examples of ``folder``, those of ``known`` not read again."""
    found = {}
    for place in sorted([*folder.glob("spread-*.npz"), *folder.glob(f"{REVIEWED}*.npz")]):
        if place in known:
            found[place] = known[place]
            continue
        with np.load(place, allow_pickle=False) as stored:
            found[place] = Example(stored["contrast"], stored["layers"], stored["axes"])
    return found


def _pools(examples: dict[Path, Example]) -> tuple[list[Example], list[Example]]:
    """The drawn examples and the reviewed ones. Raises :class:`UserError` where there is neither."""
    if not examples:
        raise UserError("there is nothing to learn from", "Draw spreads (--spreads), or give reviewed metaphases.")
    reviewed = [one for place, one in examples.items() if place.name.startswith(REVIEWED)]
    return [one for place, one in examples.items() if not place.name.startswith(REVIEWED)], reviewed


def _choose(pools: tuple[list[Example], list[Example]], rng: np.random.Generator) -> Example:
    """One of the pools at random: few reviewed ones would be lost among many drawn."""
    drawn, reviewed = pools
    if not reviewed:
        return drawn[rng.integers(len(drawn))]
    pool = reviewed if not drawn or rng.random() < _OF_REVIEWED else drawn
    return pool[rng.integers(len(pool))]


def patch_of(example: Example, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a patch: contrast float32, layers uint8, axes uint8 [2], turned and mirrored anyhow, a little relit."""
    layers = example.layers
    if rng.random() < _ON_CHROMOSOME:
        rows, columns = np.nonzero(layers[::4, ::4])
        at = rng.integers(len(rows))
        middle = 4 * np.array([rows[at], columns[at]]) + rng.integers(-40, 41, 2)
    else:
        middle = (rng.uniform(0, 1, 2) * layers.shape).astype(int)
    top, left = middle - PATCH // 2
    box = _inside(layers.shape, int(top), int(left))
    contrast, layers, axes = (
        from_bytes(_cut(example.contrast, box, 32)),
        _cut(layers, box, 0),
        _cut(example.axes, box, NOWHERE),
    )
    if rng.random() < 0.5:
        contrast, layers, axes = contrast[:, ::-1], layers[:, ::-1], _turn(axes[:, :, ::-1], lambda a: -a)
    if rng.random() < 0.5:
        contrast, layers, axes = contrast.T, layers.T, _turn(axes.transpose(0, 2, 1), lambda a: DIRECTIONS // 2 - a)
    if rng.random() < 0.5:
        contrast, layers, axes = contrast[::-1], layers[::-1], _turn(axes[:, ::-1], lambda a: -a)
    lit = np.sign(contrast) * np.abs(contrast) ** np.exp(rng.normal(0, 0.15)) * np.exp(rng.normal(0, 0.15))
    lit = lit + rng.normal(0, 0.02) + rng.uniform(0, 0.05) * rng.standard_normal(lit.shape)
    return lit.astype(np.float32), layers, axes


def _inside(shape: tuple[int, ...], top: int, left: int) -> tuple[int, int]:
    return (
        int(np.clip(top, min(0, shape[0] - PATCH), max(0, shape[0] - PATCH))),
        int(np.clip(left, min(0, shape[1] - PATCH), max(0, shape[1] - PATCH))),
    )


def _cut(image: np.ndarray, box: tuple[int, int], fill: int) -> np.ndarray:
    top, left = box
    found = np.full((*image.shape[:-2], PATCH, PATCH), fill, image.dtype)
    part = image[..., max(0, top) : top + PATCH, max(0, left) : left + PATCH]
    down, over = max(0, -top), max(0, -left)
    found[..., down : down + part.shape[-2], over : over + part.shape[-1]] = part
    return found


def _turn(axes: np.ndarray, how: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    return np.where(axes == NOWHERE, NOWHERE, how(axes.astype(np.int16)) % DIRECTIONS).astype(np.uint8)


def targets_of(layers: Tensor, axes: Tensor) -> Tensor:
    """Return what is to be said, float32 [N, 2 + BINS, H, W], of uint8 layers [N, H, W] and axes [N, 2, H, W].

    A direction between two bins counts for both, by how near it is.
    """
    bins = torch.arange(BINS).view(1, 1, BINS, 1, 1) * (DIRECTIONS / BINS)
    away = torch.remainder(axes.float().unsqueeze(2) - bins + DIRECTIONS / 2, DIRECTIONS) - DIRECTIONS / 2
    near = (1 - away.abs() / (DIRECTIONS / BINS)).clamp_min(0) * (axes != NOWHERE).unsqueeze(2)
    # Half way between two, both are fully on: what counts is that it passes.
    lifted = (2 * near.amax(dim=1)).clamp_max(1)
    return torch.cat([(layers > 0).float().unsqueeze(1), (layers > 1).float().unsqueeze(1), lifted], dim=1)


def loss_of(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the loss: cross entropy, chromosomes' cores and overlaps weighed more."""
    each = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    inside = targets[:, :1]
    there, two, core = each[:, :1].mean(), each[:, 1:2], each[:, 2:]
    overlap = (two * (1 + _OVERLAP_WEIGHT * inside)).mean()
    cores = (core * (0.5 + inside + _CORE_WEIGHT * targets[:, 2:])).mean()
    return there + overlap + 4 * cores


def train(
    folder: Path, minutes: float, steps: int, seed: int = 0, *, bfloat16: bool = False, begin: Path | None = None
) -> Separator:
    """Train for at most ``minutes``, ``steps`` in all, on the examples in ``folder``; return the averaged network.

    The rate falls with the steps, or with the time where that is shorter. The state is kept in ``folder`` and gone on
    from. bfloat16: multiply in it, which is faster where the processor does so by itself and slower where not. begin:
    the graph of a trained separator to begin from, in place of random weights, at half the rate.
    """
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]):  # nobody else's random numbers are touched
        torch.manual_seed(seed)
        network, average = Separator(), Separator()
    first, spent, place = 0, 0.0, folder / _STATE
    if begin and not place.is_file():
        begin_from(network, begin, list(read_examples(folder, {}).values()))
    network, average = (each.to(memory_format=torch.channels_last) for each in (network, average))
    full_rate = _RATE / 2 if begin else _RATE
    optimiser = torch.optim.AdamW(network.parameters(), lr=full_rate, weight_decay=1e-4)
    average.load_state_dict(network.state_dict())
    if place.is_file():
        state = torch.load(place, weights_only=True)
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        first, spent = state["step"], state["spent"]
    started = time.monotonic() - spent
    rng = np.random.default_rng([seed, first])
    examples: dict[Path, Example] = {}
    sums, network_on = 0.0, network.train()
    for step in range(first, steps):
        if step % _KEPT == 0 or not examples:
            examples = read_examples(folder, examples)
            pools = _pools(examples)
        done = max(step / steps, (time.monotonic() - started) / (60 * minutes))
        if done >= 1:
            break
        rate = full_rate * min(1.0, (step + 1) / 50) * 0.5 * (1 + math.cos(math.pi * done))
        for group in optimiser.param_groups:
            group["lr"] = rate
        drawn = [patch_of(_choose(pools, rng), rng) for _ in range(BATCH)]
        contrast, layers, axes = (torch.from_numpy(np.stack(each)) for each in zip(*drawn, strict=True))
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            logits = network_on(contrast.unsqueeze(1).to(memory_format=torch.channels_last))
        loss = loss_of(logits.float(), targets_of(layers, axes))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        _follow(average, network, min(0.99, (step + 1) / (step + 10)))
        sums += float(loss.detach())
        if (step + 1) % _KEPT == 0:
            spent = time.monotonic() - started
            note(f"step {step + 1}: loss {sums / _KEPT:.4f}, {len(examples)} spreads, {spent / 60:.1f} min")
            sums = 0.0
            kept = {"network": network.state_dict(), "average": average.state_dict()}
            with replacing(place) as temporary, temporary.open("wb") as stream:
                torch.save(kept | {"optimiser": optimiser.state_dict(), "step": step + 1, "spent": spent}, stream)
    return average.eval()


@torch.no_grad()
def begin_from(network: Separator, graph: Path, examples: Sequence[Example]) -> None:
    """Give ``network`` the weights of the separator in the ONNX file ``graph``, ready to be trained on.

    A graph has its normalisations folded into the convolutions. What they divide by is measured anew on patches of
    ``examples``, so that the network says what the graph does and goes on from there. Raises :class:`UserError` for
    the graph of another network, or where there are no examples.
    """
    pools = _pools({Path(str(number)): one for number, one in enumerate(examples)})
    convolutions = [each for each in network.modules() if isinstance(each, nn.Conv2d)]
    norms = [each for each in network.modules() if isinstance(each, nn.BatchNorm2d)]
    weights = _weights_of(graph)
    if [weight.shape for weight, _ in weights] != [tuple(each.weight.shape) for each in convolutions]:
        raise UserError(f"{graph} is no separator of this kind", "Name one that this program has written.")
    for convolution, norm, (weight, bias) in zip(convolutions, [*norms, None], weights, strict=True):
        convolution.weight.copy_(torch.from_numpy(weight))
        if norm is None:
            assert convolution.bias is not None
            convolution.bias.copy_(torch.from_numpy(bias))
        else:
            norm.bias.copy_(torch.from_numpy(bias))
            norm.weight.fill_(math.sqrt(1 + norm.eps))
    rng = np.random.default_rng(0)
    patches = np.stack([patch_of(_choose(pools, rng), rng)[0] for _ in range(_MEASURED)])
    seen: dict[nn.BatchNorm2d, tuple[Tensor, Tensor]] = {}

    def measure(norm: nn.BatchNorm2d, given: tuple[Tensor]) -> None:
        seen[norm] = given[0].mean(dim=(0, 2, 3)), given[0].var(dim=(0, 2, 3), unbiased=False)

    hooks = [norm.register_forward_pre_hook(measure) for norm in norms]
    network.eval()(torch.from_numpy(patches).unsqueeze(1))
    for hook in hooks:
        hook.remove()
    for norm, (mean, variance) in seen.items():
        norm.running_mean, norm.running_var = mean, variance
        norm.weight.copy_((variance + norm.eps).sqrt())
        norm.bias.add_(mean)


def _weights_of(graph: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weight and bias, float32, of the convolutions of an ONNX file that has both, in the order of computing."""
    onnx = need("onnx")
    try:
        model = onnx.load(str(graph)).graph
    except Exception as fault:
        raise UserError(f"{graph} cannot be read as ONNX", "Name the file of a separator.") from fault
    stored = {one.name: onnx.numpy_helper.to_array(one).astype(np.float32) for one in model.initializer}
    widened = {node.output[0]: node.input[0] for node in model.node if node.op_type == "Cast"}
    given = [[widened.get(name, name) for name in node.input[1:]] for node in model.node if node.op_type == "Conv"]
    return [(stored[each[0]], stored[each[1]]) for each in given if len(each) == 2 and set(each) <= set(stored)]


@torch.no_grad()
def _follow(average: nn.Module, network: nn.Module, keep: float) -> None:
    for slow, fast in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if slow.dtype.is_floating_point:
            slow.lerp_(fast, 1 - keep)
        else:
            slow.copy_(fast)
