"""A study as a value to type with: plan it, run it, read what came out."""

from __future__ import annotations

import fnmatch
import html
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from bandbridge.api import DEFAULT_ARCHITECTURE, DEFAULT_RUNS, DEFAULT_SIZE
from bandbridge.api.tables import NamedTables
from bandbridge.dataset.findings import counted
from bandbridge.dataset.fold_notes import fold_sentences
from bandbridge.errors import EnvironmentFault, UserError
from bandbridge.extras import asking
from bandbridge.files import require_folder
from bandbridge.progress import Listener, format_duration, in_place, listening, note, status
from bandbridge.study import plan as planning
from bandbridge.study.ledger import Ledger, RunState
from bandbridge.study.run import PlannedRun, distinct
from bandbridge.study.tracking import Tracker, Tracking, open_tracking
from bandbridge.study.versions import other_versions

if TYPE_CHECKING:
    from bandbridge.report.caution import Caution
    from bandbridge.report.sections.blocks import Block
    from bandbridge.study.estimate import Estimate
    from bandbridge.study.execute import Executor, Outcome
    from bandbridge.study.side_by_side import Sharing


@dataclass(frozen=True, eq=False)
class Plan:
    """Every run of a study, parents first.

    table: a row for each with ``run`` (its name), ``id``, ``parent`` (name and id, "" without one), ``state`` (done,
    paused, failed or pending), ``epochs`` finished ``of_epochs``, and whether another study made it (``shared``).
    summary: how many there are, how many intermediate models cost nothing extra, and what to know before training.
    """

    table: pd.DataFrame
    summary: str

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        return self.summary

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(self.summary)}</p>" + self.table.to_html(index=False, max_rows=40)


@dataclass(frozen=True, eq=False, repr=False)
class Tables(NamedTables):
    """The tables of a study by name, each as the frame of its numbers at full precision.

    cautions: what to know before believing them. str() gives all as Markdown, the cautions first.
    """

    cautions: tuple[Caution, ...]
    markdown: str

    def __str__(self) -> str:
        return self.markdown


class Study:
    """A study file with its data and its plan.

    >>> study = Study.read("mine.yaml")
    >>> study
    Study('mine': 1 task, 1 architecture, 2 approaches, 2 of 2 folds, protocol strict; 6 runs: 6 done)
    >>> study.plan().table[["run", "state"]]
                               run state
    0  q/test_resnet/scratch/fold0  done
    1  g/test_resnet/scratch/fold0  done
    2   q/test_resnet/domain/fold0  done
    3  q/test_resnet/scratch/fold1  done
    4  g/test_resnet/scratch/fold1  done
    5   q/test_resnet/domain/fold1  done
    >>> study.run(max_time="1m").done  # all of it is done already
    []
    >>> study.tables()["folds"][["approach", "fold", "images"]].drop_duplicates().values.tolist()
    [['scratch', 0, 138], ['domain', 0, 138], ['scratch', 1, 46], ['domain', 1, 46]]
    >>> [caution.code for caution in study.cautions()]
    ['BB009', 'BB011', 'BB014']
    """

    def __init__(self, planned: planning.Study, data_dir: Path | None, runs: Path, weights_dir: Path | None) -> None:
        self._planned = planned
        self._data_dir, self._weights_dir = data_dir, weights_dir
        self._ledger = Ledger(runs)

    @classmethod
    @asking()
    def read(
        cls,
        path: str | Path,
        *,
        data_dir: str | Path | None = None,
        runs: str | Path = DEFAULT_RUNS,
        weights_dir: str | Path | None = None,
    ) -> Study:
        """Read the study file ``path``.

        ``data_dir`` holds the datasets that it names, ``runs`` all trainings of all studies, ``weights_dir`` ImageNet
        weights. Datasets that are not there are named by :attr:`missing_data`, and needed only to train. Raises
        :class:`UserError` for mistakes in the file and for broken datasets.
        """
        folder = None if data_dir is None else Path(data_dir)
        planned = planning.open_study(Path(path), folder, need_data=False)
        return cls(planned, folder, Path(runs), None if weights_dir is None else Path(weights_dir))

    @property
    def path(self) -> Path:
        """The study file."""
        return self._planned.path

    @property
    def name(self) -> str:
        """What the study file calls the study."""
        return self._planned.spec.name

    @property
    def missing_data(self) -> list[str]:
        """The datasets that were not found, as the study file names them; ids of their runs are provisional."""
        return self._planned.missing_data

    def __repr__(self) -> str:
        spec = self._planned.spec
        targets = sum(task.target for task in spec.tasks.values())
        parts = [
            counted(targets, "task"),
            counted(len(spec.architectures), "architecture"),
            counted(len(spec.approaches), "approach"),
            f"{len(spec.folds)} of {spec.split.folds} folds",
            f"protocol {spec.protocol}; {self._counts(self._planned.runs)}",
        ]
        return f"Study({spec.name!r}: {', '.join(parts)})"

    def _repr_html_(self) -> str:
        return f"<p><b>{html.escape(self.name)}</b>: {html.escape(repr(self))}</p>" + self.status().to_html(index=False)

    def select(self, only: str | None = None) -> list[PlannedRun]:
        """Return the runs whose names match ``only`` ("G/*/two-step/*"; None: all), with their parents, parents first.

        Raises :class:`UserError` when there is none.
        """
        if only is None:
            return list(self._planned.runs)
        chosen = [run for run in self._planned.runs if fnmatch.fnmatchcase(run.name, only)]
        if not chosen:
            example = self._planned.runs[-1].name
            raise UserError(
                f"no run of {self.path} is called {only!r}", f"Names look like {example!r}; * matches anything."
            )
        return planning.with_parents(chosen)

    def state(self, run: PlannedRun) -> RunState:
        """Return how far ``run`` has come."""
        return self._ledger.state(run)

    def plan(self, only: str | None = None) -> Plan:
        """Return every run (those named by ``only``), its parent and its state."""
        selected = self.select(only)
        rows = []
        for run in selected:
            state = self.state(run)
            rows.append(
                {
                    "run": run.name,
                    "id": run.id,
                    "parent": f"{run.parent.name} ({run.parent.id[:6]})" if run.parent else "",
                    "state": state.kind,
                    "epochs": state.epochs,
                    "of_epochs": run.record.recipe.epochs,
                    "shared": self._ledger.folder(run) != run.folder(self._ledger.root),
                }
            )
        return Plan(pd.DataFrame(rows), self._summary(selected))

    def _counts(self, runs: Sequence[PlannedRun]) -> str:
        states = Counter(self.state(run).kind for run in distinct(runs))
        found = ", ".join(f"{count} {kind}" for kind, count in sorted(states.items()))
        return f"{counted(states.total(), 'run')}: {found}"

    def _summary(self, selected: Sequence[PlannedRun]) -> str:
        parents = {run.parent.id for run in selected if run.parent}
        targets = {run.id for run in selected if run.predicts and self._planned.tasks[run.task].spec.target}
        shared = len(parents & targets)
        lines = [self._counts(selected)]
        if parents:
            own = "all" if shared == len(parents) else f"{shared}" if shared else "none"
            lines.append(f"of the {len(parents)} intermediate models, {own} are runs that the study needs anyway")
        more = [*self._otherwise_prepared(selected), *self._unsuited_sizes(selected)]
        more += [text] if (text := other_versions(selected, self._ledger, self._planned.tasks)) else []
        return "\n".join([*lines, *self._folds_in_words(), *more])

    def _unsuited_sizes(self, selected: Sequence[PlannedRun]) -> list[str]:
        """Say which architectures see images of this size elsewhere than their weights learned to."""
        from bandbridge.model.padding import size_note

        begun = [run for run in distinct(selected) if run.record.init.kind == "imagenet"]
        waiting = dict.fromkeys(run.architecture for run in begun if self.state(run).kind != "done")
        notes = (size_note(self._planned.architectures[name], self._planned.spec.image_size) for name in waiting)
        return [note_ for note_ in notes if note_]

    def _folds_in_words(self) -> list[str]:
        """Say of each task that is scored where its folds are uneven, and which classes a fold never trains."""
        return [
            f"{task.name}: {text}"
            for task in self._planned.tasks.values()
            if task.spec.target and task.split is not None and task.dataset is not None
            for text in fold_sentences(task.split, task.dataset.samples)
        ]

    def _otherwise_prepared(self, selected: Sequence[PlannedRun]) -> list[str]:
        """Say which runs would be trained again for another preparation of the images, so that nobody is surprised."""
        waiting = [run for run in distinct(selected) if self.state(run).kind != "done"]
        found = [folder for run in waiting if (folder := self._ledger.otherwise_prepared(run)) is not None]
        if not found:
            return []
        few = ", ".join(folder.relative_to(self._ledger.root).as_posix() for folder in found[:3])
        one, theirs = len(found) == 1, sorted({_preparation_of(folder) for folder in found})
        return [
            f"{counted(len(found), 'run')} that {'is' if one else 'are'} finished differ{'s' * one} from these in the "
            f"preparation of the images alone and will not be used: {few}{', ...' * (len(found) > 3)}; to keep to "
            f"{'it' if one else 'them'}, write preparation: {' or '.join(theirs)}"
        ]

    def status(self, only: str | None = None) -> pd.DataFrame:
        """Return how many runs of each task and approach are done, paused, failed and pending."""
        kinds = ("done", "paused", "failed", "pending")
        counts: dict[tuple[str, str], Counter[str]] = {}
        for run in self.select(only):
            counts.setdefault((run.task, run.approach), Counter())[self.state(run).kind] += 1
        rows = [(*key, *(found[kind] for kind in kinds)) for key, found in counts.items()]
        return pd.DataFrame(rows, columns=["task", "approach", *kinds])

    def run(
        self,
        max_time: str | float | None = None,
        *,
        only: str | None = None,
        device: str = "auto",
        skip_unavailable: bool = False,
        jobs: int | None = None,
        threads_per_run: int | None = None,
        devices_per_run: int = 1,
        ray: Any = None,
        mlflow: str | Path | None = None,
        progress: Listener = False,
        confirm: Callable[[str], bool] | None = None,
    ) -> Outcome:
        """Train whatever is not done yet; the same call goes on after any interruption.

        max_time: no epoch is begun after this ("90s", "9m", "2h", or seconds). only: as of :meth:`select`. device:
        "auto", "cpu", "cuda" or "mps". skip_unavailable: leave runs out whose ImageNet weights cannot be had.
        jobs: runs side by side, each in a process of its own; unless given, on a CPU as many as there are cores that
        this process may use and memory for them, on a GPU one. threads_per_run: torch threads of each; unless given,
        one, or more where fewer runs than cores can go at once. The predictions do not depend on ``jobs``; by
        floating-point order they do on ``threads_per_run``, so a run that goes on keeps the threads it was begun with.
        devices_per_run: GPUs that share each batch of a run. ray: a :class:`bandbridge.study.ray_executor.Cluster` to
        train on. mlflow: a folder in which MLflow shows every epoch, and what was finished before too, in an experiment
        of the study's name; nothing is there twice, however often the call goes on. progress: True for a display on the
        console, or a function of a :class:`bandbridge.progress.Step`. confirm: asked, with what has changed, where
        finished runs belong to another version of a set, or differ in the preparation alone, and would be trained anew;
        None: they are, and it is said.

        Raises :class:`UserError` for what is missing before anything is trained, where ``confirm`` says no, and for
        runs that failed after all others are done.
        """
        limit = None if max_time is None else parse_duration(max_time)
        deadline = None if limit is None else time.monotonic() + limit
        astray = self._data_dir is not None and not self._data_dir.is_dir()
        if self._planned.missing_data or astray:
            self._planned = planning.open_study(self.path, self._data_dir)
        selected, started = self.select(only), time.monotonic()
        with listening(progress):
            tracking = None if mlflow is None else open_tracking(mlflow, self.name)
            executor = self._executor("cpu" if ray else device, deadline, devices_per_run, tracking)
            if skip_unavailable:
                selected = executor.available(selected)
            else:
                executor.require_weights(selected)
            states = [executor.ledger.state(run).kind for run in distinct(selected)]
            sharing = None
            if ray is None and devices_per_run == 1:
                from bandbridge.study.side_by_side import share_out

                sharing = share_out(selected, device, jobs, threads_per_run)
            shared = f"; {sharing}" if sharing and states.count("done") < len(states) else ""
            note(f"{counted(len(states), 'run')}, {states.count('done')} of them done{shared}")
            for line in time_limit(limit):
                note(line)
            self._ask(selected, confirm)
            with status("preparing") as update:
                executor.show, executor.live = update, update if in_place() else None
                outcome = self._carry_out(executor, selected, sharing, ray)
                Tracker(tracking, note).show_finished(distinct(selected), executor.ledger)
            for line in _in_words(outcome, time.monotonic() - started):
                note(line)
        if outcome.failed:
            # A wrong request is for the user to correct, whatever else the machine failed in.
            wrong = any(error.exit_code == UserError.exit_code for error in outcome.failed.values())
            raise (UserError if wrong else EnvironmentFault)(
                f"{counted(len(outcome.failed), 'run')} failed: {', '.join(outcome.failed)}",
                "bandbridge study status says why; the same command tries them again.",
            )
        return outcome

    def _ask(self, selected: Sequence[PlannedRun], confirm: Callable[[str], bool] | None) -> None:
        reasons = [*self._otherwise_prepared(selected), other_versions(selected, self._ledger, self._planned.tasks)]
        found = ".\n".join(reason for reason in reasons if reason)
        if not found:
            return
        if confirm is None:
            note(found)
        elif not confirm(found):
            raise UserError("nothing was trained", f"{found[:1].upper()}{found[1:]}; or add --yes to train anew.")

    def estimate(
        self,
        only: str | None = None,
        device: str = "auto",
        devices: int = 1,
        runs_per_device: int = 1,
        cpus_per_run: int | None = None,
        jobs: int | None = None,
        threads_per_run: int | None = None,
    ) -> Estimate:
        """Return how long the pending runs will take: here, as :meth:`run` trains them, or on a Ray cluster.

        jobs, threads_per_run: as of :meth:`run`. Where ``devices``, ``runs_per_device`` or ``cpus_per_run`` are given,
        the time is that of Ray on so many devices like this machine's. Speeds come from finished runs; one that none of
        them tells is measured.
        """
        import torch

        from bandbridge.study.estimate import estimate
        from bandbridge.study.side_by_side import share_out, starting_order

        selected = self.select(only)
        pending = [run for run in selected if self.state(run).kind != "done"]
        if cpus_per_run or devices > 1 or runs_per_device > 1:
            torch.set_num_threads(cpus_per_run or 1)
            return estimate(self._planned, pending, self._ledger, device, devices, runs_per_device)
        sharing = share_out(selected, device, jobs, threads_per_run)
        ranks = starting_order(distinct(pending), self._planned)
        if sharing.threads is not None:
            torch.set_num_threads(sharing.threads)
        # On a CPU the cores are divided; what shares a GPU takes it from the others.
        places = (sharing.jobs, 1) if sharing.divides_cores else (1, sharing.jobs)
        result = estimate(self._planned, pending, self._ledger, device, *places, ranks)
        return replace(result, sharing=sharing)

    def _executor(self, device: str, deadline: float | None, devices: int, tracking: Tracking | None) -> Executor:
        arguments = (self._planned, self._ledger.root, device, self._weights_dir, deadline)
        self._keep_given()
        if devices > 1:
            from bandbridge.study.parallel import ParallelExecutor

            return ParallelExecutor(*arguments, devices=devices, tracking=tracking)
        from bandbridge.study.execute import Executor

        return Executor(*arguments, tracking=tracking)

    def _keep_given(self) -> None:
        """Keep beside the runs what the models from elsewhere that they start from were trained on."""
        from bandbridge.predict.trained_on import keep_trained_on, read_trained_on

        given = {run.given.identity: run.given.folder for run in self._planned.runs if run.given is not None}
        for identity, folder in given.items():
            keep_trained_on(read_trained_on(folder), self._ledger.root, identity)

    def _carry_out(
        self, executor: Executor, selected: Sequence[PlannedRun], sharing: Sharing | None, ray: Any
    ) -> Outcome:
        if ray is not None:
            from bandbridge.study.ray_executor import run_on_ray

            # The devices are the cluster's; this machine only prepares images and watches.
            return run_on_ray(executor, selected, ray)
        if sharing is None:
            from bandbridge.study.rounds import in_rounds

            return in_rounds(executor, selected, executor.run)
        from bandbridge.study.side_by_side import run_shared

        return run_shared(executor, selected, sharing)

    def tables(self, out: str | Path | None = None) -> Tables:
        """Return the tables of the study, computed from the predictions of its finished runs.

        With ``out`` they are written there too, as Markdown, CSV and LaTeX, with the figures. Raises
        :class:`UserError` when no run is finished.
        """
        from bandbridge.report.study import study_tables

        if not any(run.predicts and self.state(run).kind == "done" for run in self._planned.runs):
            remedy = "Train with bandbridge study run, or name the folder of the runs with --runs."
            raise UserError(f"{self._ledger.root} holds no finished run of {self.path}", remedy)
        made = study_tables(self._planned, self._ledger.root, None if out is None else Path(out))
        return Tables(made.tables, made.cautions, made.markdown)

    def cautions(self) -> list[Caution]:
        """Return what to know before believing the study's numbers, the serious first; each has a stable code."""
        from bandbridge.report.study import study_cautions

        return study_cautions(self._planned, self._ledger.root)

    def report(
        self,
        out: str | Path | None = None,
        *,
        cases: bool = True,
        attention: bool = True,
        limit: int = 3,
        similarity: bool = True,
        architecture: str = DEFAULT_ARCHITECTURE,
        natural: str | Path | None = None,
        seed: int = 0,
        device: str = "auto",
        progress: Listener = False,
    ) -> Path:
        """Write the study as one page for a browser, its tables and figures beside it, and return the page's path.

        out: folder, results/<name> by default. cases, attention: look through the classifiers' eyes; limit: cases of
        each kind. similarity: compare the domains by the ImageNet model ``architecture``, also with ``natural`` images.
        """
        from bandbridge.report.content import gather
        from bandbridge.report.html import write_report
        from bandbridge.report.sections.blocks import Wishes
        from bandbridge.report.sections.repetition import study_commands

        domains = partial(self._domains, architecture, None if natural is None else Path(natural), seed, device)
        wishes = Wishes(
            cases=cases,
            attention=attention,
            limit=limit,
            seed=seed,
            device=device,
            domains=domains if similarity else None,
            commands=study_commands(self.path, self._data_dir, self._weights_dir),
        )
        folder = Path(out) if out is not None else Path("results") / self.name
        require_folder(folder)
        with listening(progress):
            return write_report(gather(self._planned, self._ledger.root, wishes), folder)

    def _domains(self, architecture: str, natural: Path | None, seed: int, device: str) -> list[Block]:
        from bandbridge.domains.distance import Resampling
        from bandbridge.domains.embeddings import open_extractor
        from bandbridge.model.architectures import find_architecture
        from bandbridge.report.sections.domains import domain_blocks

        extractor = open_extractor(find_architecture(architecture), DEFAULT_SIZE, self._weights_dir, device)
        resampling = Resampling(seed=seed)
        return domain_blocks(self._planned, self._ledger.root, extractor, DEFAULT_SIZE, resampling, natural)


def _preparation_of(folder: Path) -> str:
    """What the study file of the finished run in ``folder`` said of preparation."""
    from bandbridge.dataset.prepare import Preparation, described
    from bandbridge.seal import read_run

    record = read_run(folder).get("record", {})
    try:
        return described(Preparation.model_validate(record["preparation"]))
    except (KeyError, TypeError, ValueError):
        return "what was stated there"


def _in_words(outcome: Outcome, seconds: float) -> Iterator[str]:
    yield f"{counted(len(outcome.done), 'run')} finished in {format_duration(seconds)}"
    yield from (f"left to another process: {name}" for name in outcome.elsewhere)
    yield from (f"waiting for its parent: {name}" for name in outcome.waiting)
    if outcome.out_of_time:
        yield "stopped at the time limit; the same command goes on"
        if not outcome.epochs:
            yield "not one epoch fitted into it: give more time"


def time_limit(seconds: float | None) -> list[str]:
    """Return a line that says how long is worked at most, none without a limit: a number alone is easily misread."""
    if seconds is None:
        return []
    whole = seconds >= 120 and seconds % 60 == 0  # a limit is told as it is; an estimate may be rounded
    limit = format_duration(seconds) if whole else f"{seconds:g} s"
    return [f"the time limit is {limit}: no epoch is begun that is expected to end later"]


def parse_duration(duration: str | float) -> float:
    """Return seconds from "90s", "9m", "2h", a plain number of minutes as text, or seconds as a number.

    Raises :class:`UserError` for anything else.
    """
    if isinstance(duration, int | float):
        return float(duration)
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smh]?)\s*", duration)
    if not match:
        raise UserError(
            f"--max-time {duration!r} is not a duration", "Write 90s, 9m or 2h; 9 alone is 9 minutes. Or leave it out."
        )
    units: dict[str, Literal[1, 60, 3600]] = {"s": 1, "m": 60, "h": 3600, "": 60}
    return float(match[1]) * units[match[2]]
