"""ImageNet weights from a folder, an installed package or timm's hub, in this order, and the weights of runs.

All are safetensors, but for the packages' files, which are pinned by their hash: :mod:`bandbridge.model.packages`.

A weights folder holds ``<timm name>.<tag>.safetensors`` or ``<timm name>.safetensors``. A JSON file of the
same name beside it may state facts that differ from timm's, all optional: ``{"mean": [0.5, 0.5, 0.5],
"std": [0.5, 0.5, 0.5], "tag": "...", "licence": "..."}``.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from safetensors import SafetensorError

from bandbridge.errors import EnvironmentFault, ManyErrors, UserError
from bandbridge.files import default_mode, is_present, load_json, replacing
from bandbridge.model.architectures import Architecture, pretrained_config
from bandbridge.model.config import Triple
from bandbridge.model.packages import InstalledWeights, install_command, installed_weights, read_weights, require_hash
from bandbridge.seal import file_hash, require_unaltered

if TYPE_CHECKING:
    from torch import Tensor, nn

#: Environment variable that names the weights folder when no ``--weights-dir`` is given.
WEIGHTS_VARIABLE = "BANDBRIDGE_WEIGHTS"
_HUB_FILE = "model.safetensors"
_HUB_TIMEOUT_S = 5.0
Origin = Literal["folder", "package", "hub"]


@dataclass(frozen=True)
class Weights:
    """What ImageNet weights were used, for the record of a run.

    ``mean`` and ``std`` normalise red, green and blue in [0, 1]. ``tag`` is None if neither the file's name
    nor the JSON file beside it says. ``package`` is the name and version of the package that brought them, if one did.
    """

    architecture: str
    tag: str | None
    sha256: str
    mean: Triple
    std: Triple
    licence: str
    origin: Origin
    package: str | None = None


def weights_folder(weights_dir: Path | None) -> Path | None:
    """The folder given, else the one that BANDBRIDGE_WEIGHTS names, else None.

    Raises :class:`UserError` if what is named is no folder.
    """
    named = os.environ.get(WEIGHTS_VARIABLE)
    folder = weights_dir if weights_dir is not None else Path(named) if named else None
    if folder is not None and not (is_present(folder) and folder.is_dir()):
        source = "--weights-dir" if weights_dir is not None else WEIGHTS_VARIABLE
        raise UserError(f"the weights folder {folder} does not exist.", f"Correct {source}.")
    return folder


def local_weights(architecture: Architecture, weights_dir: Path | None) -> Path | None:
    """The architecture's file in the weights folder, first the one named with the tag; None if absent."""
    folder = weights_folder(weights_dir)
    if folder is None:
        return None
    stems = dict.fromkeys([architecture.pinned_name, architecture.timm_name])
    candidates = (folder / f"{stem}.safetensors" for stem in stems)
    return next((path for path in candidates if path.is_file()), None)


def weights_origin(architecture: Architecture, weights_dir: Path | None) -> Origin | None:
    """Where :func:`find_imagenet_weights` would look for the weights; None if it knows no place. No network."""
    if local_weights(architecture, weights_dir) is not None:
        return "folder"
    if installed_weights(architecture) is not None:
        return "package"
    return "hub" if architecture.tag else None


def weights_fingerprint(architecture: Architecture, weights_dir: Path | None) -> str | None:
    """SHA-256 (hexadecimal) of the file for ``architecture`` in the weights folder, else in an installed package.

    None if neither holds one. No network. Hashes are kept in memory until the file's size or time changes.
    """
    path = local_weights(architecture, weights_dir)
    installed = installed_weights(architecture) if path is None else None
    path = installed.path if installed is not None else path
    return file_hash(path) if path is not None else None


def find_imagenet_weights(architecture: Architecture, weights_dir: Path | None) -> tuple[Path, Weights]:
    """Locate the pretrained weights: the folder's file, else a package's, else timm's hub (cache, then network).

    Raises :class:`UserError` saying which file to put where, if there are none to be had, or if a package's file is
    not the expected one.
    """
    path, weights, _ = _find(architecture, weights_dir)
    return path, weights


def _find(architecture: Architecture, weights_dir: Path | None) -> tuple[Path, Weights, InstalledWeights | None]:
    local = local_weights(architecture, weights_dir)
    installed = installed_weights(architecture) if local is None else None
    if installed is not None:
        return installed.path, _packaged(architecture, installed), installed
    path = local if local is not None else _from_hub(architecture, weights_folder(weights_dir))
    if local is not None and local.stem != architecture.pinned_name:
        tag = None
    else:
        tag = architecture.tag
    facts = _sidecar(local) if local is not None else {}
    mean, std = normalisation(architecture, weights_dir)
    licence = facts.get("licence") or pretrained_config(architecture).license or "unknown"
    origin: Origin = "hub" if local is None else "folder"
    stated = facts.get("tag", tag)
    return path, Weights(architecture.timm_name, stated, file_hash(path), mean, std, licence, origin), None


def _packaged(architecture: Architecture, installed: InstalledWeights) -> Weights:
    package, sha256 = installed.package, file_hash(installed.path)
    require_hash(installed, sha256)
    named = f"{package.distribution} {installed.version}"
    facts = package.mean, package.std, package.licence
    return Weights(architecture.timm_name, architecture.tag, sha256, *facts, "package", named)


def normalisation(architecture: Architecture, weights_dir: Path | None = None) -> tuple[Triple, Triple]:
    """Mean and standard deviation of red, green and blue in [0, 1] that the weights expect; no network.

    From the JSON file beside the weights in the folder if it states them, else from timm for name and tag; a
    package's are those that timm states.
    """
    config = pretrained_config(architecture)
    path = local_weights(architecture, weights_dir)
    facts = _sidecar(path) if path is not None else {}
    mean, std = (tuple(float(v) for v in facts.get(key, getattr(config, key))) for key in ("mean", "std"))
    return (mean[0], mean[1], mean[2]), (std[0], std[1], std[2])


def load_imagenet_weights(model: nn.Module, architecture: Architecture, weights_dir: Path | None) -> Weights:
    """Fill ``model`` in place with its pretrained weights; its classifier head stays as it was initialised.

    Position tables are resampled to the model's grid by timm's own rule; half precision becomes the model's
    dtype. Every other tensor must be there with its shape: :class:`UserError` lists those that are not.
    """
    path, weights, installed = _find(architecture, weights_dir)
    state = read_weights(installed, model.state_dict()) if installed is not None else load_state(path)
    _fill(model, state, path, keep_head=True)
    return weights


def initialise_from_run(model: nn.Module, path: Path, head: Literal["keep", "new"]) -> None:
    """Fill ``model`` in place from a run's ``model.safetensors``, resampling position tables if sizes differ.

    ``head="keep"`` takes the run's classifier too (same classes); ``"new"`` leaves the model's own fresh one.
    """
    _fill(model, load_state(path), path, keep_head=head == "new")


def save_model(model_state: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    """Write a model's state as safetensors with text ``metadata`` in its header, whole or not at all.

    Raises :class:`EnvironmentFault` when the disk is full.
    """
    import torch
    from safetensors.torch import save_file

    tensors = {
        name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, tensor in model_state.items()
    }
    with replacing(path) as temporary:
        try:
            save_file(tensors, temporary, metadata={"format": "pt", **metadata})
        except SafetensorError as fault:
            # The number of the disk's own error stands in the text alone.
            number = re.search(r"os error (\d+)", str(fault))
            if number is None:
                raise
            raise OSError(int(number[1]), os.strerror(int(number[1]))) from fault
        # safetensors makes its files for their owner alone; all others here go by what the system is set to.
        temporary.chmod(default_mode())


def load_state(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file onto the CPU.

    Raises :class:`UserError` naming the file if it is missing, damaged, something else, or not as its run or model was
    written.
    """
    from safetensors.torch import load_file

    if not path.is_file():
        raise UserError(f"there is no weights file {path}.", "Check the path, or run what makes it again.")
    require_unaltered(path)
    try:
        with path.open("rb"):  # whether it may be read is another matter than what it holds
            pass
    except OSError as fault:
        raise EnvironmentFault(f"cannot read {path}: {fault.strerror or fault}", "Check its permissions.") from fault
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError) as fault:
        raise UserError(
            f"{path} is damaged or not a safetensors file: {fault}.", "Fetch or make the file again."
        ) from fault


def head_keys(model: nn.Module) -> set[str]:
    """Names of the tensors of the classifier head (one or several layers) in the model's state."""
    get_classifier: Callable[[], Any] = model.get_classifier  # type: ignore[assignment]
    head = get_classifier()
    layers = head if isinstance(head, tuple | list) else (head,)
    names = [name for name, module in model.named_modules() if any(module is layer for layer in layers)]
    return {key for key in model.state_dict() if any(key.startswith(f"{name}.") for name in names)}


def clear_head(model: nn.Module) -> None:
    """Set the classifier head of ``model`` to zero, in place: every class is equally likely until it is trained."""
    import torch

    keys = head_keys(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in keys:
                parameter.zero_()


def _fill(model: nn.Module, state: dict[str, Tensor], path: Path, keep_head: bool) -> None:
    own = model.state_dict()
    head = head_keys(model) if keep_head else set()
    whole = {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
    state = {key: value for key, value in whole.items() if key not in head}
    if _misfits(state, own, head):
        # With its head: by that, timm before 1.0.31 tells the weights of a Swin from those of the first release.
        state = {key: value for key, value in _convert(model, whole, path).items() if key not in head}
    problems = _misfits(state, own, head)
    problems += [f"{key}: holds values that are not finite" for key, value in state.items() if not _finite(value)]
    if problems:
        raise ManyErrors(
            f"the weights in {path} do not fit {type(model).__name__}:",
            problems,
            "Check that the file belongs to this architecture, its options and the number of classes.",
        )
    # A batch-norm counter may be absent in converted files; with a fixed momentum nothing reads it.
    model.load_state_dict(own | state)


def _misfits(state: Mapping[str, Tensor], own: Mapping[str, Tensor], head: set[str]) -> list[str]:
    needed = [key for key in own if key not in head and not key.endswith("num_batches_tracked")]
    missing = [f"{key}: missing, expected {list(own[key].shape)}" for key in needed if key not in state]
    extra = [f"{key}: not in the model" for key in state if key not in own]
    wrong = [
        f"{key}: shape {list(value.shape)}, expected {list(own[key].shape)}"
        for key, value in state.items()
        if key in own and value.shape != own[key].shape
    ]
    return missing + wrong + extra


def _convert(model: nn.Module, state: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Resample position tables and rename old keys by the rule that timm keeps beside the model's class."""
    rules = vars(sys.modules[type(model).__module__])
    rule = rules.get("checkpoint_filter_fn")
    if rule is None:
        return state
    try:
        converted: dict[str, Tensor] = rule(state, model)
    except (RuntimeError, ValueError, KeyError, AttributeError, AssertionError, IndexError) as fault:
        raise UserError(
            f"the weights in {path} do not fit {type(model).__name__}: {fault}",
            "Check that the file belongs to this architecture.",
        ) from fault
    return converted


def _finite(value: Tensor) -> bool:
    import torch

    return not value.is_floating_point() or bool(torch.isfinite(value).all())


def _sidecar(path: Path) -> dict[str, Any]:
    side = path.with_name(f"{path.name.removesuffix('.safetensors')}.json")
    if not side.is_file():
        return {}
    try:
        facts = load_json(side)
    except (ValueError, OSError) as fault:
        raise UserError(f"{side} is not readable JSON: {fault}.", "Correct it or take it away.") from fault
    if not isinstance(facts, dict) or not set(facts) <= {"mean", "std", "tag", "licence"}:
        raise UserError(f"{side} may state mean, std, tag and licence only.", "Correct it or take it away.")
    for key in ("mean", "std"):
        values = facts.get(key, [0.5] * 3)
        if not (isinstance(values, list) and len(values) == 3 and all(_is_share(v) for v in values)):
            raise UserError(f"{side}: {key} must be three numbers in (0, 1].", "Correct it.")
    for key in ("tag", "licence"):
        if not isinstance(facts.get(key, ""), str):
            raise UserError(f"{side}: {key} must be text.", "Correct it.")
    return facts


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1


def _from_hub(architecture: Architecture, folder: Path | None) -> Path:
    import huggingface_hub

    repository = pretrained_config(architecture).hf_hub_id
    if not repository:
        raise UserError(f"no ImageNet weights are known for {architecture.name}.", _place(architecture, folder))
    cached = huggingface_hub.try_to_load_from_cache(repository, _HUB_FILE)
    if isinstance(cached, str):
        return Path(cached)
    try:
        # One question with a short limit first: the download itself would retry for half a minute offline.
        huggingface_hub.get_hf_file_metadata(huggingface_hub.hf_hub_url(repository, _HUB_FILE), timeout=_HUB_TIMEOUT_S)
        return Path(huggingface_hub.hf_hub_download(repository, _HUB_FILE))
    except Exception as fault:  # the hub's client raises errors of several libraries, all meaning "not to be had"
        reason = (str(fault).strip() or type(fault).__name__).splitlines()[0].rstrip(".")
        raise EnvironmentFault(
            f"the weights {architecture.pinned_name} are not on this machine, "
            f"and timm's hub did not give them: {reason[:200]}.",
            _place(architecture, folder),
        ) from fault


def _place(architecture: Architecture, folder: Path | None) -> str:
    where = f"the folder {folder}" if folder is not None else f"a folder named by {WEIGHTS_VARIABLE}"
    command = install_command(architecture)
    by_pip = f"Have them by pip: {command}. Or put" if command is not None else "Put"
    return f"{by_pip} them as {architecture.pinned_name}.safetensors into {where}; approach scratch needs none."
