#!/usr/bin/env bash
# ONNX Runtime 1.31.1 for Linux, as pip brings it, keeps an account of the machine and the program for its maker.
#
# Guessed: telemetry is a matter of the builds for Windows (as the documentation said for years), and
# disable_telemetry_events() ends it; a session that only classifies writes nothing outside of memory.
# Seen: a session of a millisecond leaves a device id and a database of events waiting to be sent in the home folder.
# disable_telemetry_events() comes too late: the files are there all the same. Only ORT_DISABLE_TELEMETRY=1 in the
# environment, before the import, leaves the home empty. Processes of some seconds look for the receiver by name (seen
# with strace, without a network; not repeated here).
# Tried: a home of its own for each of the three, and no longer than a session takes.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  onnxruntime==1.31.1 onnx==1.23.2 numpy==2.4.6 2>/dev/null
cat > "$place/session.py" <<'PYTHON'
import sys

import onnxruntime

if "off" in sys.argv:
    onnxruntime.disable_telemetry_events()
import numpy as np
from onnx import TensorProto, helper

value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("a", "b")]
graph = helper.make_graph([helper.make_node("Relu", ["a"], ["b"])], "one", value[:1], value[1:])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"a": np.ones(1, np.float32)})
PYTHON
left() { (cd "$1" && find . -type f | sort | tr '\n' ' '); }
for home in plain called told; do mkdir "$place/$home"; done
cd "$place"
run() { env -u XDG_CACHE_HOME -u ORT_DISABLE_TELEMETRY HOME="$place/$1" "${@:2}"; }
run plain venv/bin/python session.py
run called venv/bin/python session.py off
run told env ORT_DISABLE_TELEMETRY=1 venv/bin/python session.py
echo "as it comes: $(left plain)"
echo "disable_telemetry_events(): $(left called)"
echo "ORT_DISABLE_TELEMETRY=1: $(left told)"
[ -n "$(left plain)" ] && [ -n "$(left called)" ] && [ -z "$(left told)" ]
