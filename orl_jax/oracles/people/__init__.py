"""People rank answers on a local web page, served by `scripts/rank_by_hand.py`.

`cards` defines what a person sees of a group, `orders` the file of their orders, `session` which
group comes next, `server` the page's HTTP. No jax here.
"""
