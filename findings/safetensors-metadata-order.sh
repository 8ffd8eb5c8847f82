#!/usr/bin/env bash
# safetensors 0.8.0: the same tensors and the same metadata, written twice, are two different files.
#
# Guessed: equal arguments give equal bytes, as the tensors' own entries do; at the least within one process.
# Seen: the texts of `metadata` are written in another order at every call, also in one process, so the SHA-256 of a
# weights file says nothing of whether two trainings came out alike. Two entries are enough; one or none is stable.
# The tensors themselves lie in a fixed order (by dtype, then by name), whatever order they were given in.
# So: compare tensors, or hash what follows the header, or keep everything in one metadata entry (JSON).
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/python" -m pip install --quiet --disable-pip-version-check safetensors==0.8.0 numpy==2.4.6 2>/dev/null
"$place/venv/bin/python" - <<'PYTHON'
import hashlib
import sys

import numpy as np
from safetensors.numpy import load, save

tensors = {"b": np.arange(3, dtype=np.float32), "a": np.ones((2, 2), np.float32)}


def files(metadata, given=tensors, times=40):
    """How many different files `times` calls with equal arguments give, and one of them."""
    made = [save(given, metadata) for _ in range(times)]
    return len({hashlib.sha256(file).hexdigest() for file in made}), made


for count in (0, 1, 2, 3, 4):
    metadata = {f"key {number}": str(number) for number in range(count)} or None
    different, made = files(metadata)
    print(f"{count} metadata entries, 40 equal calls: {different} different files")
    if count < 2 and different != 1 or count >= 2 and different < 2:
        sys.exit(1)

bodies = {file[8 + int.from_bytes(file[:8], "little") :] for file in made}
print(f"what follows the header: {len(bodies)} different")
turned, _ = files(None, dict(reversed(tensors.items())))
same = save(tensors) == save(dict(reversed(tensors.items())))
print(f"tensors given in another order: {'the same file' if same else 'another file'}")
equal = all((load(file)["b"] == tensors["b"]).all() for file in made)
sys.exit(not (len(bodies) == 1 and same and equal and turned == 1))
PYTHON
