"""Sections of a configuration that share keys.

Five stages have the same optimiser keys, and an Oracle's server and a judge's are reached in the
same way. Such keys are written once, in a section that others inherit from. Inherited keys are
live: overriding `optimizer.max_grad_norm` changes every stage that does not set its own, whatever
the order of the overrides.
"""

from collections.abc import Mapping

from ml_collections import ConfigDict

# Sections that exist to be inherited from. Nothing reads them, so once a configuration is resolved,
# as in `config.json`, changing them has no effect.
SHARED = ("optimizer", "score_model", "server", "model.layers")


def inherit(config: ConfigDict, parents: Mapping[str, str]) -> None:
    """Gives sections the keys of other sections that they lack, as one-way references.

    Whatever reads a section then finds all its keys there, and each can be overridden as if it were
    written there.

    Args:
      config: unlocked; changed in place.
      parents: dotted names, section -> the section that it inherits from. They are taken in order,
        so a section that inherits itself comes before those that inherit from it. Subsections are
        inherited key by key.

    Raises:
      KeyError: a section that does not exist.

    Example: with `optimizer = {"rate": 1}` and an empty `rl`, after
    `inherit(config, {"rl": "optimizer"})` and `config.optimizer.rate = 2`, `config.rl.rate == 2`.
    """
    for section, parent in parents.items():
        _fill(_find(config, section), _find(config, parent))


def _find(config: ConfigDict, section: str) -> ConfigDict:
    for name in section.split("."):
        config = config[name]
    return config


def _fill(section: ConfigDict, parent: ConfigDict) -> None:
    for key in parent:
        if isinstance(parent[key], ConfigDict):
            if key not in section:
                section[key] = ConfigDict()
            _fill(section[key], parent[key])
        elif key not in section:
            section[key] = parent.get_oneway_ref(key)
