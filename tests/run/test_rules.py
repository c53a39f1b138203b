"""The names in `run/rules.py` agree with those of their owners."""

from orl_jax.data.benchmarks import registry
from orl_jax.evaluation import prediction
from orl_jax.ops import predicted_order
from orl_jax.oracles import protocol
from orl_jax.rl import direct, estimators
from orl_jax.run import rules
from orl_jax.training import monitors


def test_names_agree_with_their_owners():
    assert rules.SOURCES == registry.NAMES
    assert rules.CHOICES == prediction.CHOICES
    assert rules.POLICIES == protocol.POLICIES
    assert rules.MONITORS == monitors.NAMES


def test_forms_agree_with_the_estimators():
    forms = {rule.key: rule.names for rule in rules.RULES}
    assert set(forms["rl.advantage.form"]) == set(estimators.RANK_FORMS)
    assert set(forms["rl.grpo.form"]) == set(estimators.SCORE_FORMS)
    assert forms["rl.direct.loss"] == tuple(direct.LOSSES)
    assert forms["rl.advantage.predicted"] == predicted_order.PREDICTED
