"""Train each run on several devices of this machine: a process for each, through Lightning Fabric (DDP)."""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.queues import SimpleQueue
from typing import Any

from lightning_fabric import Fabric
from torch.multiprocessing.spawn import ProcessExitedException

from bandbridge.errors import EnvironmentFault, UserError
from bandbridge.model.device import keep_freed_memory
from bandbridge.processes import end_with_the_command, interrupts_held
from bandbridge.study.apart import Errand, portable
from bandbridge.study.execute import Executor, Training
from bandbridge.study.run import PlannedRun
from bandbridge.training.device import open_fabric
from bandbridge.training.loop import require_shares

# Every process imports this before Fabric gets to announce that it starts.
for _name in ("rank_zero", "distributed"):
    logging.getLogger(f"lightning_fabric.utilities.{_name}").setLevel(logging.WARNING)
# It would tell of the processes that are ended because another failed.
logging.getLogger("torch.multiprocessing.spawn").setLevel(logging.CRITICAL)

_POLL_S = 0.1
#: How long a process that fails with no message for the user waits before it says so. Where it failed because another
#: is gone, the launcher sees that one first, and ends this one meanwhile.
_PRECEDENCE_S = 3.0
#: What the launcher itself would read from the environment, or leave there for the next training.
_RENDEZVOUS = ("MASTER_ADDR", "MASTER_PORT", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "WORLD_SIZE")

#: Called with each epoch's history entry.
Report = Callable[[dict[str, float]], None]


@dataclass
class ParallelExecutor(Executor):
    """Run after run as the local executor does it, each trained by as many processes as ``devices``.

    Runs, claims and messages stay with this process; the others train one run and end.
    """

    devices: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        multiprocessing.set_forkserver_preload([__name__])
        open_fabric(self.device, devices=self.devices)

    def train_here(self, run: PlannedRun, training: Training, report: Report) -> str | None:
        """As the local executor's; raises the error of whichever process fails, having ended all others."""
        require_shares(training.job, self.devices)
        fabric = open_fabric(self.device, run.record.precision, training.model, self.devices)
        errand = _OneRun(**vars(Errand.of(self)), run=run)
        # Made here, and not in the launching thread: it starts multiprocessing's tracker, which lets Ctrl-C through.
        mail = multiprocessing.get_context("spawn").SimpleQueue()
        return _Launch(fabric, self.devices, mail, report).carry_out(errand)


@dataclass(frozen=True)
class _OneRun(Errand):
    """What each of the processes of one training is given."""

    run: PlannedRun


@dataclass
class _Launch:
    """One training's processes, seen from the one that starts them. mail: epochs' entries, and errors, from them.

    A letter is far shorter than the 4 kB that a pipe takes in one piece, so one that is killed leaves no half of one.
    """

    fabric: Fabric
    devices: int
    mail: SimpleQueue[Any]
    report: Report
    fault: Exception | None = None

    def carry_out(self, errand: _OneRun) -> str | None:
        others = set(multiprocessing.active_children())
        with _own_rendezvous(), ThreadPoolExecutor(1, "launch") as thread:
            # The launcher waits for its processes; epochs and Ctrl-C are attended to meanwhile.
            result = thread.submit(_without_interrupts, self.fabric.launch, partial(_train, errand, self.mail))
            try:
                while not result.done():
                    self._read_mail()
                    time.sleep(_POLL_S)
            finally:
                _end_all(result, others)
        self._read_mail()
        if self.fault is not None:
            raise self.fault
        try:
            return result.result()
        except ProcessExitedException as lost:
            raise EnvironmentFault(
                f"the process of device {lost.error_index + 1} of {self.devices} was lost"
                + (f" ({lost.signal_name})" if lost.signal_name else ""),
                "Look at the memory of this machine; the same command goes on from the checkpoint.",
            ) from lost

    def _read_mail(self) -> None:
        """Report the epochs that are over, and keep the first error."""
        while not self.mail.empty():
            letter = self.mail.get()
            if isinstance(letter, dict):
                self.report(letter)
            else:
                self.fault = self.fault or letter


def _train(errand: _OneRun, mail: SimpleQueue[Any], fabric: Fabric) -> str | None:
    """One device's process: train its share; the first one's answer is the training's."""
    end_with_the_command()
    if fabric.device.type == "cpu":
        keep_freed_memory()
    try:
        executor = errand.executor()
        return executor.train_on(fabric, errand.run, executor.prepare(errand.run), mail.put)
    except UserError as error:
        mail.put(portable(error))
    except OSError as fault:
        mail.put(EnvironmentFault(str(fault), "Check that file, its permissions and the disk."))
    except Exception:
        time.sleep(_PRECEDENCE_S)
        mail.put(RuntimeError(f"device {fabric.global_rank + 1} failed:\n{traceback.format_exc()}"))
    sys.stderr.flush()
    # Without the usual clean-up, which waits for the other processes, and these for this one.
    os._exit(1)


def _without_interrupts(launch: Callable[..., Any], train: Callable[[Fabric], Any]) -> Any:
    with interrupts_held():
        return launch(train)


def _end_all(result: Future[Any], others: set[Any]) -> None:
    """End the processes of a launch that is not over, all but the ``others`` of this program."""
    while not result.done():
        for process in set(multiprocessing.active_children()) - others:
            process.kill()
        time.sleep(_POLL_S)


@contextmanager
def _own_rendezvous() -> Iterator[None]:
    """Let the launcher choose a free port of this machine, whatever the environment says; leave that as it was."""
    before = {name: os.environ.pop(name) for name in _RENDEZVOUS if name in os.environ}
    try:
        yield
    finally:
        for name in _RENDEZVOUS:
            os.environ.pop(name, None)
        os.environ.update(before)
