"""People put answers in order on a local page; `scripts/rank_by_hand.py` serves it.

`cards` is what a person sees of a group, `orders` the file that it goes to, `session` who is asked
about what next, `server` the page's HTTP. No jax here.
"""
