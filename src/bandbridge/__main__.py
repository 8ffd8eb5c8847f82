"""``bandbridge`` and ``python -m bandbridge``: the command line, stopped by Ctrl-C from its first moment on."""

import os
import sys

#: What a shell is told by a program that Ctrl-C stopped.
_INTERRUPTED = 130


def main() -> None:
    """Run the command line. What it needs is imported here: of what is stopped meanwhile nothing has begun."""
    try:
        from bandbridge.cli.main import run

        run()
    except KeyboardInterrupt:
        # The console may be what was being imported.
        os.write(2, b"stopped\n")
        sys.exit(_INTERRUPTED)


if __name__ == "__main__":
    main()
