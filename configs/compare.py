"""The comparisons of docs/results/experiments.md: `configs/compare.py:GROUP`, on the demo's world,
or `configs/compare.py:describe,GROUP` on that of long answers, by fact scores.

    forms     GRPO_rank in its forms, GOPO, GRPO, PPO, and controls with more SFT
    oracles   the default form under worse Oracles
    graded    ranks and scores of an Oracle with more than two levels, scores calibrated or not
    rivals    what else learns from an order: online DPO, best of G and more
    rates     three learning rates of every arm of forms and rivals, to choose on validation
    ppo       learning rates of PPO, to choose one on the validation split
    sizes     group sizes at equal numbers of ranked answers
    tiny      two arms and two seeds in seconds, for tests

`--config.compare.start=WORKDIR/checkpoints/sft` names the checkpoint that all runs begin from; arms
with a reward model read `--config.oracle.checkpoint=WORKDIR/checkpoints/reward`.
"""

import runpy
from pathlib import Path

from ml_collections import ConfigDict

from orl_jax.run.errors import UserError

HERE = Path(__file__).parent
SIGNED = "signed 0"  # the default's name


def arm(name: str, stage: str = "rl", **overrides: object) -> tuple:
    """(name, stage, ((dotted key, value), …)); keywords are keys with "__" for "."."""
    return name, stage, tuple((key.replace("__", "."), value) for key, value in overrides.items())


def signed(mix: float) -> tuple:
    """GRPO_rank in its signed form."""
    return arm(f"signed {mix:g}", rl__advantage__form="signed", rl__advantage__mix=mix)


def grpo(name: str, form: str, oracle: str) -> tuple:
    """GRPO on the Oracle's scores, which may be distorted prompt by prompt."""
    return arm(
        name, rl__algorithm="grpo", rl__grpo__form=form, oracle__name=oracle, oracle__distortion=2.0
    )


def ppo(name: str, rate: float) -> tuple:
    """VLM-RLAIF: four updates a rollout, on the scores of a reward model."""
    return arm(
        name, rl__algorithm="ppo", rl__updates_per_rollout=2, rl__learning_rate=rate,
        oracle__name="reward",
    )  # fmt: skip


def direct(name: str, loss: str) -> tuple:
    """Learns from the order itself; beta holds the reference, so no KL is added."""
    return arm(name, rl__algorithm="direct", rl__direct__loss=loss, rl__kl_coefficient=0.0)


def rivals() -> tuple:
    """Every way to learn from an order without scores."""
    return (
        signed(0.0),
        *(
            arm(f"signed 0.25 by {by}", rl__advantage__mix=0.25, rl__advantage__predicted=by)
            for by in ("sum", "mean", "ratio")
        ),
        arm("linear (GOPO)", rl__advantage__form="linear"),
        arm("z-scored ranks", rl__advantage__form="zscore"),
        direct("online DPO", "dpo"),
        direct("online DPO, best and worst", "best_worst_dpo"),
        direct("list-DPO", "list_dpo"),
        direct("LiPO-lambda", "lipo"),
        arm("best of G with a margin", rl__algorithm="direct", rl__direct__loss="best_of"),
    )


def rates() -> tuple:
    """All arms of RL at the same three learning rates."""
    arms = {name: (name, stage, keys) for name, stage, keys in forms() + rivals() if stage == "rl"}
    return tuple(
        (f"{name}, {rate:g}", stage, (*keys, ("rl.learning_rate", rate)))
        for name, stage, keys in arms.values()
        for rate in (3e-4, 1e-3, 3e-3)
    )


def ppo_rates() -> tuple:
    """PPO at several learning rates."""
    return tuple(ppo(f"PPO, {rate:g}", rate) for rate in (1e-4, 3e-4, 1e-3))


def forms() -> tuple:
    """Every way from the Oracle's answer to an advantage."""
    return (
        arm("printed", rl__advantage__form="printed", rl__advantage__discount="printed"),
        *(signed(mix) for mix in (0.0, 0.25, 0.5, 1.0)),
        arm("linear (GOPO)", rl__advantage__form="linear"),
        grpo("GRPO, calibrated", "standardised", "reference"),
        grpo("GRPO, miscalibrated", "standardised", "distorted"),
        grpo("Dr. GRPO, miscalibrated", "centred", "distorted"),
        ppo("PPO, reward model", 3e-4),
        arm("more SFT, same data", "sft", sft__answers="taught"),
        arm("more SFT, clean data", "sft", sft__answers="clean"),
    )


def oracles() -> tuple:
    """The default form under Oracles that know less, or lie."""
    noisy = {"oracle__name": "noisy"}
    return (
        signed(0.0),
        arm("10 % of pairs swapped", **noisy, oracle__swap_probability=0.131),
        arm("30 % of pairs swapped", **noisy, oracle__swap_probability=0.4635),
        arm("top 1 only", oracle__name="top", oracle__top_k=1),
        arm("coarse ties", oracle__name="coarse", oracle__levels=2),
        arm("reversed", oracle__name="reversed"),
    )


# Near misses: numbers, times, and colours in the order of their hues.
SCALES = (
    ("no", "one", "two", "three"),
    ("near the start", "halfway", "near the end"),
    ("red", "yellow", "green", "blue", "purple"),
)


def graded() -> tuple:
    """Ranks against scores for 8 answers a prompt, where wrong answers are not equally wrong."""
    keys = {"rl__group_size": 8, "oracle__scales": SCALES}
    ranks = {**keys, "oracle__name": "graded"}
    distorted = {**keys, "oracle__name": "distorted", "oracle__inner": "graded"}
    score = {"rl__algorithm": "grpo", "oracle__distortion": 2.0}
    return (
        arm(SIGNED, **ranks),
        arm("linear (GOPO)", rl__advantage__form="linear", **ranks),
        arm("GRPO, calibrated", **score, **ranks),
        arm("GRPO, miscalibrated", **score, **distorted),
    )


def sizes() -> tuple:
    """The default form with 2, 3, 5 and 8 answers a prompt."""
    return tuple(arm(f"G = {size}", rl__group_size=size) for size in (2, 3, 5, 8))


GROUPS = {
    "forms": forms,
    "rivals": rivals,
    "oracles": oracles,
    "graded": graded,
    "rates": rates,
    "ppo": ppo_rates,
    "sizes": sizes,
}
SEEDS = {
    "forms": (0, 1, 2, 3, 4),
    "rivals": (0, 1, 2, 3, 4),
    "oracles": (0, 1, 2),
    "graded": (0, 1, 2, 3, 4),
    "rates": (10,),  # not the seeds that are reported
    "ppo": (10, 11),
    "sizes": (0, 1, 2),
}
BASELINES = {
    "forms": SIGNED,
    "rivals": SIGNED,
    "rates": f"{SIGNED}, 0.001",
    "oracles": SIGNED,
    "graded": SIGNED,
    "ppo": "PPO, 0.001",
    "sizes": "G = 5",
}


def asking(oracle: str, arms: tuple) -> tuple:
    """The arms, asking the world's own Oracle instead of the rule for short answers."""
    return tuple(
        (name, stage, tuple(
            (key, oracle if (key, value) == ("oracle.name", "reference") else value)
            for key, value in overrides
        ))
        for name, stage, overrides in arms
    )  # fmt: skip


def get_config(argument: str = "forms") -> ConfigDict:
    """The demo's config, or that of `configs/describe.py`, with a section `compare`.

    Args:
      argument: GROUP or "describe,GROUP".

    Raises:
      UserError: an unknown group.
    """
    world = "describe" if argument.startswith("describe,") else "demo"
    group = argument.removeprefix("describe,")
    if group not in (*GROUPS, "tiny"):
        raise UserError(
            f"configs/compare.py:{argument} is not one of {', '.join(GROUPS)}, tiny, alone or "
            "after describe,"
        )
    file = runpy.run_path(str(HERE / f"{world}.py"))
    config = file["get_config"]("tiny" if group == "tiny" else "").unlock()
    config.compare = ConfigDict(
        {
            "start": f"runs/{world}/checkpoints/sft",
            "arms": asking(config.oracle.name, GROUPS.get(group, forms)()),
            "seeds": SEEDS.get(group, (0, 1)),
            "queries": 5_760,  # answers that the Oracle ranks in an RL run
            "answers": 160,  # in a step: prompts x group size
            "splits": ("test",),
            "split": "test",  # the one that tables are about
            # Keys with other values in evaluation, such as ("data.folder", "data/mme").
            "evaluate_with": (),
            "baseline": BASELINES.get(group, SIGNED),
            "control_of": SIGNED,  # controls with more SFT train for as many seconds as this arm
            "workers": 0,  # processes; 0 is one per core
        }
    )
    config.rl.update(validate_every=18, rollouts_every=18)
    config.checkpoint.update(every_steps=18, keep=1)
    config.evaluation.update(samples=1, max_items=600, validation_items=160)
    if group == "tiny":
        config.compare.update(
            arms=(signed(0.0), arm("more SFT, same data", "sft")),
            queries=24, answers=12, workers=1,
        )  # fmt: skip
        config.rl.update(validate_every=1, rollouts_every=1)
    return config.lock()
