"""What `scripts/evaluate.py` left in workdirs, by the names that models have in the report."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence
from typing import Any

from orl_jax.evaluation.scoring.predictions import Item, need, read_predictions
from orl_jax.run.errors import UserError
from orl_jax.run.reading import read_json

MOST = 6  # names; the page has as many colours
_FORM = "give --evaluation=NAME=WORKDIR, for example --evaluation=RL=runs/mine/evaluation"


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """One model on one split of one data set.

    Attributes:
      model: its name in the report.
      workdir, path: the folder, and the file of predictions in it.
      dataset, split, checkpoint: as in `results.json`.
      items: of the file.
      skipped: ids of items whose video could not be read.
      choice: `config.evaluation.choice`, how options were chosen; "" where it does not say.
      counted: items by `results.json`; None where it does not say.
      folder: of the data; "" where it does not say.
    """

    model: str
    workdir: pathlib.Path
    path: pathlib.Path
    dataset: str
    split: str
    checkpoint: str
    items: list[Item]
    skipped: list[str]
    counted: int | None
    choice: str = ""
    folder: str = ""


def read_evaluations(arguments: Sequence[str]) -> list[Evaluation]:
    """The evaluations of all NAME=WORKDIR, in their order.

    Raises:
      UserError: none or too many names, one that is malformed, a folder without results or
        predictions, the same split of a data set twice under one name.

    Example: `read_evaluations(["SFT=runs/x/sft", "RL=runs/x/rl"])[0].model == "SFT"`.
    """
    if not arguments:
        raise UserError(f"--evaluation is missing; {_FORM}")
    named = [_named(argument) for argument in arguments]
    if len(names := dict.fromkeys(name for name, _ in named)) > MOST:
        raise UserError(f"--evaluation has {len(names)} names; give {MOST} at most")
    found = [one for name, workdir in named for one in _read(name, workdir)]
    seen: dict[tuple[str, str, str], Evaluation] = {}
    for one in found:
        earlier = seen.setdefault((one.model, one.dataset, one.split), one)
        if earlier is not one:
            raise UserError(
                f"{one.model} has the split {one.split} of {one.dataset} twice, in "
                f"{earlier.workdir} and {one.workdir}; give one of them another name"
            )
    return found


def choose_baseline(evaluations: Sequence[Evaluation], wanted: str | None) -> str:
    """The name that others are compared with: the wanted one, else the first.

    Raises:
      UserError: nothing has this name.

    Example: `choose_baseline(evaluations, None)`.
    """
    names = list(dict.fromkeys(one.model for one in evaluations))
    if wanted and wanted not in names:
        raise UserError(f"--baseline={wanted} is no --evaluation; choose from {', '.join(names)}")
    return wanted or names[0]


def _named(argument: str) -> tuple[str, pathlib.Path]:
    name, equals, workdir = (part.strip() for part in argument.partition("="))
    if not (name and equals and workdir):
        raise UserError(f"--evaluation={argument} is not NAME=WORKDIR; {_FORM}")
    return name, pathlib.Path(workdir)


def _read(model: str, workdir: pathlib.Path) -> list[Evaluation]:
    if not os.path.isdir(workdir):
        raise UserError(
            f"--evaluation={model}={workdir}: there is no such folder; give the --workdir of "
            "scripts/evaluate.py"
        )
    return [_evaluation(model, workdir, *each) for each in _splits(workdir).items()]


def _splits(workdir: pathlib.Path) -> dict[str, dict[str, Any]]:
    path = workdir / "results.json"
    remedy = "evaluate with scripts/evaluate.py, and give its --workdir"
    splits = read_json(path, remedy).get("splits")
    if not (isinstance(splits, dict) and splits and all(map(_is_split, splits.values()))):
        raise UserError(f"{path} holds no evaluated splits; {remedy}")
    return splits


def _is_split(result: Any) -> bool:
    """Whether it is an evaluation, with texts where texts belong."""
    if not isinstance(result, dict) or not isinstance(result.get("dataset"), str):
        return False
    skipped = result.get("skipped") or []
    named = [result.get(name) or "" for name in ("predictions", "checkpoint", "choice")]
    return isinstance(skipped, list) and all(isinstance(each, str) for each in named)


def _evaluation(
    model: str, workdir: pathlib.Path, split: str, result: dict[str, Any]
) -> Evaluation:
    path = _predictions(workdir, split, result)
    items = read_predictions(path)
    need(items, ("reference",), f"{path}: a report of benchmarks")
    return Evaluation(
        model, workdir, path, result["dataset"], split, str(result.get("checkpoint") or ""), items,
        [str(each) for each in result.get("skipped") or ()], result.get("n"),
        str(result.get("choice") or ""), str(result.get("folder") or ""),
    )  # fmt: skip


def _predictions(workdir: pathlib.Path, split: str, result: dict[str, Any]) -> pathlib.Path:
    """The file that the results name; without a name, the one that the split has."""
    remedy = "evaluate again with scripts/evaluate.py, or copy the folder whole"
    if named := result.get("predictions"):
        if not os.path.isfile(workdir / named):
            raise UserError(
                f"{workdir}/results.json names {named:.200}, which is not there; {remedy}"
            )
        return workdir / named
    folder = workdir / "predictions"
    found = sorted(folder.glob(f"*_{split}.jsonl"))
    of_stage = [p for p in found if f"/{p.stem.removesuffix(f'_{split}')}/" in _stage(result)]
    if len(found) != 1 and len(of_stage) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise UserError(
            f"{workdir}/results.json has the split {split} without its predictions, and {folder} "
            f"should have one file *_{split}.jsonl ({names} there); {remedy}"
        )
    return found[0] if len(found) == 1 else of_stage[0]


def _stage(result: dict[str, Any]) -> str:
    """The checkpoint between slashes: "/checkpoints/rl/150/"."""
    return f"/{result.get('checkpoint') or ''}/"
