r"""Audits an Oracle on groups of answers, before it is trusted to train by.

    python scripts/audit_oracle.py --config=configs/demo.py --workdir=runs/audit \
        --config.audit.groups=runs/demo/rollouts/150.jsonl --config.oracle.name=noisy

Prints a table and, last, a line "verdict: PASS ..." or "verdict: FAIL ..."; writes audit.json,
audit.md, audit.html and answers.jsonl to the workdir. A verdict is a result: the exit status is 0
with either. The same command resumes an audit that was stopped, and asks nothing twice.
"""

from typing import Any

from ml_collections import ConfigDict

from orl_jax.oracles import ORACLES, WRAPPERS
from orl_jax.oracles.audit.audit import audit
from orl_jax.run import cli


def main(config: ConfigDict, workdir: str) -> None:
    """Audits `config.oracle` as `config.audit` says."""
    results = audit(config, workdir, _device_oracles)
    print(results["table"])
    print(f"\n{workdir}/audit.html shows it.")
    print(results["verdict"])


def _device_oracles(config: ConfigDict) -> dict[str, Any]:
    """Oracles on the device; jax is imported only if a name may be one of them."""
    oracle, known = config.oracle, {*ORACLES, *WRAPPERS, "ensemble"}
    names = {oracle.name, oracle.inner, *oracle.members}
    if all(name in known or ":" in name for name in names):
        return {}
    from orl_jax.data.frame_cache import FrameCache
    from orl_jax.rl.score_oracle import device_oracles

    return device_oracles(config.data.folder, FrameCache(config.data.cache_mb), dict(config.mesh))


if __name__ == "__main__":
    cli.run(main, script="audit_oracle")
