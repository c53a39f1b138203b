"""The stage: an audit from its config to its files."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from ml_collections import ConfigDict

from orl_jax.oracles import Oracle, make_oracle
from orl_jax.oracles.audit.asking import EXPOSED, LISTWISE, PAIRWISE, ask_all, plan
from orl_jax.oracles.audit.page import write_page
from orl_jax.oracles.audit.sample import Sample, draw_sample
from orl_jax.oracles.audit.settings import AuditSettings
from orl_jax.oracles.audit.summary import findings, summarise
from orl_jax.oracles.audit.table import audit_table
from orl_jax.oracles.audit.verdict import checks, verdict
from orl_jax.run import config as configs
from orl_jax.run.errors import UserError
from orl_jax.run.files import write_atomic, write_json
from orl_jax.run.lock import Lock
from orl_jax.run.reading import read_text
from orl_jax.run.rules import ORACLE_MEANS

ANSWERS = "answers.jsonl"


def audit(
    config: ConfigDict,
    workdir: str,
    device_oracles: Callable[[ConfigDict], Mapping[str, Any]] = lambda config: {},
) -> dict[str, Any]:
    """Asks, measures and writes WORKDIR/{answers.jsonl,audit.json,audit.md,audit.html}.

    The same command resumes a killed audit. Other limits may be tried on what was asked: they ask
    nothing.

    Args:
      config: `audit` says what is done, `oracle` who is audited, `data.folder` where the videos
        are.
      device_oracles: from the config, makers of Oracles outside `orl_jax.oracles`, for
        `make_oracle`.

    Returns:
      What `audit.json` holds, with "table" and "verdict" for a person.

    Raises:
      UserError: no groups, no truth, an unknown Oracle, WORKDIR holds another Oracle's answers, or
        another process uses it.

    Example: `print(audit(config, "runs/audit")["verdict"])`.
    """
    folder, settings = pathlib.Path(workdir), AuditSettings.of(config.audit.to_dict())
    sample = draw_sample(settings, config.data.folder)
    oracle = make_oracle(_uncached(config), device_oracles(config))
    oracles = audited(oracle, config.oracle.served.shuffles)
    folder.mkdir(parents=True, exist_ok=True)
    with Lock(folder, "wait for its end, or choose another --workdir"):
        return _audit(config, folder, settings, sample, oracles)


def _audit(
    config: ConfigDict,
    folder: pathlib.Path,
    settings: AuditSettings,
    sample: Sample,
    oracles: dict[str, Oracle],
) -> dict[str, Any]:
    """Asks and writes, in a folder that no other process uses."""
    _check_same_oracle(folder, config)
    configs.write(config, str(folder))
    asks = plan(sample.cases, settings, list(oracles))
    replies = ask_all(oracles, sample.cases, asks, folder / ANSWERS)
    for oracle in oracles.values():
        getattr(oracle, "close", lambda: None)()
    found = findings(sample.cases, replies)
    results = {"oracle": config.oracle.name, "truth": settings.truth}
    results |= summarise(sample, found, settings)
    made = checks(results, settings.limits)
    results |= {"checks": [dataclasses.asdict(c) for c in made], "verdict": verdict(made)}
    table = audit_table(results, made)
    title = f"# Audit of the Oracle `{config.oracle.name}`\n\n"
    write_json(folder / "audit.json", results)
    write_atomic(folder / "audit.md", f"{title}{results['verdict']}\n\n{table}\n")
    write_page(folder / "audit.html", results, found)
    return results | {"table": table}


def audited(oracle: Oracle, shuffles: int = 1) -> dict[str, Oracle]:
    """Who is asked in each part of the audit.

    An Oracle that shuffles by itself hides its judge's position bias; one with `as_given` can show
    it. Where it asks once per group, the bare judge is audited. Where it averages several calls, it
    is audited as it is, and the bare judge is asked as well.

    Args:
      shuffles: calls per group of an Oracle with `as_given`.

    Example: `audited(ReferenceOracle())` names one Oracle for both parts.
    """
    if not hasattr(oracle, "as_given"):
        return {LISTWISE: oracle, PAIRWISE: oracle}
    bare = oracle.as_given()
    if shuffles == 1:
        return {LISTWISE: bare, PAIRWISE: bare}
    return {LISTWISE: oracle, EXPOSED: bare, PAIRWISE: oracle}


def _uncached(config: ConfigDict) -> dict[str, Any]:
    """The section `oracle` without a cache: what is asked again must be answered again."""
    section = config.oracle.to_dict()
    section["served"] = {**section["served"], "cache": ""}
    return section


def _check_same_oracle(folder: pathlib.Path, config: ConfigDict) -> None:
    before = folder / "config.json"
    if not (folder / ANSWERS).exists() or not before.exists():
        return
    known = configs.from_json(read_text(before, "choose another --workdir"))
    if _who(known) != _who(configs.from_json(configs.to_json(config))):
        raise UserError(
            f"{folder / ANSWERS} holds answers of another Oracle, or of this one with other "
            "settings (its config.json tells); choose another --workdir"
        )


def _who(config: ConfigDict) -> dict[str, Any]:
    section = config.oracle.to_dict()
    served = {k: v for k, v in section.pop("served").items() if k not in ORACLE_MEANS}
    section = {k: v for k, v in section.items() if k not in (*ORACLE_MEANS, "overlap", "lag")}
    return {**section, "served": served, "folder": config.data.folder}
