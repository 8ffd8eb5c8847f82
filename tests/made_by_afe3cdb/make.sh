#!/bin/sh
# Make everything in this folder anew:   sh make.sh NEW_FOLDER
#
# Run with commit afe3cdb of Bandbridge checked out and installed (pip install -e '.[dev]'), in its environment. It makes
#   q.zip, g.zip            drawn image sets of two cells each
#   study.yaml, extra.yaml  two studies that share runs/: a small transformer, eight runs, one of them left half-way;
#                           and a small network with batch norm and depthwise convolutions, one run
#   runs/                   their run folders, prepared images (.stores) and folds (.splits)
#   cells/                  images that are handed to predict and to review
#   exported/, onnx/        one run as a model folder and as a file for ONNX Runtime
#   review/                 the work folder of a review: corrected, accepted, taken back, removed and waiting cells
#   expected.json           what that build said of all this
# Weights are random at the start, so nothing here descends from anyone's weights or images.
set -eu
OMP_NUM_THREADS=1
export OMP_NUM_THREADS
made_from=$(git -C "$(python -c 'import bandbridge, pathlib; print(pathlib.Path(bandbridge.__file__).parent)')" \
  rev-parse --short=7 HEAD)
test "$made_from" = afe3cdb || { echo "this is commit $made_from, not afe3cdb" >&2; exit 1; }
mkdir "$1"
cp "$0" "$1/make.sh"
cd "$1"

# Image sets: folders, packed with their files at the top as a study takes them.
for stain in Q G; do
  set=$(echo $stain | tr QG qg)
  bandbridge data synth $set --stain $stain --cells 2 --seed 3
  (cd $set && python -m zipfile -c ../$set.zip metadata.csv synthetic.json images)
done
# Cells that no model has seen, and of which no threshold is made.
bandbridge data synth new --stain G --cells 2 --seed 4
first=new/images/synthetic-g0001 second=new/images/synthetic-g0002
mkdir -p cells/one cells/two cells/three later/four
cp $first/7a.png $first/7b.png $first/8a.png $first/10a.png $first/15a.png $first/15b.png $first/16a.png \
  $first/17b.png $first/21b.png $first/22b.png cells/one
cp $second/1a.png $second/5b.png $second/17a.png $second/21a.png cells/two
cp $second/2b.png $second/Xa.png cells/three
cp $second/4a.png $second/12b.png $second/19a.png later/four
rm -r q g new

cat > study.yaml <<'END'
name: old
protocol: strict
tasks:
  Q: {dataset: q.zip, band: Q-band, intermediates: [G], preparation: {polarity: inverted}}
  G: {dataset: g.zip, band: G-band, intermediates: [Q]}
architectures: [test_vit+depth=1+embed_dim=16+patch_size=8]
approaches: [scratch, domain]
split: {folds: 2, scheme: cell}
image_size: 24
recipe: {base: paper, epochs: 12, batch_size: 4, learning_rate: 0.005, averaging: 0.95, augmentation: {flip_vertical: 0.1}}
END
cat > extra.yaml <<'END'
name: extra
protocol: paper
tasks:
  G: {dataset: g.zip}
architectures: [rexnet_100+depth_mult=0.1+final_chs=16+initial_chs=4+width_mult=0.1]
approaches: [scratch]
split: {folds: 2}
run_folds: [1]
image_size: 24
preparation: {crop: foreground, padding: background, scale: common, polarity: inverted}
recipe: {base: fast, epochs: 2, batch_size: 16, growth: {start: 0.5, end: 0.5}}
END

# Runs: all but one to the end. That one stops as --max-time stops it, but always after five of its twelve epochs.
bandbridge study run study.yaml --device cpu --only '[QG]/*/scratch/*'
bandbridge study run study.yaml --device cpu --only '[QG]/*/domain/fold0'
bandbridge study run study.yaml --device cpu --only 'G/*/domain/fold1'
bandbridge study run extra.yaml --device cpu
python - <<'END'
import time
from pathlib import Path
from bandbridge.study.execute import Executor
from bandbridge.study.plan import open_study

study = open_study(Path("study.yaml"))
executor = Executor(study, Path("runs"), "cpu", deadline=time.monotonic() + 30)

def let_time_pass(text: str) -> None:
    if "epoch 5/12" in text:
        time.sleep(max(0, executor.deadline - time.monotonic()))

executor.show = let_time_pass
assert executor.run(study.runs).out_of_time
END

run=$(echo runs/G/test_vit*/scratch/fold0-*)
bandbridge models export "$run" --images g.zip --out exported
bandbridge export "$run" --out onnx

# The review, with the page's own requests; no server is needed for them. A second call only hands in one cell more.
cat > review.py <<'END'
import sys, time
import uvicorn
from starlette.testclient import TestClient
from bandbridge.cli.main import app

def work(self, sockets):
    for socket in sockets:
        socket.close()
    if sys.argv[1] == "later":
        return
    with TestClient(self.config.app, "http://127.0.0.1", headers={"x-bandbridge": "review"}) as page:
        page.get("/?key=" + open("review/key").read().strip()).raise_for_status()
        while page.get("/api/state").json()["waiting"]:
            time.sleep(0.05)
        ids = {cell["name"]: cell["id"] for cell in page.get("/api/state").json()["cells"]}
        def act(cell, action, **values):
            answer = page.post(f"/api/cells/{ids[cell]}/{action}", json=values)
            answer.raise_for_status()
            return answer.json()
        def chromosome(cell, file):
            known = page.get(f"/api/cells/{ids[cell]}").json()["chromosomes"]
            return next(one["id"] for one in known if one["file"] == file)
        act("one", "place", chromosome=chromosome("one", "10a.png"), label="10")
        act("one", "place", chromosome=chromosome("one", "21b.png"), label="")
        act("one", "turn", chromosome=chromosome("one", "7a.png"), angle=12.5, flipped=1)
        act("one", "describe", patient="p7", stain="G")
        act("one", "accept", accepted=True)
        act("two", "place", chromosome=chromosome("two", "1a.png"), label="1")
        act("two", "place", chromosome=chromosome("two", "5b.png"), label="Y")
        act("two", "undo")
        act("three", "remove")

uvicorn.Server.run = work
app(["review", "exported", sys.argv[1], "--work", "review", "--port", "0", "--no-browser", "--device", "cpu"])
END
python review.py cells
python review.py later
rm -r review.py review/key later

# What this build says of it all, the last from copies: asking may change them.
cp -r . ../asked.$$
(cd ../asked.$$ && python - <<'END') > expected.json
import csv, json, re, time
from pathlib import Path
import uvicorn
from starlette.testclient import TestClient
from typer.testing import CliRunner
from bandbridge.cli.main import app

def say(*arguments):
    result = CliRunner().invoke(app, [str(one) for one in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout

found = {}
found["plan"] = {
    study: dict(re.findall(r"(\S+/fold\d)\s+([0-9a-f]{12})\b", say("study", "plan", study, "--no-estimate")))
    for study in ("study.yaml", "extra.yaml")
}
found["states"] = {
    name: "done" if next(Path("runs").glob(f"**/*-{id}/")).joinpath("done.json").exists() else "paused"
    for runs in found["plan"].values() for name, id in runs.items()
}
found["tables"] = say("study", "tables", "study.yaml", "--out", "tables")
run = next(Path("runs").glob("G/test_vit*/scratch/fold0-*"))
found["predictions"] = {
    name: json.loads(
        say("predict", model, "cells", "--checkpoint", checkpoint, "--out", "out", "--json", "--device", "cpu")
    )
    for name, model, checkpoint in (("last", run, "last"), ("best", run, "best"), ("exported", "exported", "last"))
}
(paused,) = (name for name, state in found["states"].items() if state == "paused")
say("study", "run", "study.yaml", "--device", "cpu")
folder = next(Path("runs").glob(f"**/*-{found['plan']['study.yaml'][paused]}/"))
found["finished"] = [
    {key: value for key, value in entry.items() if key not in ("seconds", "images_per_second")}
    for entry in json.loads((folder / "history.json").read_text())
]

def brief(cell):
    known = cell["chromosomes"]
    return {key: cell[key] for key in ("name", "state", "accepted", "flagged", "patient", "stain", "undo", "redo")} | {
        "suggested": {one["file"]: one["suggested"] for one in known},
        "placed": {one["file"]: one["placed"] for one in known},
        "corrected": [one["file"] for one in known if one["corrected"]],
        "turned": {one["file"]: [one["angle"], one["flipped"]] for one in known},
    }

def look(self, sockets):
    for socket in sockets:
        socket.close()
    with TestClient(self.config.app, "http://127.0.0.1", headers={"x-bandbridge": "review"}) as page:
        page.get("/?key=" + Path("review/key").read_text().strip()).raise_for_status()
        while page.get("/api/state").json()["waiting"]:
            time.sleep(0.05)
        cells = page.get("/api/state").json()["cells"]
        found["cells"] = [brief(page.get(f"/api/cells/{cell['id']}").json()) for cell in cells]
        exported = Path(page.post("/api/export", json={}).json()["folder"])
        found["accepted"] = {
            name: list(csv.DictReader((exported / name).read_text().splitlines()))
            for name in ("metadata.csv", "corrections.csv")
        }

uvicorn.Server.run = look
say("review", "exported", "--work", "review", "--port", "0", "--no-browser", "--device", "cpu")
print("{" + ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in found.items()) + "}")
END
rm -r ../asked.$$

# Nothing of the machine: it is nobody's business, and no result depends on it.
python - <<'END'
import json
from pathlib import Path

for path in Path("runs").glob("**/environment.json"):
    facts = json.loads(path.read_text())
    path.write_text(json.dumps(facts | {"system": "Linux", "device": "cpu"}, indent=2) + "\n")
END
