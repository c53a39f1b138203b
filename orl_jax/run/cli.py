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
import logging
import os
import re
import runpy
import signal
import sys
import traceback
from collections.abc import Callable
from types import ModuleType
from typing import Any, NoReturn

from absl import flags
from absl import logging as absl_logging
from ml_collections import ConfigDict, config_flags
from tqdm import tqdm

from orl_jax.run import config as rules
from orl_jax.run.errors import Failure, TrainingHalted, UserError
from orl_jax.run.stop import StopRequested, exit_on_sigterm

FLAGS = flags.FLAGS
SHARED_FLAGS = (
    "config", "workdir", "distributed", "coordinator", "num_processes", "process_id", "debug",
    "help",
)  # fmt: skip
Main = Callable[[ConfigDict, str], None]


def run(
    main: Main, *, default_config: str | None = None, default_workdir: str | None = None
) -> None:
    """Parses the flags, checks the configuration, calls `main(config, workdir)` and exits.

    A script may define more absl flags, at its top level.

    Args:
      main: gets the locked configuration and the folder as given; raises `UserError` for what the
        user can mend, `StopRequested` after it has saved on a signal and `TrainingHalted` after
        it has saved on an alarm.
      default_config: the file taken where `--config` is not given.
      default_workdir: the same of `--workdir`, for scripts that write to no run.

    Raises:
      SystemExit: always, with the status.
    """
    exit_on_sigterm()
    try:
        status = _run(main, default_config, default_workdir)
    except UserError as error:
        status = _report(error, debug=_asked_for("debug"))
    except StopRequested as stop:
        logging.info("%s", stop)
        status = 128 + stop.signum
    except Failure as failure:
        kind = "halted" if isinstance(failure, TrainingHalted) else "failed"
        print(f"{kind}: {_one_line(failure)}", file=sys.stderr)
        status = 1
    except (NotADirectoryError, FileExistsError, PermissionError) as error:  # a path of the user's
        message = f"{error.filename}: {error.strerror}; choose another folder"
        status = _report(UserError(message), debug=_asked_for("debug"))
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
            traceback.print_exc()
    if _joined():
        processes().leave(status)
    sys.exit(status)


def _leave_at_once(status: int) -> NoReturn:
    """Ends the process, exit functions and all, but does not take down the interpreter.

    jaxlib (0.10.2) crashes when what an interrupted compilation was at is let go of: to be called
    while the exception, whose traceback holds that, is still there.
    """
    print("interrupted", file=sys.stderr)
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)


def _run(main: Main, default_config: str | None, default_workdir: str | None) -> int:
    _define_flags(default_workdir)
    if _asked_for("help"):
        print(_help())
        return 0
    config = _parse_flags(default_config)
    _start_logging()
    rules.validate(config)
    if _joined():
        processes().join(FLAGS.coordinator, FLAGS.num_processes, FLAGS.process_id)
    main(config, FLAGS.workdir)
    return 0


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


def _define_flags(default_workdir: str | None) -> None:
    config_flags.DEFINE_config_file(
        "config", None, "FILE.py or FILE.py:ARG; --config.section.key=value overrides a key."
    )
    flags.DEFINE_string(
        "workdir", default_workdir, "Folder that the run writes to, and goes on from."
    )
    flags.DEFINE_bool(
        "distributed", False, "One of several processes; JAX asks the cluster for the others."
    )
    flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0, where there is no cluster.")
    flags.DEFINE_integer("num_processes", None, "With --coordinator: how many processes there are.")
    flags.DEFINE_integer("process_id", None, "With --coordinator: which one this is, from 0.")
    flags.DEFINE_bool("debug", False, "Show the traceback of bad usage and bad input, too.")
    flags.DEFINE_bool("help", False, "Show this help.")


def _parse_flags(default_config: str | None) -> ConfigDict:
    """The configuration with its overrides; all other flags are then in `FLAGS`."""
    if _config_path() is None and default_config is not None:
        sys.argv.insert(1, f"--config={default_config}")
    path = _config_path()
    if path is None:
        raise UserError("--config is missing; for example --config=configs/demo.py")
    _check_overrides(_load(path), path)
    try:
        rest = FLAGS(sys.argv)[1:]
    except flags.UnrecognizedFlagError as error:
        near = rules.closest(error.flagname, list(FLAGS), "--")
        raise UserError(f"--{error.flagname} is not a flag{near}") from error
    except flags.Error as error:
        raise UserError(str(error)) from error
    if rest:
        raise UserError(f"{rest[0]!r} is not a flag; flags are written --name=value")
    _check_workdir(FLAGS.workdir)
    return rules.up_to_date(FLAGS.config)


def _check_workdir(workdir: str | None) -> None:
    if not workdir:
        raise UserError("--workdir is missing; for example --workdir=runs/demo")
    if os.path.exists(workdir) and not os.path.isdir(workdir):
        raise UserError(f"--workdir={workdir} is a file; name a folder")


def _load(path: str) -> ConfigDict:
    """The configuration as in its file. The flag loads it again; here its errors are made clear."""
    file, _, argument = path.partition(":")
    if not os.path.isfile(file):
        raise UserError(f"--config={path}: there is no file {file} in {os.getcwd()}")
    try:
        module = runpy.run_path(file)
        if "get_config" not in module:
            raise UserError(f"--config={path}: {file} defines no get_config()")
        config = module["get_config"](*([argument] if ":" in path else []))
    except UserError:
        raise
    except Exception as error:  # the file is a program: it may fail in any way
        place = f"{_place(file, error)}{type(error).__name__}: {error}"
        raise UserError(f"--config={path} can't be loaded: {place}") from error
    if not isinstance(config, ConfigDict):
        raise UserError(f"--config={path}: get_config() gives {config!r}, not a ConfigDict")
    return config


def _place(file: str, error: BaseException) -> str:
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
    return f"line {lines[-1]}: " if lines else ""


def _check_overrides(config: ConfigDict, path: str) -> None:
    """Refuses overrides of keys that the configuration lacks, and names the nearest that it has."""
    names = list(rules.keys(config))
    for argument in sys.argv[1:]:
        override = re.match(r"--?(?:no)?config\.([^=]+)", argument)
        if override and override[1] not in names:
            near = rules.closest(override[1], names, "config.")
            raise UserError(f"config.{override[1]} is not a key of {path}{near}")


def _config_path() -> str | None:
    """The value of --config=PATH or --config PATH."""
    for argument, following in zip(sys.argv[1:], [*sys.argv[2:], None], strict=True):
        name, equals, value = argument.partition("=")
        if name in ("--config", "-config"):
            return value if equals else following
    return None


def _asked_for(name: str) -> bool:
    """Whether a switch is on the command line, parsed or not."""
    return any(a in (f"--{name}", f"-{name}", f"--{name}=true") for a in sys.argv[1:])


def _help() -> str:
    script = sys.modules["__main__"]
    own = FLAGS.get_flags_for_module(sys.argv[0])
    shared = [FLAGS[name] for name in SHARED_FLAGS]
    lines = [f"  --{flag.name}: {flag.help}" for flag in dict.fromkeys([*shared, *own])]
    return "\n".join([(script.__doc__ or "").strip(), "", "Flags:", *lines])


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


class _Console(logging.Handler):
    """Writes above the progress bars of tqdm rather than through them."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stderr)


def _start_logging() -> None:
    """Ours from INFO on, other packages' from WARNING on; absl's (Orbax) only errors."""
    handler = _Console()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    handler.addFilter(_is_ours_or_grave)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    absl_logging.set_verbosity(absl_logging.ERROR)


def _is_ours_or_grave(record: logging.LogRecord) -> bool:
    ours = record.name in ("root", "__main__") or record.name.startswith("orl_jax")
    return ours or record.levelno >= logging.WARNING
