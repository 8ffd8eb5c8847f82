"""``bandbridge study``: plan, run, status, tables and split of a study file."""

from __future__ import annotations

import fnmatch
import re
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bandbridge.cli.explain import attention
from bandbridge.cli.similarity import DEFAULT_ARCHITECTURE, DEFAULT_SIZE
from bandbridge.dataset.findings import counted
from bandbridge.errors import EnvironmentFault, UserError, in_one_line
from bandbridge.progress import console, format_duration, note

if TYPE_CHECKING:
    from collections.abc import Callable

    from bandbridge.report.sections.blocks import Block
    from bandbridge.study.estimate import Estimate
    from bandbridge.study.execute import Outcome
    from bandbridge.study.plan import Study
    from bandbridge.study.run import PlannedRun

app = typer.Typer(
    help="A study: compare training approaches over tasks, architectures and folds.", no_args_is_help=True
)

app.command()(attention)

StudyFile = Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="The study file.")]
DataDir = Annotated[
    Path | None,
    typer.Option(help="Folder of the datasets named in the study file.", envvar="BANDBRIDGE_DATA"),
]
WeightsDir = Annotated[
    Path | None,
    typer.Option(help="Folder of ImageNet weights, <timm name>.safetensors.", envvar="BANDBRIDGE_WEIGHTS"),
]
Runs = Annotated[Path, typer.Option(help="Folder of all runs, shared by all studies.", envvar="BANDBRIDGE_RUNS")]
Only = Annotated[
    str | None, typer.Option(help="Select runs by name, such as 'G/*/two-step/*'; their parents come along.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
_DEFAULT_RUNS = Path("runs")


@app.command()
def plan(
    study_file: StudyFile,
    data_dir: DataDir = None,
    runs: Runs = _DEFAULT_RUNS,
    only: Only = None,
    device: Device = "auto",
    estimate: Annotated[bool, typer.Option(help="Measure the speed and estimate the time left.")] = True,
    devices: Annotated[
        int, typer.Option(min=1, help="Estimate the time on so many devices like this machine's, with --executor ray.")
    ] = 1,
    runs_per_device: Annotated[
        int, typer.Option(min=1, help="Runs side by side on one device, as of --gpus-per-run 1/K.")
    ] = 1,
    cpus_per_run: Annotated[
        int | None,
        typer.Option(min=1, help="Torch threads of a run; all cores for run after run, else 1, unless given."),
    ] = None,
) -> None:
    """Print every run with its parent and state, how many are shared, and how long the rest will take."""
    from rich.console import Console
    from rich.table import Table

    from bandbridge.study.ledger import Ledger

    study, selected = _open(study_file, data_dir, only, need_data=False)
    ledger = Ledger(runs)
    table = Table("run", "id", "parent", "state", box=None, header_style="bold")
    for run in selected:
        parent = f"{run.parent.name} ({run.parent.id[:6]})" if run.parent else "–"
        table.add_row(run.name, run.id, parent, _state_text(ledger, run))
    # A pipe has no width: let the lines be as long as they are.
    console = Console(width=None if Console().is_terminal else 200)
    console.print(table)
    typer.echo(_plan_summary(study, selected, ledger))
    for dataset in study.missing_data:
        note(f"dataset {dataset} is not here: its run ids are provisional")
    pending = [run for run in selected if ledger.state(run).kind != "done"]
    if estimate and pending:
        import torch

        from bandbridge.study.estimate import estimate as estimate_time

        note("estimating the time; a speed that no finished run tells is measured (--no-estimate leaves this out)")
        alone = devices == runs_per_device == 1
        if cpus_per_run or not alone:
            torch.set_num_threads(cpus_per_run or 1)
        result = estimate_time(study, pending, ledger, device, devices, runs_per_device)
        if alone:
            typer.echo(f"Time left on this machine: about {format_duration(result.makespan)}")
        else:
            typer.echo(_wall_time(result, devices, runs_per_device))
        for architecture, rate in result.rates.items():
            typer.echo(f"  {architecture}: {rate.images_per_second:.3g} images/s, {rate.source}")


@app.command("run")
def run_(
    study_file: StudyFile,
    data_dir: DataDir = None,
    weights_dir: WeightsDir = None,
    runs: Runs = _DEFAULT_RUNS,
    only: Only = None,
    max_time: Annotated[
        str | None, typer.Option(help="Stop cleanly before this much time is over: 90s, 9m or 2h.")
    ] = None,
    device: Device = "auto",
    skip_unavailable: Annotated[
        bool, typer.Option(help="Leave out the runs whose ImageNet weights cannot be had, instead of stopping.")
    ] = False,
    executor_kind: Annotated[
        Literal["local", "ray"],
        typer.Option(
            "--executor", help="local: run after run, here. ray: on a Ray cluster; pip install 'bandbridge[ray]'."
        ),
    ] = "local",
    address: Annotated[
        str,
        typer.Option(help="Of the Ray cluster: auto (one that runs, else a new one), local (a new one), host:port."),
    ] = "auto",
    cpus_per_run: Annotated[int, typer.Option(min=1, help="Cores, and torch threads, of a run on Ray.")] = 1,
    gpus_per_run: Annotated[float, typer.Option(min=0.01, help="Share of a GPU of a run on Ray.")] = 1.0,
    devices_per_run: Annotated[
        int, typer.Option(min=1, help="GPUs of this machine that share each batch of a run, for large sets.")
    ] = 1,
) -> None:
    """Train whatever is not done yet. The same command goes on after any interruption."""
    from rich.markup import escape

    from bandbridge.study.execute import Executor
    from bandbridge.study.run import distinct

    deadline = time.monotonic() + parse_duration(max_time) if max_time else None
    if executor_kind == "ray" and devices_per_run > 1:
        raise UserError(
            "on Ray each run has one device: --devices-per-run goes with --executor local",
            "Leave one of the two out: many runs go side by side on Ray, one run on several GPUs without it.",
        )
    study, selected = _open(study_file, data_dir, only, need_data=True)
    if executor_kind == "ray":
        from bandbridge.study.ray_executor import Cluster, run_on_ray

        # The devices are the cluster's; this machine only prepares images and watches.
        executor = Executor(study, runs, "cpu", weights_dir, deadline)
        cluster = Cluster(address, device, cpus_per_run, gpus_per_run)
        carry_out: Callable[[list[PlannedRun]], Outcome] = partial(run_on_ray, executor, cluster=cluster)
    elif devices_per_run > 1:
        from bandbridge.study.parallel import ParallelExecutor

        executor = ParallelExecutor(study, runs, device, weights_dir, deadline, devices=devices_per_run)
        carry_out = executor.run
    else:
        executor = Executor(study, runs, device, weights_dir, deadline)
        carry_out = executor.run
    if skip_unavailable:
        selected = executor.available(selected)
    else:
        executor.require_weights(selected)
    states = [executor.ledger.state(run).kind for run in distinct(selected)]
    note(f"{counted(len(states), 'run')}, {states.count('done')} of them done")
    started = time.monotonic()
    if console.is_terminal:
        with console.status("preparing") as status:
            executor.show = lambda text: status.update(escape(text))
            outcome = carry_out(selected)
    else:
        outcome = carry_out(selected)
    _report(outcome, time.monotonic() - started)


@app.command()
def status(study_file: StudyFile, data_dir: DataDir = None, runs: Runs = _DEFAULT_RUNS, only: Only = None) -> None:
    """Say how many runs are done, paused, failed and pending, by task and approach."""
    from rich.console import Console
    from rich.table import Table

    from bandbridge.study.ledger import Ledger

    _, selected = _open(study_file, data_dir, only, need_data=False)
    ledger = Ledger(runs)
    states = {run.id: ledger.state(run) for run in selected}
    kinds: tuple[Literal["done", "paused", "failed", "pending"], ...] = ("done", "paused", "failed", "pending")
    table = Table("task", "approach", *kinds, box=None, header_style="bold")
    for task, approach in dict.fromkeys((run.task, run.approach) for run in selected):
        counts = Counter(states[run.id].kind for run in selected if (run.task, run.approach) == (task, approach))
        table.add_row(task, approach, *(str(counts[kind] or "–") for kind in kinds))
    Console().print(table)
    for run in selected:
        state = states[run.id]
        if state.kind == "paused":
            typer.echo(f"paused: {run.name} after epoch {state.epochs} of {run.record.recipe.epochs}")
        if state.kind == "failed":
            typer.echo(f"failed: {run.name}: {in_one_line(state.message, state.remedy)}")


@app.command()
def tables(
    study_file: StudyFile,
    data_dir: DataDir = None,
    runs: Runs = _DEFAULT_RUNS,
    out: Annotated[Path | None, typer.Option(help="Folder for the tables; default results/<study name>.")] = None,
) -> None:
    """Write the paper's tables from the predictions of the finished runs, as Markdown, CSV and LaTeX.

    What to know before believing them comes first, and is written beside them as cautions.md, .csv and .json.
    """
    from bandbridge.report.study import write_study_tables
    from bandbridge.study.ledger import Ledger

    study, planned = _open(study_file, data_dir, None, need_data=False)
    ledger = Ledger(runs)
    if not any(run.fold is not None and ledger.state(run).kind == "done" for run in planned):
        remedy = "Train with bandbridge study run, or name the folder of the runs with --runs."
        raise UserError(f"{runs} holds no finished run of {study_file}", remedy)
    folder = out or Path("results") / study.spec.name
    typer.echo(write_study_tables(study, runs, folder))
    note(f"written to {folder}")


@app.command()
def cautions(
    study_file: StudyFile,
    data_dir: DataDir = None,
    runs: Runs = _DEFAULT_RUNS,
    as_json: Annotated[bool, typer.Option("--json", help="Print the cautions as JSON, with every detail.")] = False,
) -> None:
    """Say what to know before believing the numbers of a study, serious things first.

    A code's page in the documentation (docs/cautions) says what triggers it, why it matters and what to do.
    """
    import json

    from bandbridge.report.study import study_cautions
    from bandbridge.report.tables.cautions import caution_records

    study, _ = _open(study_file, data_dir, None, need_data=False)
    found = study_cautions(study, runs)
    if as_json:
        typer.echo(json.dumps(caution_records(found), indent=2, ensure_ascii=False))
        return
    for caution in found:
        typer.echo(str(caution))
    serious = sum(caution.gravity == "serious" for caution in found)
    note(f"{counted(len(found), 'caution')}, {serious} of them serious")


@app.command()
def report(
    study_file: StudyFile,
    data_dir: DataDir = None,
    weights_dir: WeightsDir = None,
    runs: Runs = _DEFAULT_RUNS,
    out: Annotated[Path | None, typer.Option(help="Folder for the report; default results/<study name>.")] = None,
    cases: Annotated[bool, typer.Option(help="Show what the classifiers see in chosen images (Grad-CAM).")] = True,
    attention: Annotated[bool, typer.Option(help="Measure where on the chromosome they look.")] = True,
    limit: Annotated[int, typer.Option(min=1, max=50, help="Cases of each kind.")] = 3,
    similarity: Annotated[bool, typer.Option(help="Compare the domains, by an ImageNet model.")] = True,
    architecture: Annotated[str, typer.Option(help="That model: a row of 'bandbridge models', or any timm name.")] = (
        DEFAULT_ARCHITECTURE
    ),
    natural: Annotated[Path | None, typer.Option(help="Natural images to compare the domains with.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of drawn images and of the resampling of domains.")] = 0,
    device: Device = "auto",
) -> None:
    """Write the whole study as one page for a browser, and its tables and figures as files for a manuscript.

    The page needs no network and no other file. It works on an unfinished study, and says what is missing.
    """
    from bandbridge.report.content import gather
    from bandbridge.report.html import write_report
    from bandbridge.report.sections.blocks import Wishes
    from bandbridge.report.sections.repetition import study_commands

    study, _ = _open(study_file, data_dir, None, need_data=False)
    wishes = Wishes(
        cases=cases,
        attention=attention,
        limit=limit,
        seed=seed,
        device=device,
        domains=partial(_domains, study, runs, architecture, weights_dir, natural, seed, device)
        if similarity
        else None,
        commands=study_commands(study_file, data_dir, weights_dir),
    )
    started = time.monotonic()
    path = write_report(gather(study, runs, wishes), out or Path("results") / study.spec.name)
    size = path.stat().st_size / 2**20
    note(f"written in {format_duration(time.monotonic() - started)}: {path} ({size:.1f} MB) and its tables and figures")


def _domains(
    study: Study,
    runs: Path,
    architecture: str,
    weights_dir: Path | None,
    natural: Path | None,
    seed: int,
    device: str,
) -> list[Block]:
    from bandbridge.domains.distance import Resampling
    from bandbridge.domains.embeddings import open_extractor
    from bandbridge.model.architectures import find_architecture
    from bandbridge.report.sections.domains import domain_blocks

    extractor = open_extractor(find_architecture(architecture), DEFAULT_SIZE, weights_dir, device)
    return domain_blocks(study, runs, extractor, DEFAULT_SIZE, Resampling(seed=seed), natural)


@app.command()
def lab(
    study_file: StudyFile,
    data_dir: DataDir = None,
    runs: Runs = _DEFAULT_RUNS,
    out: Annotated[Path | None, typer.Option(help="Folder for the tables; default results/<study name>.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the planted abnormal cells.")] = 0,
) -> None:
    """Measure what the classifiers are worth to a laboratory: whole cells, calibration, review, abnormal counts.

    Every fold is judged with what the other folds taught, so it needs two folds or more, divided by cell or patient.
    """
    from bandbridge.report.rendering import to_markdown, write_table
    from bandbridge.report.study import study_cautions, study_predictions, table_context
    from bandbridge.report.tables.cautions import bearing_upon, cautions_markdown, noted
    from bandbridge.report.tables.laboratory import laboratory_tables, laboratory_trials

    study, _ = _open(study_file, data_dir, None, need_data=False)
    context = table_context(study)
    trials, refused = laboratory_trials(study_predictions(study, runs), context, seed)
    for line in refused:
        note(f"left out: {line}")
    tables = laboratory_tables(trials, context)
    if not tables:
        raise UserError(
            f"no finished training of {study_file} can be judged",
            "Finish two folds or more of a study whose split is by cell or patient (protocol: strict).",
        )
    folder = out or Path("results") / study.spec.name
    found = bearing_upon(tables, study_cautions(study, runs))
    tables = [noted(table, found) for table in tables]
    for table in tables:
        write_table(folder, table)
    typer.echo("\n".join(filter(None, [cautions_markdown(found), *map(to_markdown, tables)])))
    note(f"written to {folder}")


@app.command()
def split(
    study_file: StudyFile,
    out: Annotated[Path, typer.Argument(metavar="DIR", help="Folder for the split files.")],
    data_dir: DataDir = None,
) -> None:
    """Write each task's folds as a file that another study can name as its split_file."""
    from bandbridge.dataset.splits import write_split

    study, _ = _open(study_file, data_dir, None, need_data=True)
    for task in study.tasks.values():
        if task.split is not None:
            path = out / f"{task.name}.json"
            write_split(task.split, path)
            typer.echo(f"{path}: {task.split.folds} folds by {task.split.scheme}, hash {task.split.hash[:12]}")


def parse_duration(text: str) -> float:
    """Return seconds from "90s", "9m", "2h" or a plain number of minutes. Raises :class:`UserError` otherwise."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smh]?)\s*", text)
    if not match:
        raise UserError(f"--max-time {text!r} is not a duration", "Write 90s, 9m or 2h.")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600, "": 60}[match[2]]


def _open(
    study_file: Path, data_dir: Path | None, only: str | None, *, need_data: bool
) -> tuple[Study, list[PlannedRun]]:
    from bandbridge.study.plan import open_study, with_parents

    study = open_study(study_file, data_dir, need_data=need_data)
    if only is None:
        return study, list(study.runs)
    chosen = [run for run in study.runs if fnmatch.fnmatchcase(run.name, only)]
    if not chosen:
        example = study.runs[-1].name
        raise UserError(
            f"no run of {study_file} is called {only!r}", f"Names look like {example!r}; * matches anything."
        )
    return study, with_parents(chosen)


def _state_text(ledger: object, run: PlannedRun) -> str:
    from bandbridge.study.ledger import Ledger

    assert isinstance(ledger, Ledger)
    state = ledger.state(run)
    text = f"{state.kind} ({state.epochs}/{run.record.recipe.epochs})" if state.kind == "paused" else state.kind
    if ledger.folder(run) != run.folder(ledger.root):
        text += ", shared"
    return text


def _plan_summary(study: Study, selected: list[PlannedRun], ledger: object) -> str:
    from bandbridge.study.ledger import Ledger
    from bandbridge.study.run import distinct

    assert isinstance(ledger, Ledger)
    states = Counter(ledger.state(run).kind for run in distinct(selected))
    parents = {run.parent.id for run in selected if run.parent}
    targets = {run.id for run in selected if run.fold is not None and study.tasks[run.task].spec.target}
    shared = len(parents & targets)
    lines = [
        f"{counted(states.total(), 'run')}: " + ", ".join(f"{count} {kind}" for kind, count in sorted(states.items()))
    ]
    if parents:
        own = "all" if shared == len(parents) else f"{shared}" if shared else "none"
        lines.append(f"of the {len(parents)} intermediate models, {own} are runs that the study needs anyway")
    return "\n".join(lines)


def _wall_time(result: Estimate, devices: int, runs_per_device: int) -> str:
    packed = f", {runs_per_device} runs on each" if runs_per_device > 1 else ""
    lines = [
        f"Wall time on {counted(devices, 'device')}{packed}: about {format_duration(result.makespan)} "
        f"(work in all {format_duration(result.work)}, shared out {format_duration(result.work / devices)}; "
        f"the longest chain of runs takes {format_duration(result.chain)}; "
        f"more than {counted(result.enough, 'device')} would not help)"
    ]
    if packed:
        lines.append(
            f"Runs that share a device are assumed to gain nothing by it: each takes {runs_per_device} times as long "
            "as at the speeds below."
        )
    return "\n".join(lines)


def _report(outcome: Outcome, seconds: float) -> None:
    note(f"{counted(len(outcome.done), 'run')} finished in {format_duration(seconds)}")
    for name in outcome.elsewhere:
        note(f"left to another process: {name}")
    for name in outcome.waiting:
        note(f"waiting for its parent: {name}")
    if outcome.out_of_time:
        note("stopped at the time limit; the same command goes on")
        if not outcome.epochs:
            note("not one epoch fitted into it: give more time")
    if outcome.failed:
        # A wrong request is for the user to correct, whatever else the machine failed in.
        wrong = any(error.exit_code == UserError.exit_code for error in outcome.failed.values())
        raise (UserError if wrong else EnvironmentFault)(
            f"{counted(len(outcome.failed), 'run')} failed: {', '.join(outcome.failed)}",
            "bandbridge study status says why; the same command tries them again.",
        )
