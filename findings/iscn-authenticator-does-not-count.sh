#!/usr/bin/env bash
# iscn-authenticator 0.2.1: a karyotype whose number of chromosomes does not fit its changes is "valid".
#
# Guessed: a validator of ISCN 2024 by a rule engine checks that 46 and +21 do not go together, and refuses what it does
# not know, so that a program that drafts karyotypes can be tested against it.
# Seen: the number is held against the sex chromosomes alone, and what stands after them may be any word: 46,XX,+21,
# 48,XX,+21, 44,XX, 46,XX,nonsense and 46,XX with a comma at its end are valid. What ISCN writes is refused: cells in
# brackets after a single line (46,XX[20]) and a mosaic that begins with mos. It is no oracle for either.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/python" -m pip install --quiet --disable-pip-version-check iscn-authenticator==0.2.1 2>/dev/null
"$place/venv/bin/python" - <<'PYTHON'
import sys

from iscn_authenticator import is_valid_karyotype

GOOD = ("46,XX", "47,XX,+21", "45,X", "47,XY,+21[8]/46,XY[12]")
WRONG = ("46,XX,+21", "48,XX,+21", "45,XX,+21", "46,XX,-21", "44,XX", "46,XX,nonsense", "46,XX,")
RIGHT_BUT_REFUSED = ("46,XX[20]", "mos 47,XY,+21[8]/46,XY[12]")
for kind, texts in (("right", GOOD), ("wrong", WRONG), ("right", RIGHT_BUT_REFUSED)):
    for text in texts:
        print(f"{kind:5}  {text:28} said to be {'valid' if is_valid_karyotype(text) else 'invalid'}")
agreed = all(map(is_valid_karyotype, GOOD + WRONG)) and not any(map(is_valid_karyotype, RIGHT_BUT_REFUSED))
sys.exit(not agreed)
PYTHON
