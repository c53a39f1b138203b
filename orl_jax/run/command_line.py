"""The flags that all scripts share, and the configuration that they name and override."""

import itertools
import os
import pathlib
import re
import runpy
import sys
import traceback
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from orl_jax.run import config as rules
from orl_jax.run.errors import UserError

FLAGS = flags.FLAGS
SHARED = (
    "config", "workdir", "distributed", "coordinator", "num_processes", "process_id", "debug",
    "help",
)  # fmt: skip


def define(default_workdir: str | None) -> None:
    """Defines the shared flags; to be called once, before `parse`."""
    config_flags.DEFINE_config_file(
        "config", None, "FILE.py or FILE.py:ARG; --config.section.key=value overrides a key."
    )
    flags.DEFINE_string(
        "workdir", default_workdir, "Folder that the run writes to and resumes from."
    )
    flags.DEFINE_bool(
        "distributed", False, "One of several processes; JAX asks the cluster for the rest."
    )
    flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0, without a cluster.")
    flags.DEFINE_integer("num_processes", None, "With --coordinator: how many processes there are.")
    flags.DEFINE_integer("process_id", None, "With --coordinator: which one this is, from 0.")
    flags.DEFINE_bool("debug", False, "Also show the traceback of bad usage and bad input.")
    flags.DEFINE_bool("help", False, "Show this help.")


def parse(default_config: str | None) -> ConfigDict:
    """The configuration with its overrides, locked; the other flags are in `FLAGS` afterwards.

    Args:
      default_config: the file that is used without `--config`; in the current folder, or else in
        that of the scripts.

    Raises:
      UserError: an unknown flag or key, a value of another type, no config, no workdir.
    """
    if config_path() is None and default_config is not None:
        sys.argv.insert(1, f"--config={_found(default_config)}")
    _check_arguments()
    path = config_path()
    if path is None:
        raise UserError("--config is missing; for example --config=configs/demo.py")
    _check_overrides(load(path), path)
    try:
        rest = FLAGS(sys.argv)[1:]
    except flags.UnrecognizedFlagError as error:
        near = rules.closest(error.flagname, list(FLAGS), "--")
        raise UserError(f"--{error.flagname} is not a flag{near}") from error
    except flags.Error as error:
        raise UserError(str(error)) from error
    except (ValueError, OverflowError, RecursionError, OSError) as error:  # of a value's parser
        raise UserError(f"a flag cannot be read: {error}") from error
    if rest:
        raise UserError(f"{rest[0]!r} is not a flag; flags are written --name=value")
    _check_workdir(FLAGS.workdir, FLAGS["workdir"].present > 0)
    return rules.up_to_date(FLAGS.config)


def _found(default_config: str) -> str:
    beside = pathlib.Path(sys.argv[0]).absolute().parents[1] / default_config
    return (
        str(beside) if not os.path.isfile(default_config) and beside.is_file() else default_config
    )


def overridden() -> dict[str, Any]:
    """Dotted keys that the command line changes, with their values.

    Keys that inherit an overridden one count as well: with `--config.server.timeout=5` also
    `oracle.served.timeout`.
    """
    found = changed(load(config_path() or ""), FLAGS.config)
    return {key: rules.lookup(FLAGS.config, key) for key in found} | given()


def is_overridden(key: str) -> bool:
    """Whether the command line sets a key itself, not one that it inherits from."""
    return key in given()


def given() -> dict[str, Any]:
    """Dotted keys that the command line sets, with their values."""
    return config_flags.get_override_values(FLAGS["config"])


def changed(before: ConfigDict, after: ConfigDict) -> list[str]:
    """The dotted keys, without sections, whose values differ."""
    values = ((key, rules.lookup(after, key)) for key in rules.keys(after))
    return [
        key for key, value in values
        if not isinstance(value, ConfigDict) and value != rules.lookup(before, key)
    ]  # fmt: skip


def _check_workdir(workdir: str | None, is_given: bool) -> None:
    if not workdir:
        raise UserError("--workdir is missing; for example --workdir=runs/demo")
    if os.path.exists(workdir) and not os.path.isdir(workdir):
        raise UserError(f"--workdir={workdir} is a file; name a folder")
    if not os.path.isdir(workdir) and (trouble := _cannot_be_made(workdir)):
        raise UserError(f"--workdir={workdir:.300} cannot be made ({trouble}); name another folder")
    if is_given and os.path.isdir(workdir) and not os.access(workdir, os.W_OK):
        raise UserError(f"--workdir={workdir:.300} may not be written to; name another folder")


def _cannot_be_made(folder: str) -> str:
    """Why a folder cannot be made, before any work is done for it; or ""."""
    try:
        os.lstat(folder)
        return "it is a link that leads nowhere"
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)
    above = os.path.abspath(folder)
    while not os.path.lexists(above):
        above = os.path.dirname(above)
    if not os.path.isdir(above):
        return f"{above:.200} is not a folder"
    return "" if os.access(above, os.W_OK) else f"{above:.200} may not be written to"


def _check_arguments() -> None:
    """Refuses what flags cannot hold, and absl's own flags, which read other files."""
    for argument in sys.argv[1:]:
        try:
            argument.encode()
        except UnicodeEncodeError as error:
            raise UserError(f"the argument {argument!r:.80} is not UTF-8") from error
        name = argument.lstrip("-").partition("=")[0]
        if argument.startswith("-") and name in ("flagfile", "undefok"):
            raise UserError(f"--{name} is not a flag; write flags on the command line")


def load(path: str) -> ConfigDict:
    """The configuration as in its file. The flag loads it again; here its errors become clear."""
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
        raise UserError(f"--config={path} cannot be loaded: {place}") from error
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


def config_path() -> str | None:
    """The value of --config=PATH or --config PATH; of several the last, as absl has it."""
    found = None
    for argument, following in itertools.pairwise([*sys.argv[1:], None]):
        name, equals, value = argument.partition("=")
        if name in ("--config", "-config"):
            found = value if equals else following
    return found


def is_given(name: str) -> bool:
    """Whether a switch such as --debug is on the command line, parsed or not."""
    return any(a in (f"--{name}", f"-{name}", f"--{name}=true") for a in sys.argv[1:])


def help_text() -> str:
    """The script's docstring, the shared flags and its own."""
    script = sys.modules["__main__"]
    own = FLAGS.get_flags_for_module(sys.argv[0])
    shared = [FLAGS[name] for name in SHARED]
    lines = [f"  --{flag.name}: {flag.help}" for flag in dict.fromkeys([*shared, *own])]
    return "\n".join([(script.__doc__ or "").strip(), "", "Flags:", *lines])
