"""Whether a process has ended."""

from __future__ import annotations

import os
import signal
import time


def ends(process: int) -> bool:
    """Whether ``process`` is gone within ten seconds; else it is killed."""
    for _ in range(100):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    os.kill(process, signal.SIGKILL)
    return False
