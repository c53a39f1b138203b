"""An Oracle is audited on groups of answers before a training run relies on it.

    sample -> asking -> scores (agreement, bias, transitivity) -> summary -> verdict -> page

sample        which groups, and who is right about them
settings      what is asked, and the limits
asking        the asks, each with the answers in another order, kept as they come
agreement     with the truth, and with itself
bias          by the slot of presentation, by length
transitivity  of pairs asked one by one
summary       means with intervals, overall and by task type; costs
verdict       limits, and what is beyond them
page          the report, a file that opens offline
vicuna        a public set of answers with GPT-4's scores as groups

No jax here: an Oracle on the device is passed in.
"""
