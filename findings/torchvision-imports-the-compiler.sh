#!/usr/bin/env bash
# torchvision 0.29.2 with torch 2.15.0: `import torchvision`, and with it `import timm`, loads the compiler.
#
# Guessed: what is never compiled needs no torch._dynamo. `import torch` alone leaves it out, and torchvision wraps its one
# compiled function (roi_align) in `lazy_compile`, whose docstring says that this avoids importing dynamo early.
# Seen: the line that asks whether this system can compile, at the head of the same module, is
# `from torch._dynamo.utils import is_compile_supported`, and that imports all of it: nearly a hundred modules of
# torch._dynamo, parts of torch._inductor, SymPy, torch.distributed's tensors and FSDP. No image was opened, nothing was
# compiled, yet this is nine tenths of what `import torchvision` takes beyond torch. timm's layers import torchvision.ops,
# so every program that builds a timm model on a CPU to run it once pays for it; timm without torchvision does not import.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.15.0 torchvision==0.29.2 2>/dev/null
"$place/venv/bin/python" - <<'PYTHON'
import inspect
import sys
import time

import torch

parts = ("torch._dynamo", "torch._inductor", "torch.distributed.fsdp", "sympy")


def loaded():
    return {part: sum(name == part or name.startswith(part + ".") for name in sys.modules) for part in parts}


before = loaded()
started = time.perf_counter()
# What torchvision.ops.roi_align asks for, by itself, so that its share can be told.
import torch._dynamo.utils  # noqa: E402

compiler = time.perf_counter() - started
for name in [name for name in sys.modules if name.startswith("torchvision")]:
    raise SystemExit(f"{name} was there before")
import torchvision  # noqa: E402
import torchvision.ops.roi_align  # noqa: E402

whole = time.perf_counter() - started
module = sys.modules["torchvision.ops.roi_align"]
source = inspect.getsource(module)
asks = "from torch._dynamo.utils import is_compile_supported" in source.split("\ndef ")[0]
says = "avoids eagerly importing dynamo" in source
print("modules after `import torch`:", before)
print("modules after `import torchvision`:", loaded())
print(f"the compiler's share of what torchvision's import takes beyond torch: {compiler / whole:.0%} of {whole:.1f} s")
print(f"the module imports it at its head: {asks}; says that it is not imported early: {says}")
sys.exit(not (before["torch._dynamo"] == 0 and loaded()["torch._dynamo"] > 50 and asks and says))
PYTHON
