"""Embeddings: what an ImageNet model makes of each image in its last pooled layer, before any training of ours."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bandbridge.dataset.archive import image_files
from bandbridge.dataset.imagefolder import COLUMNS, ImageFolder, holds_table, open_dataset
from bandbridge.dataset.prepare import Preparation
from bandbridge.dataset.store import Store, build_store, dataset_fingerprint
from bandbridge.errors import UserError
from bandbridge.files import content_hash, load_json, replacing, write_json
from bandbridge.holding import held
from bandbridge.model.architectures import Architecture, create_model
from bandbridge.model.channels import as_channels
from bandbridge.model.padding import size_note
from bandbridge.model.weights import Weights, load_imagenet_weights
from bandbridge.progress import note, track
from bandbridge.seal import hashes_of, read_sealed, write_sealed
from bandbridge.training.bank import ImageBank, to_float
from bandbridge.training.device import open_fabric

#: Raised when the same model and images would give other embeddings.
_VERSION = 1
_BATCH = 64
_FILES = ("values.npy", "files.json")


@dataclass(frozen=True, eq=False)
class Embeddings:
    """A domain as an ImageNet model sees it.

    name: what a reader calls the domain. values: float32 [N, D], one row per image. labels: object [N], class names.
    units: object [N], the cell of each image; an image of unknown cell is a unit of its own. facts: fingerprint,
    architecture, weights and preparation, for the record. natural: not chromosomes.
    """

    name: str
    values: np.ndarray
    labels: np.ndarray
    units: np.ndarray
    facts: dict[str, Any]
    natural: bool = False

    @property
    def cells(self) -> int:
        """How many units there are."""
        return len(set(self.units))


@dataclass(frozen=True, eq=False)
class Extractor:
    """An ImageNet model without its classifier, on its device, and the weights it holds."""

    architecture: Architecture
    weights: Weights
    model: nn.Module
    device: torch.device

    def identity(self) -> dict[str, Any]:
        """What decides the embeddings besides the images."""
        return {"version": _VERSION, "architecture": self.architecture.pinned_name, "weights": self.weights.sha256}


def open_extractor(
    architecture: Architecture, image_size: int, weights_dir: Path | None = None, device: str = "auto"
) -> Extractor:
    """Build ``architecture`` with its ImageNet weights, to embed images of ``image_size`` px.

    Says so where another size would suit the model better. Raises :class:`UserError` when the weights cannot be had or
    the model cannot take the size.
    """
    unsuited = size_note(architecture, image_size)
    if unsuited:
        note(unsuited)
    # The head is built only so that weights with and without one load alike; it is dropped at once.
    model = create_model(architecture, 2, image_size, torch.Generator().manual_seed(0))
    weights = load_imagenet_weights(model, architecture, weights_dir)
    reset: Any = model.reset_classifier
    reset(0)
    fabric = open_fabric(device, "fp32")
    if sum(isinstance(module, nn.Conv2d) for module in model.modules()) > 1:
        model = model.to(memory_format=torch.channels_last)
    return Extractor(architecture, weights, model.eval().to(fabric.device), fabric.device)


def embed(
    dataset: ImageFolder,
    name: str,
    extractor: Extractor,
    preparation: Preparation,
    root: Path,
    *,
    natural: bool = False,
) -> Embeddings:
    """Return the embeddings of every image of ``dataset``, computed once and kept under ``root``.

    The key is the content: the images' fingerprint, the preparation, the architecture and its weights' hash.
    """
    fingerprint = dataset_fingerprint(dataset)
    facts = {**extractor.identity(), "fingerprint": fingerprint, "preparation": preparation.model_dump()}
    folder = root / ".embeddings" / content_hash(facts)[:16]
    names = dataset.samples["file_name"].tolist()
    found = _read(folder, facts, set(names))
    if found is None:
        # One process at a time: of two, the files of one could come to lie beside the values of the other.
        with held(folder, lambda who: note(f"waiting for {who}, which looks at the images of {dataset.path}")):
            found = _read(folder, facts, set(names))
            if found is None:
                store = build_store(dataset, preparation, root / ".stores", fingerprint)
                found = store.samples["file_name"].tolist(), extract(store, extractor, f"embedding {name}")
                with replacing(folder / "values.npy") as temporary, temporary.open("wb") as file:
                    np.save(file, found[1])
                write_json(folder / "files.json", found[0])
                write_sealed(folder / "facts.json", {**facts, "files": hashes_of(folder, _FILES)})
    # They may have been made from another copy of the set, in another order.
    position = {file: row for row, file in enumerate(found[0])}
    values = found[1][[position[file] for file in names]]
    labels = dataset.samples["label"].to_numpy(dtype=object)
    return Embeddings(name, values, labels, sampling_units(dataset), facts, natural)


def extract(store: Store, extractor: Extractor, description: str) -> np.ndarray:
    """Return float32 [N, D]: the final pooled features of every image of ``store``, in its order."""
    bank = ImageBank(store.images, extractor.device)
    mean, std = (
        torch.tensor(value, device=extractor.device).view(1, 3, 1, 1)
        for value in (extractor.weights.mean, extractor.weights.std)
    )
    model: Any = extractor.model
    batches = torch.arange(len(store.images)).split(_BATCH)
    parts: list[Tensor] = []
    with torch.inference_mode():
        for rows in track(batches, len(batches), description):
            views = as_channels(to_float(bank.batch(rows)))
            images = ((views - mean) / std).contiguous(memory_format=torch.channels_last)
            features = model.forward_head(model.forward_features(images), pre_logits=True)
            parts.append(features.float().flatten(1).cpu())
    return torch.cat(parts).numpy()


def sampling_units(dataset: ImageFolder) -> np.ndarray:
    """Return object [N]: the cell that each image was sampled with; without one, the image itself."""
    cells = dataset.samples[["patient", "cell", "file_name"]].itertuples(index=False)
    return np.array([f"cell {patient}/{cell}" if cell else f"image {file}" for patient, cell, file in cells], object)


def open_natural(path: Path) -> ImageFolder:
    """Open natural images: a dataset with ``metadata.csv``, or any folder of images (class folders or not).

    Raises :class:`UserError` when there is neither.
    """
    if not path.is_dir() or holds_table(path):
        return open_dataset(path)
    import pandas as pd

    files = image_files(path)
    if not files:
        raise UserError(f"{path} holds no images", "Give a folder of natural images, such as Imagenette's val folder.")
    rows = [{"file_name": name, "label": (path / name).parent.name} for name in files]
    return ImageFolder(path, pd.DataFrame(rows, dtype=str).reindex(columns=list(COLUMNS), fill_value=""))


def _read(folder: Path, facts: dict[str, Any], names: set[str]) -> tuple[list[str], np.ndarray] | None:
    """Return the kept file names and values; None where there are none, or not as they were: they are made again."""
    if not (folder / "facts.json").exists():
        return None
    with suppress(UserError, OSError, ValueError, TypeError):
        kept = read_sealed(folder / "facts.json", "")
        hashes = kept.pop("files", None)
        if kept == json.loads(json.dumps(facts)) and hashes in (None, hashes_of(folder, _FILES)):
            values = np.load(folder / "values.npy", allow_pickle=False)
            files: list[str] = load_json(folder / "files.json")
            if values.ndim == 2 and len(values) == len(files) and set(files) == names:
                return files, values
    note(f"the embeddings in {folder} are not as they were written: they are made again")
    return None
