"""What the plain installation leaves out, and which extra brings it.

``pip install bandbridge`` classifies; ``bandbridge[train]`` trains, compares, explains and exports as well. Whatever
needs a package that is not there says which command installs it.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from bandbridge.errors import UserError

#: The extra for each package that the plain installation lacks, by the name that it is imported under.
EXTRAS = {
    "lightning_fabric": "train",
    "onnx": "train",
    "pyarrow": "train",
    "safetensors": "train",
    "sklearn": "train",
    "timm": "train",
    "torch": "train",
    "torchvision": "train",
    "imagecodecs": "formats",
    "skimage": "metaphase",
    "pypdfium2": "metaphase",
    "mlflow": "mlflow",
    "openvino": "openvino",
    "ray": "ray",
}
#: What people call those that they would not know by that name.
_CALLED = {
    "torch": "PyTorch",
    "sklearn": "scikit-learn",
    "skimage": "scikit-image",
    "lightning_fabric": "Lightning Fabric",
    "ray": "Ray",
}

#: What a package looks for in the environment as it is imported. onnxruntime, from 1.31 on, and mlflow tell their
#: makers of the machine and of the program that runs them, unless they are told not to. mlflow would have a database,
#: and writes into a plain folder on request only.
_SET_BEFORE = {
    "onnxruntime": {"ORT_DISABLE_TELEMETRY": "1"},
    "mlflow": {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_ALLOW_FILE_STORE": "true"},
}


def need(module: str, extra: str | None = None) -> ModuleType:
    """Import ``module``; :class:`UserError` with the command that installs it where it is absent or broken.

    extra: the one to name, where that is not the one of :data:`EXTRAS`.
    """
    for name, value in _SET_BEFORE.get(module.partition(".")[0], {}).items():
        os.environ.setdefault(name, value)
    try:
        return importlib.import_module(module)
    except ImportError as fault:
        raise lacking(fault, extra) or fault from fault


@contextmanager
def asking() -> Iterator[None]:
    """Turn a failed import of what an extra brings into a :class:`UserError`; also a decorator."""
    try:
        yield
    except ImportError as fault:
        raise lacking(fault) or fault from fault


def is_installed(package: str) -> bool:
    """Whether ``package`` can be found; it is not imported."""
    from importlib.util import find_spec

    try:
        return find_spec(package) is not None
    except (ImportError, ValueError):
        return False


def lacking(fault: ImportError, extra: str | None = None) -> UserError | None:
    """Return the error that a failed import is to a user; None where it is of no package that an extra brings.

    extra: as :func:`need` has it.
    """
    package = (fault.name or "").partition(".")[0]
    brings = EXTRAS.get(package)
    if brings is None:
        return None
    name, remedy = _CALLED.get(package, package), f'Install it with: pip install "bandbridge[{extra or brings}]"'
    if isinstance(fault, ModuleNotFoundError):
        return UserError(f"this needs {name}, which is not installed here", remedy)
    return UserError(f"this needs {name}, which cannot be imported: {fault}", remedy)
