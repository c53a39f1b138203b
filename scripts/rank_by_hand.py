r"""Serves a page on this machine, on which a person puts the answers of groups in order.

    python scripts/rank_by_hand.py --groups=runs/demo/rollouts/150.jsonl --output=anna.jsonl \
        --ranker=anna

Open the address that it prints. The page plays the clip and shows each answer once, shuffled and
without its author; order them with number keys, by dragging or by tapping. Every order is saved to
disk at once; Ctrl-C ends, and the same command resumes. Use the orders with
--config.oracle.name=recorded --config.oracle.recorded=anna.jsonl (docs/oracles.md, "People").
"""

import logging
import pathlib
import webbrowser

from absl import flags
from ml_collections import ConfigDict

from orl_jax.oracles.groups import read_groups
from orl_jax.oracles.people.orders import Orders
from orl_jax.oracles.people.server import Server
from orl_jax.oracles.people.session import Session
from orl_jax.run import cli
from orl_jax.run.command_line import is_overridden
from orl_jax.run.errors import UserError
from orl_jax.run.reading import read_json

GROUPS = flags.DEFINE_string("groups", None, "Groups of answers, e.g. a table of rollouts.")
VIDEOS = flags.DEFINE_string(
    "videos", None, "Folder that videos are relative to; by default that of the groups' run."
)
OUTPUT = flags.DEFINE_string("output", None, "The file of orders; an existing one is continued.")
RANKER = flags.DEFINE_string("ranker", None, "Who ranks; saved with every order.")
HOST = flags.DEFINE_string(
    "host",
    "127.0.0.1",
    "Address to listen at; others than loopback need the token of the printed address.",
)
PORT = flags.DEFINE_integer("port", 0, "Port; 0 takes a free one.", 0, 65535)
SEED = flags.DEFINE_integer("seed", 0, "Of the shuffled order of the answers.", lower_bound=0)
LIMIT = flags.DEFINE_integer("limit", None, "Groups to show at most.", lower_bound=1)
SHOW_REFERENCE = flags.DEFINE_bool("show_reference", False, "Also show the accepted answer.")
OPEN = flags.DEFINE_bool("open", False, "Open the page in the browser.")

EXAMPLES = {"groups": "runs/demo/rollouts/150.jsonl", "output": "anna.jsonl", "ranker": "anna"}


def main(config: ConfigDict, workdir: str) -> None:
    """Serves the page until Ctrl-C."""
    _check_flags()
    groups = read_groups(GROUPS.value)
    orders = Orders(OUTPUT.value, RANKER.value)
    try:
        session = Session(
            [group.request for group in groups], orders, seed=SEED.value, limit=LIMIT.value,
            show_reference=SHOW_REFERENCE.value,
        )  # fmt: skip
        _serve(session, VIDEOS.value or _folder(config))
    finally:
        orders.close()


def _check_flags() -> None:
    for flag in (GROUPS, OUTPUT, RANKER):
        if not (flag.value or "").strip():
            raise UserError(
                f"--{flag.name} is missing; for example --{flag.name}={EXAMPLES[flag.name]}"
            )


def _folder(config: ConfigDict) -> str:
    """The data folder of the run that left the groups, unless the command line names one."""
    stored = (
        pathlib.Path(GROUPS.value).absolute().parent.parent / "config.json"
    )  # WORKDIR/rollouts/
    if is_overridden("data.folder") or not stored.is_file():
        return config.data.folder
    stored = read_json(stored, "name the videos with --videos=FOLDER")
    data = stored.get("data")
    folder = data.get("folder") if isinstance(data, dict) else None
    return folder if isinstance(folder, str) else config.data.folder


def _serve(session: Session, folder: str) -> None:
    with Server(HOST.value, PORT.value, session, folder) as server:
        _announce(session, server, folder)
        print(server.address, flush=True)
        if OPEN.value:
            webbrowser.open(server.address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:  # how one ends it
            pass
        finally:
            session.close()
            done = session.progress()
            logging.info(
                "%d of %d groups are done (%d skipped): %s",
                done["done"], done["total"], done["skips"], done["output"],
            )  # fmt: skip


def _announce(session: Session, server: Server, folder: str) -> None:
    done = session.progress()
    logging.info("%d of %d groups are done; Ctrl-C ends", done["done"], done["total"])
    logging.info("videos are those in %s; --videos=FOLDER names another folder", folder)
    if session.alike:
        logging.info("%d more groups hold one answer only: they are tied unseen", session.alike)
    if refused := server.clips.refused:
        logging.warning(
            "%d videos are not shown: not below %s, or not a video by their name (first: %s)",
            len(refused), folder, refused[0],
        )  # fmt: skip
    if missing := server.clips.missing:
        logging.warning(
            "%d videos are missing in %s (first: %s); --videos=FOLDER names another folder",
            len(missing), folder, missing[0],
        )  # fmt: skip


if __name__ == "__main__":
    cli.run(main, default_config="configs/demo.py", default_workdir=".", script="rank_by_hand")
