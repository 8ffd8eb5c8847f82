"""``bandbridge study`` from the outside: plan, run, status, tables, split."""

import json
import shutil

import pytest
import yaml
from tests.finished import unseal

from bandbridge.api.study import parse_duration
from bandbridge.errors import UserError


@pytest.fixture
def study(tmp_path, chromosome_set):
    chromosome_set("Q"), chromosome_set("G")
    value = {
        "name": "outside",
        "protocol": "strict",
        "tasks": {
            "Q": {"dataset": "q4-0", "intermediates": ["G"], "band": "Q-band"},
            "G": {"dataset": "g4-0", "intermediates": ["Q"], "band": "G-band"},
        },
        "architectures": ["test_resnet"],
        "approaches": ["scratch", "domain"],
        "split": {"folds": 2, "scheme": "cell"},
        "image_size": 32,
        "recipe": {"base": "fast", "epochs": 1},
    }
    path = tmp_path / "outside.yaml"
    path.write_text(yaml.safe_dump(value))
    return path


def test_plan_run_status_and_tables(bandbridge, study, tmp_path):
    runs = ("--runs", tmp_path / "runs")
    plan = bandbridge("study", "plan", study, *runs)
    assert plan.code == 0 and "8 runs: 8 pending" in plan.out
    assert "of the 4 intermediate models, all are runs that the study needs anyway" in plan.out
    assert "Time left on this machine" in plan.out
    one = bandbridge("study", "run", study, *runs, "--device", "cpu", "--only", "Q/*/domain/fold0")
    assert one.code == 0 and "2 runs finished" in one.err
    assert bandbridge("study", "run", study, *runs, "--device", "cpu").code == 0
    status = bandbridge("study", "status", study, *runs)
    assert "pending" in status.out and "8 runs, 8 of them done" in bandbridge("study", "run", study, *runs).err
    tables = bandbridge("study", "tables", study, *runs, "--out", tmp_path / "tables")
    assert tables.code == 0 and tables.out.startswith("# outside (protocol: strict)")
    names = {path.name for path in (tmp_path / "tables").iterdir()}
    stems = ("table2", "table3", "table4", "differences", "folds")
    assert {f"{stem}.{kind}" for stem in stems for kind in ("md", "csv", "tex")} <= names
    assert "tables.md" in names


def test_plan_on_several_devices_tells_the_wall_time_and_its_bounds(bandbridge, study, tmp_path):
    runs = ("--runs", tmp_path / "runs", "--device", "cpu")
    bandbridge("study", "run", study, *runs, "--only", "Q/*/scratch/fold0")
    plan = bandbridge("study", "plan", study, *runs, "--devices", 3)
    assert plan.code == 0 and "Wall time on 3 devices: about" in plan.out and "this machine" not in plan.out
    assert "work in all" in plan.out and "longest chain of runs takes" in plan.out and "would not help" in plan.out
    assert "images/s, from 1 finished run\n" in plan.out and "share a device" not in plan.out
    packed = bandbridge("study", "plan", study, *runs, "--runs-per-device", 2, "--cpus-per-run", 1)
    assert "Wall time on 1 device, 2 runs on each: about" in packed.out
    assert "gain nothing by it: each takes 2 times as long" in packed.out
    assert bandbridge("study", "plan", study, *runs, "--devices", 0).code == 2


def test_tables_of_an_unfinished_study_say_what_is_missing(bandbridge, study, tmp_path):
    runs = ("--runs", tmp_path / "runs")
    bandbridge("study", "run", study, *runs, "--device", "cpu", "--only", "Q/*/scratch/fold0")
    tables = bandbridge("study", "tables", study, *runs, "--out", tmp_path / "tables")
    assert tables.code == 0 and "missing" in tables.out.lower()


@pytest.mark.parametrize("made", [True, False])
def test_tables_of_a_study_without_a_finished_run_are_a_mistake(bandbridge, study, tmp_path, made):
    runs = tmp_path / "nothing"
    if made:
        runs.mkdir()
    result = bandbridge("study", "tables", study, "--runs", runs, "--out", tmp_path / "tables")
    assert result.code == 2 and f"{runs} holds no finished run of {study}" in result.err
    assert "bandbridge study run" in result.err and not (tmp_path / "tables").exists()


def test_a_selection_that_matches_nothing_shows_a_name(bandbridge, study):
    result = bandbridge("study", "run", study, "--only", "R/*")
    assert result.code == 2 and "test_resnet" in result.err


def test_a_wrong_key_is_exit_code_two_with_its_line(bandbridge, study):
    study.write_text(study.read_text().replace("image_size", "image_sise"))
    result = bandbridge("study", "plan", study)
    assert result.code == 2 and "did you mean 'image_size'?" in result.err and "outside.yaml:" in result.err


def test_splits_are_exported(bandbridge, study, tmp_path):
    result = bandbridge("study", "split", study, tmp_path / "splits")
    assert result.code == 0 and "2 folds by cell" in result.out
    assert {path.name for path in (tmp_path / "splits").iterdir()} == {"Q.json", "G.json"}


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("9m", 540), ("2h", 7200), ("1.5", 90)])
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


def test_a_wrong_duration_is_refused():
    with pytest.raises(UserError, match="not a duration"):
        parse_duration("soon")


@pytest.mark.slow
def test_report_is_one_page_with_its_files_and_says_what_it_could_not_do(bandbridge, study, tmp_path):
    runs = ("--runs", tmp_path / "runs")
    bandbridge("study", "run", study, *runs, "--device", "cpu", "--only", "Q/*/domain/*")
    (tmp_path / "empty").mkdir()
    out = tmp_path / "report"
    options = ("--device", "cpu", "--limit", 1, "--weights-dir", tmp_path / "empty", "--out", out)
    result = bandbridge("study", "report", study, *runs, *options)
    assert result.code == 0 and str(out / "report.html") in result.err
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "4 of 8 runs finished" in page and "The study is not finished" in page
    assert "Similarity of the domains was not measured" in page and "convnext_tiny" in page
    assert str(tmp_path) not in page.replace(str(tmp_path / "empty"), "")
    assert (out / "table2.tex").exists()


def test_report_of_a_folder_that_cannot_be_written_is_one_error(bandbridge, study, tmp_path):
    (tmp_path / "file").write_text("")
    result = bandbridge("study", "report", study, "--runs", tmp_path / "runs", "--out", tmp_path / "file" / "deep")
    assert result.code in (1, 2) and str(tmp_path / "file") in result.err and "Traceback" not in result.err


@pytest.mark.slow
def test_lab_judges_every_fold_by_the_others(bandbridge, study, tmp_path):
    runs = ("--runs", tmp_path / "runs")
    bandbridge("study", "run", study, *runs, "--device", "cpu", "--only", "Q/*/scratch/*")
    result = bandbridge("study", "lab", study, *runs, "--out", tmp_path / "lab")
    assert result.code == 0 and "Chromosomes by themselves and in their cells" in result.out
    names = {path.name for path in (tmp_path / "lab").iterdir()}
    assert {"laboratory-cells.csv", "laboratory-confidence.tex", "abnormal.md"} <= names


def test_lab_without_two_folds_says_what_is_needed(bandbridge, study, tmp_path):
    runs = ("--runs", tmp_path / "runs")
    bandbridge("study", "run", study, *runs, "--device", "cpu", "--only", "Q/*/scratch/fold0")
    result = bandbridge("study", "lab", study, *runs, "--out", tmp_path / "lab")
    assert result.code == 2 and "one fold only" in result.err and "two folds or more" in result.err


def test_several_devices_for_a_run_are_refused_with_ray_and_beyond_what_is_there(bandbridge, study, tmp_path):
    several = ("study", "run", study, "--runs", tmp_path / "runs", "--device", "cpu", "--devices-per-run", 4096)
    refused = bandbridge(*several, "--executor", "ray")
    assert refused.code == 2 and "--devices-per-run goes with --executor local" in refused.err
    refused = bandbridge(*several)
    assert refused.code == 2 and "4096 devices" in refused.err and "or fewer" in refused.err


def test_cautions_are_listed_for_readers_and_for_programs(bandbridge, study, tmp_path):
    runs = ("--runs", tmp_path / "runs")
    listed = bandbridge("study", "cautions", study, *runs)
    assert listed.code == 0 and listed.out.startswith("BB001 serious: The study is not finished. ")
    assert [line[:5] for line in listed.out.splitlines()] == ["BB001", "BB003", "BB003", "BB009", "BB014", "BB014"]
    assert "6 cautions, 3 of them serious" in listed.err
    records = json.loads(bandbridge("study", "cautions", study, *runs, "--json").out)
    assert [record["code"] for record in records] == ["BB001", "BB003", "BB003", "BB009", "BB014", "BB014"]
    assert records[0]["gravity"] == "serious" and len(records[0]["details"]) == 4
    (tmp_path / "q4-0").rename(tmp_path / "elsewhere")
    without = json.loads(bandbridge("study", "cautions", study, *runs, "--json").out)
    assert [record["code"] for record in without] == ["BB001", "BB003", "BB002", "BB009", "BB014"]


@pytest.mark.slow
def test_what_a_laboratory_reads_carries_the_cautions_too(bandbridge, study, tmp_path):
    runs = ("--runs", tmp_path / "runs")
    bandbridge("study", "run", study, *runs, "--device", "cpu", "--only", "Q/*/scratch/*")
    result = bandbridge("study", "lab", study, *runs, "--out", tmp_path / "lab")
    assert result.out.startswith("## Before you believe it") and "**BB003 serious: Q: training" in result.out
    assert "BB001" not in result.out  # it bears upon no table of a laboratory
    assert "- See cautions BB003, BB011, BB014." in (tmp_path / "lab" / "laboratory-cells.md").read_text(
        encoding="utf-8"
    )


def test_an_empty_time_limit_is_no_limit_and_said_to_be_none(bandbridge, study, tmp_path):
    done = bandbridge("study", "run", study, "--runs", tmp_path / "runs", "--max-time", "")
    assert done.code == 2 and "--max-time '' is not a duration" in done.err


def test_a_changed_set_is_not_trained_on_anew_unasked(bandbridge, study, tmp_path):
    """Nobody is there to answer: the tests' standard input is no terminal."""
    options = ("--runs", tmp_path / "runs", "--device", "cpu", "--only", "Q/*/scratch/fold0")
    assert bandbridge("study", "run", study, *options).code == 0
    image = sorted((tmp_path / "q4-0" / "images").rglob("*.png"))[0]
    image.write_bytes(image.read_bytes() + b"\0")
    name = image.relative_to(tmp_path / "q4-0").as_posix()
    sentence = f"1 finished run belongs to another version of this set; q4-0: 1 image changed ({name})."
    plan = bandbridge("study", "plan", study, *options[:2], *options[4:], "--no-estimate")
    assert plan.code == 0 and sentence in " ".join(plan.out.split())
    before = sorted((tmp_path / "runs").rglob("done.json"))
    refused = bandbridge("study", "run", study, *options)
    assert refused.code == 2 and sentence in refused.err and "--yes" in refused.err
    assert "nothing was trained" in refused.err and sorted((tmp_path / "runs").rglob("done.json")) == before
    trained = bandbridge("study", "run", study, *options, "--yes")
    assert trained.code == 0 and sentence in trained.err and "1 run finished" in trained.err
    assert len(list((tmp_path / "runs").rglob("done.json"))) == 2
    again = bandbridge("study", "run", study, *options)
    assert again.code == 0 and "another version" not in again.err


def test_verify_names_what_is_not_as_written(bandbridge, small_study, tmp_path):
    runs = shutil.copytree(small_study.runs, tmp_path / "runs")
    whole = bandbridge("study", "verify", "--runs", runs)
    assert whole.code == 0 and "every file is as written" in whole.out
    folder = next((runs / "Q").glob("*/scratch/*"))
    unseal(next((runs / "Q").glob("*/imagenet/*")))
    for name in ("history.json", "last.safetensors"):
        (folder / name).write_bytes((folder / name).read_bytes() + b" ")
    found = bandbridge("study", "verify", "--runs", runs)
    assert found.code == 2 and "2 files" in found.err and "are not as written" in found.err
    assert str(folder / "history.json") in found.err and str(folder / "last.safetensors") in found.err
    assert "1 folder of earlier versions, which kept no hashes, cannot be compared" in found.err
    assert bandbridge("study", "verify", "--runs", tmp_path / "none").code == 2
