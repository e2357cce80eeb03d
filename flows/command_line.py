"""The command line: `evenderm COMMAND`; heavy libraries are loaded by the command that needs them."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from typing import Annotated

import typer

from flows.commands import COMMANDS
from flows.engine.process import check_packages, set_up_process
from manifests.errors import EvendermError, printable
from manifests.progress import StopRequested

FULL = {errno.ENOSPC, errno.EDQUOT}
UNUSABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG}

app = typer.Typer(
    name="evenderm",
    help="Evens out skin-lesion datasets with generated image-mask pairs, and measures whether it helped.",
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage or bad input, 3 a comparison found a regression.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"evenderm {version('evenderm')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options before any command."""


for _name, _module in COMMANDS.items():
    app.command(_name)(getattr(import_module(f"flows.commands.{_module}"), _name))


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one command and ends the process with its exit code."""
    from flows.engine.stopping import STOP

    code = exit_code(sys.argv[1:] if arguments is None else arguments)
    if STOP.met:  # what libraries do at the end of a process may take longer than a stop may
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def exit_code(arguments: Sequence[str]) -> int:
    """Runs one command; what goes wrong becomes one line on standard error and an exit code."""
    from flows.engine.stopping import stop_on_signals

    _show_any_name()
    try:
        set_up_process()
        check_packages()
        with stop_on_signals():
            return int(app(list(arguments), standalone_mode=False) or 0)
    except EvendermError as error:
        return _complain(str(error), error.exit_code)
    except StopRequested as stop:
        return _complain(f"{stop or 'stopped'}; the same command goes on from here", 1)
    except KeyboardInterrupt:
        return _complain("interrupted; the same command goes on from here", 1)
    except BrokenPipeError:
        return 1
    except Exception as error:
        return _from_library(error)


def _show_any_name() -> None:
    """Lets the terminal show names of files that are not UTF-8, escaped, as standard error does already."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _from_library(error: Exception) -> int:
    """Exit code for what other libraries raise; what nobody foresaw stays a traceback, for a bug report."""
    if hasattr(error, "format_message"):  # click's usage errors
        message = error.format_message()  # empty where help was shown because nothing was asked
        return _complain(f"{message} (evenderm --help lists commands and options)", 2) if message else 2
    if type(error).__name__ == "Abort":
        return _complain("aborted", 1)
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError):
            where = f"{cause.filename}: " if cause.filename else ""
            if cause.errno in FULL:
                return _complain(f"{where}the disk is full; free some space, the same command goes on from here", 1)
            if where and cause.errno in UNUSABLE:
                return _complain(f"{where}{cause.strerror}; choose another path or mend its permissions", 2)
        cause = cause.__cause__ or cause.__context__
    raise error


def _complain(message: str, code: int) -> int:
    print(f"evenderm: {printable(' '.join(message.split()))}", file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
