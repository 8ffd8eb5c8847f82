"""Train as many runs at a time as this machine's cores and memory allow, a process for each, children after parents.

Every run is carried out as the local executor does it, by a process that makes it and ends: predictions are the same
to the byte however many go side by side, at equal threads.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import traceback
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import lru_cache, partial
from multiprocessing.process import BaseProcess
from pathlib import Path

from bandbridge.dataset.findings import counted
from bandbridge.errors import EnvironmentFault, UserError
from bandbridge.machine import available_memory, let_threads_sleep, usable_cores
from bandbridge.model.architectures import find_architecture
from bandbridge.model.complexity import macs_at
from bandbridge.model.device import find_device
from bandbridge.processes import end_with_the_command, interrupts_held, without_main
from bandbridge.study.apart import Errand, Report, Watch, portable
from bandbridge.study.execute import Clock, Executor, Outcome, Work
from bandbridge.study.ledger import CHECKPOINT
from bandbridge.study.rounds import in_rounds
from bandbridge.study.run import PlannedRun, distinct
from bandbridge.study.schedule import longest_chain_first, most_at_once
from bandbridge.training.memory import training_memory
from bandbridge.training.recipe import Recipe

_POLL_S = 0.25
#: How often a run is begun again whose process was lost; the last time it has the machine for itself.
MAX_RETRIES = 2
#: Share of the available memory that is left alone.
_SPARE = 0.1


@dataclass(frozen=True)
class Sharing:
    """How runs share this machine. jobs: trained at a time. threads: torch threads of each; None: as torch has it.

    divides_cores: each has cores of its own; not so on a GPU.
    """

    jobs: int
    threads: int | None
    divides_cores: bool = True

    def __str__(self) -> str:
        threads = "" if self.threads is None else f", {self.threads} thread{'s' * (self.threads > 1)} each"
        return ("one run at a time" if self.jobs == 1 else f"{self.jobs} runs side by side") + threads


def share_out(
    runs: Sequence[PlannedRun], device: str = "auto", jobs: int | None = None, threads: int | None = None
) -> Sharing:
    """Divide this machine among ``runs``, done ones too, so that a study that goes on is divided as before.

    Unless told, on a CPU: as many as there are cores that this process may use, each of one thread; where fewer can go
    at once, the cores divided by these. ``OMP_NUM_THREADS`` counts as ``threads``. On a GPU: one, for that is all that
    was measured. Raises :class:`UserError` for a device that is not there, and for several threads of each run where
    there are not so many cores.
    """
    at_once = most_at_once(_parents(distinct(runs)))
    if find_device(device).type != "cpu":
        return Sharing(min(jobs or 1, at_once), threads, divides_cores=False)
    cores = usable_cores()
    asked, threads = threads, threads or min(_threads_of_environment(), cores)
    jobs = min(jobs or max(1, cores // (threads or 1)), at_once)
    if asked and asked > 1 and jobs * asked > cores:
        raise UserError(
            f"{counted(jobs, 'run')} of {asked} threads at a time want {jobs * asked} cores, and there are {cores}: "
            "threads that have no core of their own hold up the others",
            "Give fewer --jobs or --threads-per-run.",
        )
    return Sharing(jobs, threads or max(1, cores // jobs))


def _threads_of_environment() -> int:
    """What ``OMP_NUM_THREADS`` asks for; 0 where it asks for nothing."""
    # Of a list, one number for each level of nesting, the first is that of the outermost.
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(first) if first.isdecimal() else 0


def _parents(runs: Sequence[PlannedRun]) -> list[int | None]:
    position = {run.id: index for index, run in enumerate(runs)}
    return [position.get(run.parent.id) if run.parent else None for run in runs]


def starting_order(runs: Sequence[PlannedRun], study: Work) -> list[int]:
    """Return the rank of each of ``runs`` in which they are begun, 0 first: fold by fold, the longest chain first.

    Fold by fold, so that a study stopped early holds complete comparisons. The length of a run is its work: epochs
    times images times the multiply-accumulates of one.
    """
    folds = [run.fold for run in runs]
    # A run on all rows goes with the first of its children.
    place = {fold: number for number, fold in enumerate(dict.fromkeys(fold for fold in folds if fold is not None))}
    last = len(place)
    weights = [run.record.recipe.epochs * _images(run, study) * _macs(run) for run in runs]
    return longest_chain_first(weights, _parents(runs), [last if fold is None else place[fold] for fold in folds])


def _images(run: PlannedRun, study: Work) -> int:
    data = study.tasks[run.task]
    if data.dataset is None:
        return 1
    recipe = run.record.recipe
    return recipe.views * len(data.rows(run.record.fold, data.dataset.samples, recipe.objective)[0])


def _macs(run: PlannedRun) -> int:
    try:
        return macs_at(find_architecture(run.record.architecture), run.record.preparation.size)
    except UserError:  # the run itself says what is wrong
        return 1


@dataclass
class _Place:
    """A run in training: the pool of the one process that does it, what was asked of it, what it takes."""

    run: PlannedRun
    pool: ProcessPoolExecutor
    future: Future[Report]
    processes: list[BaseProcess]
    threads: int
    memory: int


def run_shared(executor: Executor, runs: Sequence[PlannedRun], sharing: Sharing) -> Outcome:
    """Carry out ``runs``, given parents first: run after run in this process where ``sharing`` has one job.

    Runs that another process holds are waited for, and gone on with where it leaves them.
    """
    executor.threads = sharing.threads
    return in_rounds(
        executor, runs, executor.run if sharing.jobs == 1 else partial(run_side_by_side, executor, sharing=sharing)
    )


def run_side_by_side(executor: Executor, runs: Sequence[PlannedRun], sharing: Sharing) -> Outcome:
    """Carry out ``runs``, given parents first; files and outcome are as of ``executor.run``.

    ``executor`` prepares the images, shows the epochs and keeps the deadline. A process that is killed is replaced, and
    its run goes on from its checkpoint. Raises what stops all runs, having ended all processes, as Ctrl-C does.
    """
    pending = [run for run in distinct(runs) if executor.ledger.state(run).kind != "done"]
    if not pending:
        return Outcome()
    executor.threads = sharing.threads
    let_threads_sleep()
    # A new process then has everything imported already, and is there at once.
    multiprocessing.set_forkserver_preload([__name__])
    return _Yard(executor, pending, sharing).work()


class _Yard:
    """The runs that are left and those in training, seen from the process that starts them."""

    def __init__(self, executor: Executor, pending: Sequence[PlannedRun], sharing: Sharing) -> None:
        self.executor, self.sharing = executor, sharing
        ranks = starting_order(pending, executor.study)
        self.watch = Watch(executor, pending, sharing.jobs, ranks)
        self.left = [run for _, run in sorted(zip(ranks, pending, strict=True), key=lambda pair: pair[0])]
        self.places: list[_Place] = []
        self.lost: Counter[str] = Counter()
        self.context = multiprocessing.get_context("forkserver" if _has_forkserver() else "spawn")
        # A device without cores of its own to divide is shared as it is asked for.
        self.cores = sharing.jobs * (sharing.threads or 1)
        self.on_cpu = find_device(executor.device).type == "cpu"

    def work(self) -> Outcome:
        for run in self.left:  # once, and here: no two processes prepare the same images
            self.executor.store(run.task)
        errand = Errand.of(self.executor)
        try:
            while True:
                self._begin(errand)
                if not self.places:
                    return self.watch.outcome
                wait([place.future for place in self.places], _POLL_S, FIRST_COMPLETED)
                self.watch.show_epochs(place.run for place in self.places)
                for place in [place for place in self.places if place.future.done()]:
                    self.places.remove(place)
                    self._take(place)
        finally:
            for place in self.places:  # after Ctrl-C or a fault; a run that is ended goes on from its checkpoint
                for process in place.processes:
                    process.kill()
                place.pool.shutdown(cancel_futures=True)

    def _begin(self, errand: Errand) -> None:
        """Begin whatever can be begun now; put away what cannot be begun any more."""
        if self.watch.outcome.out_of_time:
            self.left.clear()
        under_way = {run.id for run in self.left} | {place.run.id for place in self.places}
        for run in list(self.left):
            if len(self.places) >= self.sharing.jobs:
                return
            if run.parent is not None:
                if run.parent.id in under_way:
                    continue
                if self.executor.ledger.state(run.parent).kind != "done":
                    self.left.remove(run)
                    under_way.discard(run.id)
                    self.watch.wait_for_parent(run)
                    continue
            threads, memory = self.executor.threads_of(run) or 1, _memory(run) if self.on_cpu else 0
            if self._has_room(run, threads, memory):
                self.left.remove(run)
                self.places.append(self._start(errand, run, threads, memory))
            elif self.lost[run.id]:
                return  # its turn comes before that of others

    def _has_room(self, run: PlannedRun, threads: int, memory: int) -> bool:
        if not self.places:
            return True
        alone = any(self.lost[each.id] >= MAX_RETRIES for each in (run, *(place.run for place in self.places)))
        if alone or sum(place.threads for place in self.places) + threads > self.cores:
            return False
        # Those that have just begun have yet to take what they will.
        free = available_memory()
        return free is None or memory <= (1 - _SPARE) * free - sum(_still_to_take(place) for place in self.places)

    def _start(self, errand: Errand, run: PlannedRun, threads: int, memory: int) -> _Place:
        # The pool first: it starts multiprocessing's tracker, which would let Ctrl-C through.
        pool = ProcessPoolExecutor(1, mp_context=self.context, initializer=end_with_the_command)
        before = set(multiprocessing.active_children())
        with interrupts_held(), without_main():
            future = pool.submit(_carry_out, errand, run, self.watch.labels[run.id])
        processes = [process for process in multiprocessing.active_children() if process not in before]
        return _Place(run, pool, future, processes, threads, memory)

    def _take(self, place: _Place) -> None:
        run = place.run
        try:
            report = place.future.result()
        except BrokenProcessPool:
            self._lose(run)
        else:
            self.watch.take(run, report)
        finally:
            # To its end: Python's own clean-up at exit, which meets the thread of a pool as it closes its pipe, prints
            # a traceback.
            place.pool.shutdown()

    def _lose(self, run: PlannedRun) -> None:
        """Begin ``run`` again from its checkpoint, the last time with nothing beside it; then give it up."""
        self.lost[run.id] += 1
        if self.lost[run.id] > MAX_RETRIES:
            error = EnvironmentFault(
                f"its process was lost {self.lost[run.id]} times",
                "Look at the memory of this machine; the same command goes on from the checkpoint.",
            )
            self.watch.fail(run, error)
            return
        kept = (self.executor.ledger.folder(run) / CHECKPOINT).exists()
        how = "goes on from its checkpoint" if kept else "begins anew, for it had no checkpoint yet"
        alone = ", with the machine to itself" if self.lost[run.id] == MAX_RETRIES else ""
        self.executor.say(f"{self.watch.labels[run.id]}: its process was lost; it {how}{alone}")
        self.left.insert(0, run)


def _has_forkserver() -> bool:
    return "forkserver" in multiprocessing.get_all_start_methods()


def _memory(run: PlannedRun) -> int:
    """Bytes that ``run`` takes, roughly; 0 where that cannot be told."""
    return _memory_of(run.record.architecture, run.record.preparation.size, run.record.recipe.model_dump_json())


@lru_cache(maxsize=256)
def _memory_of(architecture: str, size: int, recipe: str) -> int:
    try:
        return training_memory(find_architecture(architecture), 24, size, Recipe.model_validate_json(recipe)) or 0
    except UserError:  # the run itself says what is wrong
        return 0


def _still_to_take(place: _Place) -> int:
    taken = sum(_resident(process.pid) for process in place.processes)
    return max(0, place.memory - taken)


def _resident(pid: int | None) -> int:
    """Bytes of memory that process ``pid`` holds; 0 where the system does not say."""
    if sys.platform == "win32":
        return 0
    try:
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def _carry_out(errand: Errand, run: PlannedRun, label: str) -> Report:
    """Train ``run`` in this process, as the local executor would."""
    report = Report(Outcome())
    try:
        executor = errand.executor(report.lines.append)
        executor.carry_out(run, label, Clock([run], executor.ledger), report.outcome)
    except UserError as error:
        report.fault = portable(error)
    except OSError as fault:
        report.fault = EnvironmentFault(str(fault), "Check that file, its permissions and the disk.")
    except MemoryError:
        report.fault = EnvironmentFault(f"{run.name}: out of memory", "Use fewer --jobs, smaller images or batches.")
    except Exception as fault:
        # Not every exception survives the way back; its story does.
        raise RuntimeError(f"{label} failed:\n{traceback.format_exc()}") from fault
    report.outcome.failed = {name: portable(error) for name, error in report.outcome.failed.items()}
    return report
