"""What a drawn metaphase has beside its chromosomes: nuclei, debris, uneven light, the microscope and the camera."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter, zoom

from bandbridge.dataset.ideogram import Stain
from bandbridge.synthetic.look import Style


def clouds(rng: np.random.Generator, shape: tuple[int, int], reach: float) -> np.ndarray:
    """Return float32 noise [H, W] of mean 0 and unit variance, smooth over about ``reach`` pixels."""
    # Drawn and smoothed on a coarse grid: smoothing every pixel over a wide reach would take most of the drawing.
    spacing = max(reach / 3, 1.0)
    coarse = [int(np.ceil(size / spacing)) + 4 for size in shape]
    rough = gaussian_filter(rng.standard_normal(coarse, dtype=np.float32), 1.5)
    grown = zoom(rough, spacing, order=1)
    rows, columns = (max(0, (have - size) // 2) for have, size in zip(grown.shape, shape, strict=True))
    smooth = grown[rows : rows + shape[0], columns : columns + shape[1]]
    smooth = smooth - smooth.mean()
    found: np.ndarray = (smooth / max(float(smooth.std()), 1e-6)).astype(np.float32)
    return found


def dirt(
    density: np.ndarray, chromosomes: np.ndarray, nuclei: float, debris: float, width: float, rng: np.random.Generator
) -> np.ndarray:
    """Return the density, float32 [H, W], of all that is no chromosome.

    Nuclei lie where few chromosomes are, mostly at the border; debris anywhere. ``nuclei`` and ``debris`` are means.
    """
    into = np.zeros(density.shape, np.float32)
    usual = float(density[chromosomes].mean()) if chromosomes.any() else 0.5
    for _ in range(rng.poisson(nuclei)):
        radius = width * rng.uniform(1.6, 9)
        middle = _away_from(chromosomes, radius, rng)
        if middle is not None:
            blob(
                into,
                middle,
                radius * np.exp(rng.normal(0, 0.15, 2)),
                usual * np.exp(rng.uniform(-1, 1.7)),
                rng,
                width * 0.7,
            )
    for _ in range(rng.poisson(debris)):
        size = width * np.exp(rng.normal(-1.6, 0.6)) * np.exp(rng.normal(0, 0.35, 2))
        middle = rng.uniform(0, 1, 2) * density.shape
        blob(into, middle, np.maximum(size, 0.7), usual * np.exp(rng.normal(-0.3, 0.7)), rng, width * 0.1)
    for _ in range(rng.poisson(debris / 15)):
        # Smears and threads: long, pale, soft.
        size = width * np.array([rng.uniform(1.5, 7), rng.uniform(0.1, 1.0)])
        blob(into, rng.uniform(0, 1, 2) * density.shape, size, usual * rng.uniform(0.08, 0.45), rng, width * 0.6)
    return into


def _away_from(taken: np.ndarray, radius: float, rng: np.random.Generator) -> np.ndarray | None:
    """A middle for a nucleus that covers hardly a chromosome, None where a few tries found none."""
    for _ in range(25):
        middle = rng.uniform(-0.1, 1.1, 2) * taken.shape
        top, left = (int(max(0, each - radius)) for each in middle)
        bottom, right = (int(max(0, each + radius)) for each in middle)
        part = taken[top:bottom, left:right]
        if part.size and part.mean() < 0.01:
            return middle
    return None


def blob(
    into: np.ndarray,
    middle: np.ndarray,
    radii: np.ndarray,
    strength: float,
    rng: np.random.Generator,
    soft: float,
) -> None:
    """Add an ellipse of these ``radii`` at ``middle`` (row, column), grainy, with an edge about ``soft`` wide."""
    reach = float(radii.max()) + 3 + soft
    low = np.maximum((middle - reach).astype(int), 0)
    high = np.minimum((middle + reach).astype(int) + 1, into.shape)
    if (high <= low).any():
        return
    rows, columns = np.ogrid[low[0] : high[0], low[1] : high[1]]
    turn = rng.uniform(0, np.pi)
    y, x = rows - middle[0], columns - middle[1]
    u = (x * np.cos(turn) + y * np.sin(turn)) / radii[0]
    v = (-x * np.sin(turn) + y * np.cos(turn)) / radii[1]
    shape = (int(high[0] - low[0]), int(high[1] - low[1]))
    bumpy = 0.12 * clouds(rng, shape, max(2.0, 0.4 * float(radii.min())))
    inside = np.clip((1 - np.sqrt(u * u + v * v) + bumpy) * float(radii.min()) / max(soft, 0.7) + 0.5, 0, 1)
    grain = np.clip(1 + 0.18 * clouds(rng, shape, max(1.5, 0.15 * float(radii.min()))), 0.2, 2)
    into[low[0] : high[0], low[1] : high[1]] += (strength * inside * grain).astype(np.float32)


def hazy(total: np.ndarray, haze: float, reach: float) -> np.ndarray:
    """Return float32 ``total`` [H, W], of which the share ``haze`` is spread over ``reach`` pixels, as out of focus.

    A microscope sees what lies above and below its plane as well: between chromosomes that lie close it is not dark.
    """
    if haze <= 0:
        return total
    # On a coarse grid: no detail of it is finer than its reach.
    by = max(1, int(reach / 3))
    padded = np.pad(total, [(0, -size % by) for size in total.shape], mode="edge")
    coarse = padded.reshape(padded.shape[0] // by, by, -1, by).mean(axis=(1, 3))
    spread = zoom(gaussian_filter(coarse, reach / by), by, order=1, grid_mode=True, mode="nearest")
    found: np.ndarray = ((1 - haze) * total + haze * spread[: total.shape[0], : total.shape[1]]).astype(np.float32)
    return found


def develop_field(
    density: np.ndarray,
    other: np.ndarray,
    stain: Stain,
    style: Style,
    rng: np.random.Generator,
    unfocused: tuple[float, float] = (0.0, 1.0),
) -> np.ndarray:
    """Return the field's gray image, uint8 [H, W]: blur, glow or haze, uneven light, noise, sometimes JPEG.

    density, other: float32 [H, W], dyed chromatin of the chromosomes and of all else. Q: intensities add on a dark
    ground; G: optical densities add under a bright light. Now and then the ground is cleaned to pure white or black.
    unfocused: the share of the light that is out of focus, in fluorescence, and how far it is spread, in widths.
    """
    total = density + other
    if rng.random() < 0.4:  # the stain itself may fade over the cell, to a third on one side of it
        total = total * np.exp(float(rng.uniform(0.1, 0.8)) * clouds(rng, total.shape, 0.4 * max(total.shape)))
    if style.speckle:
        total = total * np.maximum(1 + 0.5 * style.speckle * rng.standard_normal(total.shape, dtype=np.float32), 0.2)
    blur = max(0.3, style.blur) * float(rng.uniform(0.8, 2.5))
    total = gaussian_filter(total, min(blur, 0.22 * style.width), truncate=3.0)
    uneven = np.float32(rng.choice([0.0, 0.05, 0.15])) * clouds(rng, total.shape, 0.5 * max(total.shape))
    noise = style.noise * float(rng.uniform(0.2, 1.3)) * rng.standard_normal(total.shape, dtype=np.float32)
    if rng.random() < 0.5:
        noise = gaussian_filter(noise, 0.6) * 1.8
    clean = rng.random() < 0.15
    if stain == "Q":
        total = hazy(total, unfocused[0], unfocused[1] * style.width)
        glow = float(rng.uniform(0, 0.12)) * gaussian_filter(total, 1.5 * style.width)
        ground = float(rng.choice([0, rng.uniform(2, 60)]))
        level = float(rng.uniform(0.35, 1.2)) * style.strength
        gray = ground * (1 + uneven) + level * (total + glow) * (1 + 0.7 * uneven)
        gray = gray + noise * np.sqrt(0.15 + np.clip(gray, 0, 255) / 255)
        if clean:
            gray[gaussian_filter(density, 1.0) < 0.03] = 0
    else:
        haze = float(rng.choice([0.0, 0.06])) * clouds(rng, total.shape, 3 * style.width)
        light = float(rng.uniform(150, 250)) * (1 + uneven)
        gray = light * np.exp(-style.strength * float(rng.uniform(0.5, 1.1)) * total - haze) + noise
        if rng.random() < 0.4:  # the bright seam that bright field leaves around what is dark
            rim = gaussian_filter(total, 0.35 * style.width) - total
            gray = gray * (1 + float(rng.uniform(0.05, 0.3)) * np.clip(rim, 0, 1))
        if clean:
            gray[gaussian_filter(density, 1.0) < 0.05] = 255
    found = np.rint(np.clip(gray, 0, 255)).astype(np.uint8)
    return _through_jpeg(found, int(rng.integers(60, 95))) if rng.random() < 0.2 else found


def _through_jpeg(gray: np.ndarray, quality: int) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(gray).save(stream, format="JPEG", quality=quality)
    with Image.open(stream) as image:
        return np.asarray(image)
