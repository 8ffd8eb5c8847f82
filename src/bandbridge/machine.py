"""What this machine grants to this process: cores and memory, whatever else it may have, and beside what others run."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

from bandbridge.errors import UserError

#: Kinds of device; auto is a GPU where there is one.
DEVICES = ("auto", "cpu", "cuda", "mps")


def usable_cores() -> int:
    """Return how many cores this process may keep busy: by its affinity, its control group and SLURM, at least 1.

    SLURM does not confine a job to its cores everywhere, and says what it grants in ``SLURM_CPUS_PER_TASK`` or, without
    that, ``SLURM_CPUS_ON_NODE``. ``LOKY_MAX_CPU_COUNT`` in the environment lowers it, as everywhere that joblib counts.
    """
    from joblib import cpu_count

    granted = os.environ.get("SLURM_CPUS_PER_TASK") or os.environ.get("SLURM_CPUS_ON_NODE") or ""
    cores = int(cpu_count())
    return max(1, min(cores, int(granted))) if granted.isdecimal() else cores


def sees_gpu() -> bool:
    """Whether the system's CUDA driver sees a GPU that this process may use; nothing large is loaded to find out."""
    for name in ("libcuda.so.1", "nvcuda.dll"):
        try:
            driver, count = ctypes.CDLL(name), ctypes.c_int()
            return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0
        except (OSError, AttributeError):
            continue
    return False


def require_device(name: str) -> None:
    """Raise :class:`UserError` unless ``name`` is that of a kind of device."""
    if name not in DEVICES:
        raise UserError(f"there is no device {name!r}", "Use --device auto, cpu, cuda or mps.")


def let_threads_sleep() -> None:
    """Let the threads of a training that wait for others soon sleep, and not spin; for processes yet to load torch.

    Spinning threads hold the cores that the awaited ones need as soon as anything else runs on the machine; asleep at
    once they are slow to wake. So many turns were the best of both (``benchmarks/neighbour.py``; docs/scaling.md).
    ``OMP_WAIT_POLICY`` or ``GOMP_SPINCOUNT`` in the environment say otherwise where they are set.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def available_memory(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Return the bytes that programs may still take here without swapping; None where the system does not say.

    That is what Linux calls available, or less where a control group (a container, a job of a cluster) grants less.
    proc, groups: where Linux shows its facts.
    """
    found = [_available(proc), *(most - used for most, used in _granted(proc, groups))]
    known = [each for each in found if each is not None]
    return max(0, min(known)) if known else None


def _available(proc: Path) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        for line in (proc / "meminfo").read_text(encoding="utf-8").splitlines():
            name, _, amount = line.partition(":")
            if name == "MemAvailable":
                return int(amount.split()[0]) * 1024
    return None


def _granted(proc: Path, groups: Path) -> Iterator[tuple[int, int]]:
    """Yield (limit, in use), bytes, of each control group that this process is in, outer ones too.

    Cached files count as used there, and are given up when memory is asked for: they are taken off.
    """
    with contextlib.suppress(OSError):
        for line in (proc / "self" / "cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, name = line.split(":", 2)
            if controllers and "memory" not in controllers.split(","):
                continue
            first = "memory" if controllers else ""
            limit, usage, cached = (
                ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
                if controllers
                else ("memory.max", "memory.current", "inactive_file")
            )
            inner = groups / first / name.lstrip("/")
            for folder in (inner, *inner.parents):
                if not folder.is_relative_to(groups):
                    break
                with contextlib.suppress(OSError, ValueError, IndexError):
                    facts = dict(
                        pair.split() for pair in (folder / "memory.stat").read_text(encoding="utf-8").splitlines()
                    )
                    most = int((folder / limit).read_text(encoding="utf-8"))  # "max" is no number: no limit
                    yield most, int((folder / usage).read_text(encoding="utf-8")) - int(facts.get(cached, 0))
