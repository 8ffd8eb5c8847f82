#!/usr/bin/env bash
# mlflow-skinny 3.17.2, imported and not called, gives the home folder a number of its own, for its maker's statistics.
#
# Guessed: a library that keeps trainings in a local folder writes nowhere else, least of all before it is called.
# Seen: "import mlflow" alone leaves an installation id in the home folder. Under pytest and on CI it does not, so that
# no test of a project would ever notice. MLFLOW_DISABLE_TELEMETRY=true before the import leaves the home empty.
# Besides, that version refuses a plain folder of trainings unless MLFLOW_ALLOW_FILE_STORE=true.
# Tried: a home of its own for each of the two, and nothing else in the environment.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/python" -m pip install --quiet --disable-pip-version-check mlflow-skinny==3.17.2 2>/dev/null
mkdir "$place/plain" "$place/told"
cd "$place"
run() { env -i PATH="$PATH" HOME="$place/$1" "${@:2}" venv/bin/python -c "import mlflow"; }
run plain
run told MLFLOW_DISABLE_TELEMETRY=true
left() { (cd "$1" && find . -type f | sort | tr '\n' ' '); }
echo "as it comes: $(left plain)"
echo "MLFLOW_DISABLE_TELEMETRY=true: $(left told)"
[ -n "$(left plain)" ] && [ -z "$(left told)" ]
