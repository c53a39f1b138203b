"""Fields of other libraries' JSON, each read with its type and its limits.

Files from elsewhere hold anything: strings for numbers, zero heads, 10**9 layers. The limits are
far above any published model, and low enough that nothing that is made from them takes long.
"""

from collections.abc import Mapping
from typing import Any

from orl_jax.run.errors import UserError

# The largest number of each kind of thing.
LIMITS = {
    "hidden_size": 2**17, "intermediate_size": 2**20, "num_hidden_layers": 1024,
    "num_attention_heads": 4096, "num_key_value_heads": 4096, "head_dim": 2**14,
    "patch_size": 1024, "image_size": 8192, "cross_attention_frequency": 1024,
    "num_query_tokens": 2**14, "original_max_position_embeddings": 2**31,
    "max_position_embeddings": 2**31, "r": 2**14,
}  # fmt: skip


def section(config: Mapping[str, Any], key: str, default: Any = None) -> Mapping[str, Any]:
    """A nested object; missing or null is `default`, or an empty one.

    Raises:
      UserError: anything else.

    Example: `section({"rope_scaling": None}, "rope_scaling") == {}`.
    """
    value = config.get(key)
    if value is None:
        return {} if default is None else default
    if not isinstance(value, Mapping):
        raise UserError(f"{key} is {shown(value)}; it must be a JSON object")
    return value


def count(config: Mapping[str, Any], key: str, default: int | None = None) -> int:
    """A number of things, from 1 to its limit in `LIMITS`.

    Raises:
      UserError: missing without a default, not an integer, or out of its limits.

    Example: `count({"num_hidden_layers": 32}, "num_hidden_layers") == 32`.
    """
    value, largest = config.get(key, default), LIMITS[key]
    if value is None:
        raise UserError(f"{key} is missing; copy the folder again")
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= largest:
        raise UserError(
            f"{key} is {shown(value)}; it must be an integer from 1 to {largest}: copy the folder "
            "again"
        )
    return value


def number(
    config: Mapping[str, Any], key: str, default: float | None, low: float, high: float
) -> float:
    """A number greater than `low` and at most `high`.

    Raises:
      UserError: missing without a default, not a number, or out of its limits.

    Example: `number({"rms_norm_eps": 1e-5}, "rms_norm_eps", 1e-6, 0, 1) == 1e-5`.
    """
    value = config.get(key, default)
    if value is None:
        raise UserError(f"{key} is missing; copy the folder again")
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not low < value <= high:  # NaN is neither
        raise UserError(
            f"{key} is {shown(value)}; it must be a number greater than {low:g} and at most "
            f"{high:g}: copy the folder again"
        )
    return float(value)


def expect(config: Mapping[str, Any], key: str, choices: tuple[Any, ...], default: Any) -> Any:
    """The value of a key, which must be one of those that this model supports.

    Raises:
      UserError: another value.

    Example: `expect({}, "hidden_act", ("silu",), "silu") == "silu"`.
    """
    value = config.get(key, default)
    if value not in choices:
        raise refused(key, value, choices)
    return value


def refused(key: str, value: Any, choices: tuple[Any, ...]) -> UserError:
    """The error for a value that this model does not support."""
    known = " or ".join(map(repr, choices))
    return UserError(f"config.json says {key}={shown(value)}; only {known} can be imported")


def shown(value: Any) -> str:
    """A value in a message: at most 60 characters of it."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
