"""``bandbridge study``: plan, run, status, tables, pack and split of a study file."""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bandbridge.api import DEFAULT_ARCHITECTURE, DEFAULT_RUNS
from bandbridge.cli.explain import attention
from bandbridge.cli.outputs import codes_apart, given_file, given_folder, runs_folder, study_folder
from bandbridge.dataset.findings import counted
from bandbridge.errors import ManyErrors, UserError, in_one_line
from bandbridge.progress import format_duration, note
from bandbridge.terminal import Console, say

if TYPE_CHECKING:
    from bandbridge.api.study import Plan
    from bandbridge.study.estimate import Estimate
    from bandbridge.study.ray_executor import Cluster

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
Runs = Annotated[
    Path,
    typer.Option(help="Folder of all runs, shared by all studies.", callback=runs_folder, envvar="BANDBRIDGE_RUNS"),
]
Only = Annotated[
    str | None, typer.Option(help="Select runs by name, such as 'G/*/two-step/*'; their parents come along.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Jobs = Annotated[
    int | None,
    typer.Option(
        min=1, help="Runs side by side; unless given, on CPUs as many as cores and memory allow, on a GPU one."
    ),
]
ThreadsPerRun = Annotated[
    int | None,
    typer.Option(
        min=1, help="Torch threads of a run; unless given 1, or more where fewer runs than cores can go at once."
    ),
]


@app.command()
def plan(
    study_file: StudyFile,
    data_dir: DataDir = None,
    runs: Runs = DEFAULT_RUNS,
    only: Only = None,
    device: Device = "auto",
    jobs: Jobs = None,
    threads_per_run: ThreadsPerRun = None,
    estimate: Annotated[bool, typer.Option(help="Measure the speed and estimate the time left.")] = True,
    devices: Annotated[
        int, typer.Option(min=1, help="Estimate the time on so many devices like this machine's, with --executor ray.")
    ] = 1,
    runs_per_device: Annotated[
        int, typer.Option(min=1, help="Runs side by side on one device, as of --gpus-per-run 1/K.")
    ] = 1,
    cpus_per_run: Annotated[
        int | None,
        typer.Option(min=1, help="Torch threads of a run on Ray, 1 unless given."),
    ] = None,
) -> None:
    """Print every run with its parent and state, how many are shared, and how long the rest will take."""
    import bandbridge as bb

    study = bb.Study.read(study_file, data_dir=data_dir, runs=runs)
    planned = study.plan(only)
    _print_plan(planned)
    for dataset in study.missing_data:
        note(f"dataset {dataset} is not here: its run ids are provisional")
    if estimate and (planned.table["state"] != "done").any():
        note("estimating the time; a speed that no finished run tells is measured (--no-estimate leaves this out)")
        result = study.estimate(only, device, devices, runs_per_device, cpus_per_run, jobs, threads_per_run)
        if result.sharing is not None:
            say(f"Time left on this machine: about {format_duration(result.makespan)} ({result.sharing})")
        else:
            say(_wall_time(result, devices, runs_per_device))
        for architecture, rate in result.rates.items():
            say(f"  {architecture}: {rate.images_per_second:.3g} images/s, {rate.source}")


def _print_plan(planned: Plan) -> None:
    from rich.table import Table

    table = Table("run", "id", "parent", "state", box=None, header_style="bold")
    for run in planned.table.to_dict("records"):
        epochs = f" ({run['epochs']}/{run['of_epochs']})" if run["state"] == "paused" else ""
        state = run["state"] + epochs + (", shared" if run["shared"] else "")
        table.add_row(run["run"], run["id"], run["parent"] or "–", state)
    # A pipe has no width: let the lines be as long as they are.
    console = Console(width=None if Console().is_terminal else 200)
    console.print(table)
    say(planned.summary)


@app.command("run")
def run_(
    study_file: StudyFile,
    data_dir: DataDir = None,
    weights_dir: WeightsDir = None,
    runs: Runs = DEFAULT_RUNS,
    only: Only = None,
    max_time: Annotated[
        str | None, typer.Option(help="Stop cleanly before this much time is over: 90s, 9m or 2h; 9 is 9 minutes.")
    ] = None,
    device: Device = "auto",
    jobs: Jobs = None,
    threads_per_run: ThreadsPerRun = None,
    skip_unavailable: Annotated[
        bool, typer.Option(help="Leave out the runs whose ImageNet weights cannot be had, instead of stopping.")
    ] = False,
    executor_kind: Annotated[
        Literal["local", "ray"],
        typer.Option(
            "--executor", help='local: on this machine. ray: on a Ray cluster; pip install "bandbridge\\[ray]".'
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
    mlflow: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER", help='Show every epoch in MLflow too, in this folder; pip install "bandbridge\\[mlflow]".'
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Train anew, unasked, where finished runs are of another set or preparation.")
    ] = False,
) -> None:
    """Train whatever is not done yet. The same command goes on after any interruption."""
    import bandbridge as bb

    if executor_kind == "ray" and devices_per_run > 1:
        raise UserError(
            "on Ray each run has one device: --devices-per-run goes with --executor local",
            "Leave one of the two out: many runs go side by side on Ray, one run on several GPUs without it.",
        )
    if (jobs or threads_per_run) and (executor_kind == "ray" or devices_per_run > 1):
        raise UserError(
            "--jobs and --threads-per-run go with --executor local and --devices-per-run 1",
            "On Ray, --cpus-per-run and --gpus-per-run say how many runs go side by side."
            if executor_kind == "ray"
            else "A run on several devices has them for itself.",
        )
    study = bb.Study.read(study_file, data_dir=data_dir, runs=runs, weights_dir=weights_dir)
    study.run(
        max_time,
        only=only,
        device=device,
        jobs=jobs,
        threads_per_run=threads_per_run,
        skip_unavailable=skip_unavailable,
        devices_per_run=devices_per_run,
        ray=_cluster(address, device, cpus_per_run, gpus_per_run) if executor_kind == "ray" else None,
        mlflow=mlflow,
        confirm=None if yes else _confirm,
    )


def _confirm(text: str) -> bool:
    """Ask whether to train anew, where somebody is there to answer."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    note(text)
    return typer.confirm("Train anew?", default=False, err=True)


def _cluster(address: str, device: str, cpus_per_run: int, gpus_per_run: float) -> Cluster:
    from bandbridge.study.ray_executor import Cluster

    return Cluster(address, device, cpus_per_run, gpus_per_run)


@app.command()
def status(study_file: StudyFile, data_dir: DataDir = None, runs: Runs = DEFAULT_RUNS, only: Only = None) -> None:
    """Say how many runs are done, paused, failed and pending, by task and approach."""
    from rich.table import Table

    import bandbridge as bb

    study = bb.Study.read(study_file, data_dir=data_dir, runs=runs)
    counts = study.status(only)
    table = Table(*counts.columns, box=None, header_style="bold")
    for row in counts.itertuples(index=False):
        table.add_row(row[0], row[1], *(str(count or "–") for count in row[2:]))
    Console().print(table)
    for run in study.select(only):
        state = study.state(run)
        if state.kind == "paused":
            say(f"paused: {run.name} after epoch {state.epochs} of {run.record.recipe.epochs}")
        if state.kind == "failed":
            say(f"failed: {run.name}: {in_one_line(state.message, state.remedy)}")


@app.command()
def verify(runs: Runs = DEFAULT_RUNS) -> None:
    """Hash everything in the folder of runs anew and compare it with what was written. Nothing is changed."""
    from bandbridge.study.verify import verify_runs

    found = verify_runs(runs)
    for line in found.notes:
        note(line)
    if found.unsealed:
        note(
            f"{counted(len(found.unsealed), 'folder')} of earlier versions, which kept no hashes, cannot be compared: "
            f"{', '.join(map(str, found.unsealed[:3]))}{', ...' * (len(found.unsealed) > 3)}"
        )
    if found.problems:
        are = "is" if len(found.problems) == 1 else "are"
        raise ManyErrors(
            f"{counted(len(found.problems), 'file')} in {runs} {are} not as written:",
            found.problems,
            "Put back what was there, or delete what is named, of a run its folder: the same study command then makes "
            "it again, and nothing else.",
        )
    say(f"{counted(found.folders, 'folder')} of finished runs and prepared images: every file is as written")


@app.command()
def tables(
    study_file: StudyFile,
    data_dir: DataDir = None,
    runs: Runs = DEFAULT_RUNS,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the tables; default results/<study name>.", callback=given_folder)
    ] = None,
) -> None:
    """Write the paper's tables from the predictions of the finished runs, as Markdown, CSV and LaTeX.

    What to know before believing them comes first, and is written beside them as cautions.md, .csv and .json.
    """
    import bandbridge as bb

    study = bb.Study.read(study_file, data_dir=data_dir, runs=runs)
    folder = study_folder(out, study.name)
    say(str(study.tables(folder)))
    note(f"written to {folder}")


@app.command()
def cautions(
    study_file: StudyFile,
    data_dir: DataDir = None,
    runs: Runs = DEFAULT_RUNS,
    as_json: Annotated[bool, typer.Option("--json", help="Print the cautions as JSON, with every detail.")] = False,
) -> None:
    """Say what to know before believing the numbers of a study, serious things first.

    A code's page in the documentation (docs/cautions) says what triggers it, why it matters and what to do.
    """
    import json

    import bandbridge as bb
    from bandbridge.report.tables.cautions import caution_records

    found = bb.Study.read(study_file, data_dir=data_dir, runs=runs).cautions()
    if as_json:
        say(json.dumps(caution_records(found), indent=2, ensure_ascii=False))
        return
    for caution in found:
        say(str(caution))
    serious = sum(caution.gravity == "serious" for caution in found)
    note(f"{counted(len(found), 'caution')}, {serious} of them serious")


@app.command()
def report(
    study_file: StudyFile,
    data_dir: DataDir = None,
    weights_dir: WeightsDir = None,
    runs: Runs = DEFAULT_RUNS,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the report; default results/<study name>.", callback=given_folder)
    ] = None,
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
    import bandbridge as bb

    study = bb.Study.read(study_file, data_dir=data_dir, runs=runs, weights_dir=weights_dir)
    started = time.monotonic()
    path = study.report(
        out,
        cases=cases,
        attention=attention,
        limit=limit,
        similarity=similarity,
        architecture=architecture,
        natural=natural,
        seed=seed,
        device=device,
    )
    size = path.stat().st_size / 2**20
    note(f"written in {format_duration(time.monotonic() - started)}: {path} ({size:.1f} MB) and its tables and figures")


@app.command()
def lab(
    study_file: StudyFile,
    data_dir: DataDir = None,
    runs: Runs = DEFAULT_RUNS,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the tables; default results/<study name>.", callback=given_folder)
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the planted abnormal cells.")] = 0,
) -> None:
    """Measure what the classifiers are worth to a laboratory: whole cells, calibration, review, abnormal counts.

    Every fold is judged with what the other folds taught, so it needs two folds or more, divided by cell or patient.
    """
    from bandbridge.report.rendering import to_markdown, write_table
    from bandbridge.report.study import study_cautions, study_predictions, table_context
    from bandbridge.report.tables.cautions import bearing_upon, cautions_markdown, noted
    from bandbridge.report.tables.laboratory import laboratory_tables, laboratory_trials
    from bandbridge.study.plan import open_study

    study = open_study(study_file, data_dir, need_data=False)
    folder = study_folder(out, study.spec.name)
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
    found = bearing_upon(tables, study_cautions(study, runs))
    tables = [noted(table, found) for table in tables]
    for table in tables:
        write_table(folder, table)
    say("\n".join(filter(None, [cautions_markdown(found), *map(to_markdown, tables)])))
    note(f"written to {folder}")


@app.command()
def pack(
    study_file: StudyFile,
    out: Annotated[Path, typer.Option(metavar="FILE.zip", help="The pack to write.", callback=given_file)],
    data_dir: DataDir = None,
    runs: Runs = DEFAULT_RUNS,
    report: Annotated[
        bool, typer.Option("--report", help="Put the report in too, without pictures of chromosomes.")
    ] = False,
    de_identify: Annotated[
        bool, typer.Option("--de-identify", help="Write codes in the place of the names of images, cells and patients.")
    ] = False,
    codes: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the key of the codes, with --de-identify; FILE-codes if not given.", callback=given_folder
        ),
    ] = None,
) -> None:
    """Write what the finished runs are and predict as one small file, from which results can be made again.

    It holds the study file, the folds, and of each run its record, versions, time and predictions, in half precision.

    It is an RO-Crate: ro-crate-metadata.json tells other programs what it is.

    The runs of a pack that is there already are kept: a study may be trained in parts, in several places.
    """
    from bandbridge.codes import kept_codes
    from bandbridge.study.pack import pack_study
    from bandbridge.study.plan import open_study

    key = codes_apart(out.with_suffix(""), de_identify, codes)
    if key is not None and report:
        raise UserError("a report may name cells and patients", "Leave out --report, or --de-identify.")
    study = open_study(study_file, data_dir)
    page = _page(study_file, data_dir, runs) if report else None
    with kept_codes(key) if key else nullcontext() as known:
        packed = pack_study(study, runs, out, page, known)
    if key is not None:
        note(f"what each code stands for is in {key}: do not pass it on")
    kept = f", {packed.kept} of them kept from the pack that was there" if packed.kept else ""
    say(f"{out}: {packed.runs} of {counted(packed.planned, 'run')}{kept}, {packed.size / 1000:,.0f} kB")


def _page(study_file: Path, data_dir: Path | None, runs: Path) -> bytes:
    """Return the report as far as it is made of predictions alone: whoever packs it passes no image on."""
    import tempfile

    import bandbridge as bb

    study = bb.Study.read(study_file, data_dir=data_dir, runs=runs)
    with tempfile.TemporaryDirectory() as place:
        return study.report(place, cases=False, attention=False, similarity=False).read_bytes()


@app.command()
def split(
    study_file: StudyFile,
    out: Annotated[Path, typer.Argument(metavar="DIR", help="Folder for the split files.", callback=given_folder)],
    data_dir: DataDir = None,
) -> None:
    """Write each task's folds as a file that another study can name as its split_file."""
    from bandbridge.dataset.splits import write_split
    from bandbridge.study.plan import open_study

    study = open_study(study_file, data_dir)
    for task in study.tasks.values():
        if task.split is not None:
            path = out / f"{task.name}.json"
            write_split(task.split, path)
            say(f"{path}: {task.split.folds} folds by {task.split.scheme}, hash {task.split.hash[:12]}")


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
