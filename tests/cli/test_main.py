"""The command itself: help, version, and errors without a traceback."""

import subprocess
import sys


def test_help_names_every_verb(bandbridge):
    result = bandbridge("--help")
    assert result.code == 0
    assert all(verb in result.out for verb in ("data", "models", "study"))


def test_version(bandbridge):
    from bandbridge import __version__

    assert bandbridge("--version").out.strip() == f"bandbridge {__version__}"


def test_a_users_mistake_is_a_message_and_exit_code_two(bandbridge, tmp_path):
    result = bandbridge("data", "check", tmp_path / "absent")
    assert result.code == 2
    assert "absent" in result.err and "Traceback" not in result.err


def test_help_does_not_load_torch():
    code = (
        "import sys; sys.argv = ['bandbridge', '--help']\n"
        "from bandbridge.cli.main import run\n"
        "try: run()\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'timm', 'pandas', 'sklearn'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
