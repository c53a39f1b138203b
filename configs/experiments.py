"""The paper's open experiments, for `scripts/compare.py`: on the embedded world, or at full size.

    configs/experiments.py:video_mme             Oracle-RLAIF against its baseline, on Video-MME
    configs/experiments.py:oracles               who ranks: a ranker, scores, a rule, lengths
    configs/experiments.py:sizes                 answers a prompt, on MSVD-QA
    configs/experiments.py:video_mme,7b          the same at full size, on four H100
    configs/experiments.py:video_mme,7b,WORKDIR  with the checkpoints of WORKDIR/checkpoints

WORKDIR is by default runs/taught (docs/results/experiments.md says how to make it) or runs/7b
(docs/scaling.md). Its checkpoints `sft` (`imported` at full size), where all runs begin, `oracle`
and `reward`, the trained Oracles, are read. docs/results/experiments.md has the commands and what
was measured.
"""

import runpy
from pathlib import Path

from ml_collections import ConfigDict

from orl_jax.run.errors import UserError

HERE = Path(__file__).parent
COMPARE = runpy.run_path(str(HERE / "compare.py"))
arm = COMPARE["arm"]
WORKDIRS = {"": "runs/taught", "7b": "runs/7b"}
RULE = "reference"
RANKER, REWARD = "Oracle-RLAIF: ranks of a ranker", "GRPO: scores of a reward model"


def trained(kind: str, workdir: str) -> dict:
    """Keys of a trained Oracle: a ranker, or a reward model."""
    stage = {"ranker": "oracle", "reward": "reward"}[kind]
    return {"oracle__name": kind, "oracle__checkpoint": f"{workdir}/checkpoints/{stage}"}


def video_mme(workdir: str, minibatches: int) -> tuple:
    """The baseline's replication: PPO and GRPO on a reward model, GRPO_rank on a ranker."""
    reward = trained("reward", workdir)
    return (
        arm(RANKER, **trained("ranker", workdir)),
        arm(REWARD, rl__algorithm="grpo", **reward),
        arm(
            "VLM-RLAIF: PPO on a reward model", rl__algorithm="ppo", rl__updates_per_rollout=2,
            rl__ppo__minibatches=minibatches, rl__learning_rate=3e-4, **reward,
        ),
    )  # fmt: skip


def oracles(workdir: str, _: int) -> tuple:
    """GRPO_rank with Oracles that know more or less; the last knows only lengths."""
    return (
        arm(RANKER, **trained("ranker", workdir)),
        arm("ranks of a reward model's scores", **trained("reward", workdir)),
        arm("the rule: accepted answers", oracle__name=RULE),
        arm("the longest answer", oracle__name="orl_jax.oracles.baselines:longest"),
    )


def sizes(workdir: str, _: int) -> tuple:
    """2 to 8 answers a prompt, with an equal number of ranked answers."""
    return tuple(
        arm(f"G = {size}", rl__group_size=size, **trained("ranker", workdir))
        for size in (2, 4, 5, 8)
    )


GROUPS = {"video_mme": video_mme, "oracles": oracles, "sizes": sizes}
BASELINES = {"video_mme": RANKER, "oracles": RANKER, "sizes": "G = 5"}


def get_config(choices: str = "video_mme") -> ConfigDict:
    """The config of a group, a size and a workdir, joined by commas.

    Raises:
      UserError: an unknown group, or more than three choices.
    """
    group, *rest = choices.split(",")
    size = "7b" if rest[:1] == ["7b"] else ""
    others = rest[1:] if size else rest
    if group not in GROUPS or len(others) > 1:
        raise UserError(
            f"configs/experiments.py:{choices}: take one of {', '.join(GROUPS)}, then ,7b or "
            "nothing, then ,WORKDIR or nothing"
        )
    workdir = others[0] if others else WORKDIRS[size]
    config = (full_size if size else embedded)(group, workdir).unlock()
    config.compare.update(
        arms=GROUPS[group](workdir, config.rl.ppo.minibatches),
        baseline=BASELINES[group],
        control_of=BASELINES[group],
    )
    return config.lock()


def embedded(group: str, workdir: str) -> ConfigDict:
    """Minutes a run on two cores. Video-MME is the world in its form; option texts are weighed."""
    config = COMPARE["get_config"]("forms").unlock()
    config.compare.update(start=f"{workdir}/checkpoints/sft", seeds=(0, 1, 2))
    if group == "video_mme":
        config.compare.evaluate_with = (
            ("data.folder", "data/shapes-choice"),
            ("evaluation.choice", "text_likelihood"),
        )
    return config.lock()


def full_size(group: str, workdir: str) -> ConfigDict:
    """LLaMA-2-7B in NF4 with the adapter of the baseline's checkpoints, on four H100."""
    config = runpy.run_path(str(HERE / "video_llama2_7b.py"))["get_config"]("pool,4xh100").unlock()
    config.compare = COMPARE["get_config"]("forms").compare.unlock()
    config.data.update(folder="data/vlm-rlaif-rl", tokenizer=f"{workdir}/tokenizer")
    config.rl.ppo.minibatches = 16  # four prompts an update, one a device
    config.compare.update(
        start=f"{workdir}/checkpoints/imported",
        seeds=(0,),
        answers=320,  # 64 prompts x 5
        queries=64_000,  # 200 steps
        workers=1,  # one run at a time, on all devices
        evaluate_with=at_full_size(group),
    )
    config.rl.update(epochs=0, validate_every=50, rollouts_every=50)
    config.evaluation.update(batch_size=32, samples=0, validation_items=256)
    return config.lock()


def at_full_size(group: str) -> tuple:
    """The benchmark that runs are evaluated on."""
    if group == "video_mme":
        return (
            ("data.folder", "data/video-mme"),
            ("evaluation.max_items", 900),
            ("evaluation.stratify", "task_type,duration"),
            ("evaluation.prompt_tokens", 1024),  # 626 of the video, the question, its options
            ("evaluation.response_tokens", 16),
        )
    return (
        ("data.folder", "data/msvd-qa"),
        ("evaluation.max_items", 2000),
        ("evaluation.stratify", "task_type"),
        ("evaluation.response_tokens", 64),
    )
