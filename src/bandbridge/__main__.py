"""``python -m bandbridge``: the command line, where the folder of scripts is not on the path."""

from bandbridge.cli.main import run

if __name__ == "__main__":
    run()
