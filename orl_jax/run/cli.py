"""What all scripts share: flags, messages, exit statuses.

    def main(config: ConfigDict, workdir: str) -> None: ...

    if __name__ == "__main__":
        cli.run(main)

Exit status: 0 done; 2 bad usage, configuration or input, with one line on standard error (`--debug`
shows the traceback); 1 any other failure, with its traceback, or, with one line, training that a
monitor has halted; 128 + signal where SIGTERM or SIGINT stopped it. Messages go to standard error
through `logging`; standard output is left to results.
"""

import atexit
import errno
import io
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from types import ModuleType
from typing import Any, NoReturn

from absl import logging as absl_logging
from ml_collections import ConfigDict
from tqdm import tqdm

from orl_jax.run import background, command_line, overrides, shortage
from orl_jax.run.command_line import FLAGS
from orl_jax.run.config import validate
from orl_jax.run.errors import Failure, TrainingHalted, UserError
from orl_jax.run.stop import StopRequested, exit_on_sigterm

LONGEST = 2000  # characters of a message
_PATH_ERRORS = (NotADirectoryError, FileExistsError, PermissionError)  # a path of the user's
_PATH_TROUBLE = (errno.ENAMETOOLONG, errno.ELOOP, errno.EISDIR, errno.ENOENT, errno.ENXIO)
Main = Callable[[ConfigDict, str], None]


def run(
    main: Main,
    *,
    default_config: str | None = None,
    default_workdir: str | None = None,
    script: str | None = None,
) -> None:
    """Parses the flags, checks the configuration, calls `main(config, workdir)` and exits.

    A script may define more absl flags at its top level.

    Args:
      main: gets the locked configuration and the folder as given; raises `UserError` for what the
        user can fix, `StopRequested` after saving on a signal and `TrainingHalted` after saving
        on an alarm.
      default_config: the file that is used without `--config`.
      default_workdir: the folder that is used without `--workdir`, for scripts that write to no
        run.
      script: its name in `orl_jax.run.effects.SCRIPTS`: overrides that have no effect in it are
        refused. None refuses none.

    Raises:
      SystemExit: always, with the status.
    """
    exit_on_sigterm()
    _print_whatever()
    try:
        status = _run(main, default_config, default_workdir, script)
    except UserError as error:
        status = _report(error, debug=command_line.is_given("debug"))
    except StopRequested as stop:
        logging.info("%s", stop)
        status = 128 + stop.signum
        if _others_work():
            _leave_at_once(status, "")
    except Failure as failure:
        kind = "halted" if isinstance(failure, TrainingHalted) else "failed"
        print(f"{kind}: {_one_line(failure)}", file=sys.stderr)
        status = 1
    except _PATH_ERRORS as error:
        message = f"{error.filename}: {error.strerror}; choose another folder"
        status = _report(UserError(message), debug=command_line.is_given("debug"))
    except OSError as error:
        status = 1
        if error.errno in _PATH_TROUBLE and error.filename is not None:
            message = f"{error.filename!s:.300}: {error.strerror}; choose another path"
            status = _report(UserError(message), debug=command_line.is_given("debug"))
        else:
            status = _report_unforeseen(error)
    except KeyboardInterrupt:
        _leave_at_once(128 + signal.SIGINT)
    except SystemExit as left:
        if left.code != 128 + signal.SIGTERM:
            raise
        _leave_at_once(left.code)
    except Exception as error:
        status = 1
        if _joined() and processes().is_lost(error):
            print(f"failed: {processes().LOST}. ({_one_line(error)[:200]})", file=sys.stderr)
        else:
            status = _report_unforeseen(error)
    if _joined():
        processes().leave(status)
    sys.exit(status)


def _others_work() -> bool:
    """Whether threads are left that the interpreter would wait for, such as calls of an Oracle.

    Or not wait for, though they are still at work, as a compilation that a stop has cut off.
    """
    main = threading.main_thread()
    waited_for = any(each is not main and not each.daemon for each in threading.enumerate())
    return waited_for or background.any_left()


def _leave_at_once(status: int, notice: str = "interrupted\n") -> NoReturn:
    """Ends the process after its exit functions, but does not tear down the interpreter.

    jaxlib (0.10.2) crashes when the objects of an interrupted compilation are released. Call this
    while the exception is still handled: its traceback holds them.
    """
    print(notice, end="", file=sys.stderr)
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)


def _run(
    main: Main,
    default_config: str | None,
    default_workdir: str | None,
    script: str | None,
) -> int:
    command_line.define(default_workdir)
    if command_line.is_given("help"):
        print(command_line.help_text())
        return 0
    config = command_line.parse(default_config)
    _start_logging()
    validate(config)
    if script is not None:
        overrides.refuse_unused(script, config)
    if _joined():
        processes().join(FLAGS.coordinator, FLAGS.num_processes, FLAGS.process_id)
    main(config, FLAGS.workdir)
    return 0


def _print_whatever() -> None:
    """Characters that the terminal's encoding lacks, as under `LC_ALL=C`, are shown as escapes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _joined() -> bool:
    """Whether this is one process of several."""
    values = (_value(name) for name in ("distributed", "coordinator"))
    return any(values)


def processes() -> ModuleType:
    """`orl_jax.run.processes`, which imports jax: only where it is needed."""
    from orl_jax.run import processes as module

    return module


def _value(name: str) -> Any:
    """A flag's value, or None before the flags are parsed."""
    return FLAGS[name].value if name in FLAGS else None


def _report(error: UserError, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    print(f"error: {_one_line(error)}", file=sys.stderr)
    return 2


def _report_unforeseen(error: Exception) -> int:
    """One line where the machine lacks something, else the traceback; the exit status."""
    line = shortage.explain(error)
    if isinstance(line, UserError):
        return _report(line, debug=command_line.is_given("debug"))
    if line is None or command_line.is_given("debug"):
        traceback.print_exc()
    if line is not None:
        print(f"failed: {_one_line(line)}", file=sys.stderr)
    return 1


def _one_line(error: BaseException) -> str:
    """A message of bounded length; what is cut out is in the middle."""
    text = " ".join(str(error).split())
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 300]} … {text[-300:]}"


class _Console(logging.Handler):
    """Writes above the progress bars of tqdm rather than through them."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stderr)


def _start_logging() -> None:
    """Ours from INFO on, others' from WARNING on; none of absl's: Orbax raises what it logs."""
    handler = _Console()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    handler.addFilter(_is_ours_or_grave)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    absl_logging.set_verbosity(absl_logging.FATAL)


def _is_ours_or_grave(record: logging.LogRecord) -> bool:
    ours = record.name in ("root", "__main__") or record.name.startswith("orl_jax")
    return ours or record.levelno >= logging.WARNING
