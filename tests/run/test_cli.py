"""Flags, messages and exit statuses of a small script, run in its own process."""

import os
import pathlib
import re
import signal
import subprocess
import sys
import textwrap
import time
from typing import NamedTuple

import pytest

from orl_jax.run import command_line

SCRIPT = '''
    """A script for the tests."""
    import logging, signal, sys, time, warnings
    from absl import flags, logging as absl_logging
    from orl_jax.run import cli
    from orl_jax.run.command_line import overridden
    from orl_jax.run.errors import TrainingHalted, UserError
    from orl_jax.run.stop import StopRequested, StopSignal

    DO = flags.DEFINE_string("do", "nothing", "What to do.")

    def main(config, workdir):
        do = DO.value
        if do == "user_error":
            raise UserError("the video clip.mp4 is empty;\\n  delete it")
        if do == "halt":
            raise TrainingHalted("policy_drift at step 7:\\n  kl is 0.6")
        if do == "path":
            open(workdir + "/a_file", "w").close()
            open(workdir + "/a_file/config.json")
        if do == "fail":
            raise ZeroDivisionError("oops")
        if do == "memory":
            raise MemoryError
        if do == "disk":
            raise RuntimeError("write() failed: No space left on device")
        if do == "log":
            logging.info("ours")
            logging.getLogger("other").info("theirs")
            logging.getLogger("other").warning("their warning")
            absl_logging.warning("absl's")
        if do == "unlock":
            config.rl.nope = 1
        if do == "overridden":
            print(*sorted(overridden().items()))
        if do == "sleep":
            print("ready", flush=True)
            time.sleep(60)
        if do == "compile":
            import jax
            def many(x):
                for _ in range(3000):
                    x = jax.numpy.sin(x) @ x
                return x
            print("ready", flush=True)
            jax.jit(many)(jax.numpy.ones((64, 64)))
        if do == "loop":
            with StopSignal() as stop:
                print("ready", flush=True)
                for step in range(6000):
                    time.sleep(0.01)
                    if stop.requested:
                        print("saved", flush=True)
                        raise StopRequested(stop.requested)
        print(config.rl.group_size, config.name, workdir)

    if __name__ == "__main__":
        cli.run(main)
'''

CONFIG = """
    from ml_collections import ConfigDict

    def get_config(name="plain"):
        return ConfigDict({"name": name, "rl": {"group_size": 5, "temperature": 1.0}})
"""


INHERITING = """
    from ml_collections import ConfigDict
    from orl_jax.run.inheritance import inherit

    def get_config():
        config = ConfigDict({"name": "heir", "shared": {"group_size": 5, "rates": ()}, "rl": {}})
        inherit(config, {"rl": "shared"})
        return config.lock()
"""


class Result(NamedTuple):
    status: int
    out: str
    err: str


class Folder(NamedTuple):
    path: pathlib.Path

    def start(self, *arguments: str) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "script.py", *arguments],
            cwd=self.path,
            env=os.environ | {"PYTHONPATH": str(pathlib.Path(__file__).parents[2])},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str) -> Result:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=60)
        return Result(process.returncode, out, err)

    def config(self, text: str) -> None:
        (self.path / "config.py").write_text(textwrap.dedent(text))


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> Folder:
    (tmp_path / "script.py").write_text(textwrap.dedent(SCRIPT))
    folder = Folder(tmp_path)
    folder.config(CONFIG)
    return folder


def refused(result: Result) -> str:
    """The one line on standard error of a script that ended with status 2."""
    assert result.status == 2, result
    lines = result.err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), result.err
    assert not result.out
    return lines[0]


GOOD = ("--config=config.py", "--workdir=w")


def test_main_gets_the_config_with_its_overrides_and_the_workdir(folder: Folder) -> None:
    assert folder.run(*GOOD) == Result(0, "5 plain w\n", "")
    overridden = folder.run("--config=config.py:big", "--config.rl.group_size=7", "--workdir=w")
    assert overridden == Result(0, "7 big w\n", "")
    apart = folder.run("--config", "config.py", "--config.rl.group_size", "7", "--workdir", "w")
    assert apart == Result(0, "7 plain w\n", "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            (*GOOD, "--config.rl.grup_size=7"),
            ["rl.grup_size", "did you mean config.rl.group_size?"],
        ),
        ((*GOOD, "--config.nope.x=1"), ["config.nope.x is not a key of config.py"]),
        ((*GOOD, "--config.rl.group_size=many"), ["config.rl.group_size", "many"]),
        ((*GOOD, "--config.rl.group_size=2.5"), ["config.rl.group_size", "2.5"]),
        ((*GOOD, "--config.rl.group_size=1"), ["rl.group_size is 1", "at least 2"]),
        ((*GOOD, "--config.rl=3"), ["config.rl"]),
        ((*GOOD, "--wrkdir=x"), ["--wrkdir is not a flag", "did you mean --workdir?"]),
        ((*GOOD, "stray"), ["'stray' is not a flag"]),
        ((), ["--config is missing"]),
        (("--workdir=w",), ["--config is missing"]),
        (("--config=config.py",), ["--workdir is missing"]),
        (("--config=config.py", "--workdir=script.py"), ["script.py is a file"]),
        (("--config=no.py", "--workdir=w"), ["no file no.py"]),
        (("--config=config.py:a:b", "--workdir=w", "--do"), ["do"]),
        (("--config.rl.group_size=7", *GOOD), ["config.rl.group_size"]),
        ((*GOOD, "--do=user_error"), ["the video clip.mp4 is empty; delete it"]),
    ],
)
def test_invalid_usage_is_one_line_and_status_2(
    folder: Folder, arguments: tuple[str, ...], words: list[str]
) -> None:
    line = refused(folder.run(*arguments))
    assert all(word in line for word in words), line


def test_inherited_keys_are_overridden_like_others(folder: Folder) -> None:
    folder.config(INHERITING)
    shared, own = "--config.shared.group_size=7", "--config.rl.group_size=8"
    assert folder.run(*GOOD, shared).out == "7 heir w\n"
    assert folder.run(*GOOD, own, shared).out == folder.run(*GOOD, shared, own).out == "8 heir w\n"
    assert "did you mean config.rl.group_size?" in refused(folder.run(*GOOD, "--config.rl.grup=7"))
    assert "2.5" in refused(folder.run(*GOOD, "--config.rl.group_size=2.5"))
    told = folder.run(*GOOD, shared, "--config.rl.rates=(1,)", "--do=overridden").out
    assert told.splitlines()[0] == (
        "('rl.group_size', 7) ('rl.rates', (1,)) ('shared.group_size', 7)"
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def get_config(:", ["SyntaxError"]),
        ("def get_config():\n    return missing_name", ["line 2: NameError", "missing_name"]),
        ("def get_config():\n    raise ValueError('no such size')", ["no such size"]),
        ("def get_config():\n    open('gone.txt')", ["gone.txt"]),
        ("def get_config():\n    pass", ["get_config() gives None"]),
        ("config = {}", ["defines no get_config()"]),
    ],
)
def test_a_broken_config_file_is_one_line(folder: Folder, text: str, words: list[str]) -> None:
    folder.config(text)
    line = refused(folder.run(*GOOD))
    assert all(word in line for word in words), line


def test_debug_shows_the_traceback_of_a_user_error(folder: Folder) -> None:
    result = folder.run(*GOOD, "--do=user_error", "--debug")
    assert result.status == 2
    assert "Traceback" in result.err
    assert result.err.splitlines()[-1].startswith("error: the video")


@pytest.mark.parametrize(("do", "name"), [("fail", "ZeroDivisionError"), ("unlock", "nope")])
def test_any_other_failure_is_status_1_with_its_traceback(
    folder: Folder, do: str, name: str
) -> None:
    result = folder.run(*GOOD, f"--do={do}")
    assert result.status == 1
    assert "Traceback" in result.err and name in result.err


def test_a_path_through_a_file_is_one_line_and_status_2(folder: Folder) -> None:
    line = refused(folder.run("--config=config.py", "--do=path", f"--workdir={folder.path}"))
    assert "a_file/config.json: Not a directory; choose another folder" in line


def test_halted_training_is_one_line_and_status_1(folder: Folder) -> None:
    line = "halted: policy_drift at step 7: kl is 0.6\n"
    assert folder.run(*GOOD, "--do=halt") == Result(1, "", line)


def test_messages_are_ours_and_other_packages_warnings(folder: Folder) -> None:
    result = folder.run(*GOOD, "--do=log")
    assert [line.split(" ", 1)[1] for line in result.err.splitlines()] == ["ours", "their warning"]
    assert result.out == "5 plain w\n"


def test_a_script_may_have_its_own_default_workdir(folder: Folder) -> None:
    script = folder.path / "script.py"
    script.write_text(script.read_text().replace("run(main)", 'run(main, default_workdir="here")'))
    assert folder.run("--config=config.py").out == "5 plain here\n"
    assert folder.run(*GOOD).out == "5 plain w\n"


def test_help_lists_the_flags(folder: Folder) -> None:
    result = folder.run("--help")
    assert result.status == 0 and not result.err
    assert result.out.startswith("A script for the tests.")
    assert all(f"--{name}: " in result.out for name in ("config", "workdir", "debug", "do"))


@pytest.mark.parametrize("do, words", [("memory", "out of memory"), ("disk", "make room there")])
def test_what_the_machine_lacks_is_one_line(folder: Folder, do: str, words: str) -> None:
    result = folder.run(*GOOD, f"--do={do}")
    assert (result.status, result.out, result.err.count("\n")) == (1, "", 1)
    assert result.err.startswith("failed: ") and words in result.err
    assert "Traceback" in folder.run(*GOOD, f"--do={do}", "--debug").err


def _stopped(folder: Folder, do: str, *signals: signal.Signals) -> Result:
    process = folder.start(*GOOD, f"--do={do}")
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for signum in signals:
        process.send_signal(signum)
        time.sleep(0.001)
    out, err = process.communicate(timeout=30)
    return Result(process.returncode, out, err)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_loop_stops_after_saving(folder: Folder, signum: signal.Signals) -> None:
    result = _stopped(folder, "loop", signum)
    assert (result.status, result.out) == (128 + signum, "saved\n")
    assert "Traceback" not in result.err and f"stopped by {signum.name}" in result.err


def test_an_interrupted_compilation_is_not_a_crash(folder: Folder) -> None:
    process = folder.start(*GOOD, "--do=compile")
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    time.sleep(4)  # by now it is traced, and still compiling for some seconds
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (130, "interrupted\n")


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_outside_a_loop_ends_the_script(folder: Folder, signum: signal.Signals) -> None:
    assert _stopped(folder, "sleep", signum) == Result(128 + signum, "", "interrupted\n")


def test_the_command_line_needs_no_jax(folder: Folder) -> None:
    script = "import sys, orl_jax.run.cli, orl_jax.run.metrics; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize(
    "place, words",
    [
        ("script.py/x", "script.py is not a folder"),
        ("n" * 300, "File name too long"),
        ("loop", "it is a link that leads nowhere"),
        ("/proc/none/x", "/proc may not be|No such file|/proc"),
    ],
)
def test_a_workdir_that_cannot_be_made_is_refused_before_any_work(folder, place, words):
    (folder.path / "loop").symlink_to("loop")
    trouble = command_line._cannot_be_made(str(folder.path / place))
    if place != "/proc/none/x" or trouble:  # who may write to /proc depends on the system
        assert re.search(words, trouble)
    assert not command_line._cannot_be_made(str(folder.path / "new" / "newer"))


def test_the_default_config_is_found_from_any_folder(tmp_path, monkeypatch):
    (tmp_path / "scripts").mkdir()
    (tmp_path / "configs").mkdir()
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "scripts" / "evaluate.py")])
    monkeypatch.chdir(tmp_path / "scripts")
    name = "configs/demo.py"
    assert command_line._found(name) == name  # it is nowhere, and the message says so
    (tmp_path / name).touch()
    assert command_line._found(name) == str(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert command_line._found(name) == name


def test_of_two_configs_the_last_counts(folder):
    assert "there is no file none.py" in refused(folder.run(*GOOD, "--config=none.py"))
    assert folder.run("--config=none.py", *GOOD).status == 0


def test_flags_that_read_other_files_and_bytes_that_are_no_text_are_refused(folder):
    line = refused(folder.run(*GOOD, "--flagfile=/etc/passwd"))
    assert line == "error: --flagfile is not a flag; write flags on the command line"
    assert "is not UTF-8" in refused(folder.run(*GOOD, b"--do=\xff"))


def test_a_name_that_is_too_long_is_one_line_of_bounded_length(folder):
    line = refused(folder.run("--config=config.py", f"--workdir={'n' * 300}"))
    assert "cannot be made (File name too long); name another folder" in line
    assert len(refused(folder.run(f"--config={'n' * 100_000}", "--workdir=w"))) < 3000


def test_no_environment_is_needed():
    root = pathlib.Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "scripts/score.py"], cwd=root, env={"PYTHONPATH": str(root)},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr


def test_a_terminal_without_the_characters_shows_escapes(folder, monkeypatch):
    for name, value in {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}.items():
        monkeypatch.setenv(name, value)
    (folder.path / "config.py").write_text(
        textwrap.dedent(CONFIG).replace("plain", "größer"), encoding="utf-8"
    )
    assert folder.run(*GOOD) == Result(0, "5 gr\\xf6\\xdfer w\n", "")
