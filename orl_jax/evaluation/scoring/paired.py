"""Two files of predictions on the same items: which items both have."""

from collections.abc import Sequence

from orl_jax.evaluation.scoring.predictions import Item
from orl_jax.run.errors import UserError


def shared(
    first: Sequence[Item],
    second: Sequence[Item],
    names: tuple[str, str] = ("--predictions", "--against"),
) -> list[tuple[int, int]]:
    """Places of the items that both files have, by `item_id`, in the order of the first.

    Args:
      first, second: items.
      names: of the two in messages.

    Raises:
      UserError: none is shared, or one has another question or reference in the second file.

    Example: `shared([{"item_id": "a"}], [{"item_id": "b"}, {"item_id": "a"}]) == [(0, 1)]`.
    """
    places = {item["item_id"]: place for place, item in enumerate(second)}
    pairs = [
        (place, places[item["item_id"]])
        for place, item in enumerate(first)
        if item["item_id"] in places
    ]
    if not pairs:
        raise UserError(
            f"{names[1]} shares no item_id with {names[0]} (here {first[0]['item_id']!r}, "
            f"there {second[0]['item_id']!r}); give two files of the same split"
        )
    for one, other in pairs:
        for name in ("question", "reference"):
            if first[one].get(name) != second[other].get(name):
                raise UserError(
                    f"item {first[one]['item_id']!r} has another {name} in {names[1]}: "
                    f"{second[other].get(name)!r:.60}; give two files of the same data"
                )
    return pairs
