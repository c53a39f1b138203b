"""Who orders, scores and judges answers: sections of `configs/demo.py`, which explains units.

The Oracle of RL, the preferences that a ranker and a reward model learn from, these two models, the
audit of an Oracle, and the judge of predictions.
"""


def oracle() -> dict:
    """Who ranks the answers. Keys of other Oracles than the one named are unused."""
    return {
        # reference | graded | facts | served | recorded | embedding | ranker | reward | ensemble |
        # noisy | reversed | top | coarse | distorted | delayed | module:function (a request in, an
        # order out)
        "name": "reference",
        "members": (),  # of ensemble: names; their ranks are averaged
        "quorum": 1,  # of ensemble: members that must have a ranking of a group
        "policy": "skip",  # a failing Oracle: skip its groups | raise
        # If a larger share of a step's groups has no ranking: wait, ask about them again and, if
        # that does not help, stop before the update with a checkpoint. 1 never stops.
        "halt_above": 1.0,
        "pause_seconds": 30.0,
        # While the Oracle is asked:
        "overlap": False,  # decode and encode the next step's videos; the results are the same
        "lag": 0,  # 1: also sample the next step's answers, from a policy that is one update older
        "inner": "reference",  # of noisy … delayed: the Oracle that they wrap
        "swap_probability": 0.0,  # of noisy: of each answer, to exchange ranks with another
        "invalid_probability": 0.0,  # of noisy: of each group, to have no ranking
        "top_k": 1,  # of top: answers that it names; the others are tied
        "levels": 2,  # of coarse: levels that it distinguishes
        "delay_seconds": 1.0,  # of delayed: of every call
        "distortion": 1.0,  # of distorted: how much the scale differs between prompts
        "scales": (),  # of graded: tuples of values in their order, such as ("one", "two", "three")
        "checkpoint": "",  # of ranker: WORKDIR/checkpoints/oracle; of reward: …/reward
        "tie_margin": 1.0,  # of ranker: scores no further apart are tied; in log-odds
        "recorded": "",  # of recorded: a file of orders, e.g. from scripts/rank_by_hand.py
        "seed": 0,  # of noisy, top, distorted, served
        "served": served(),
        # Of embedding: the folder of a sentence model (or its name, to be downloaded), texts at a
        # time, and what answers should be near to: reference | others (of the group) | question.
        "embedding": {"model": "", "batch_size": 64, "near": "reference"},
    }


def server() -> dict:
    """How a model behind an OpenAI-compatible address is asked, for an Oracle or a judgement."""
    return {
        "key_variable": "OPENAI_API_KEY",  # the environment variable with the key; never the key
        "reply_tokens": 0,  # of one reply at most; 0 leaves it to the server
        "concurrency": 8,  # groups of answers, or answers to judge, at a time
        "timeout": 60.0,  # seconds, of a call
        "attempts": 5,  # of a call that fails, the first included
        "deadline": 300.0,  # seconds, of a step, or of an answer to judge
        "max_calls": 0,  # of the run; 0 is no limit
        "max_tokens": 0,
        "cache_mb": 500.0,  # 10^6 bytes, of a cache
    }


def served() -> dict:
    """An Oracle behind such an address (docs/oracles.md); inherits `server`."""
    return {
        "address": "",  # with its path, such as http://127.0.0.1:8000/v1
        "model": "",  # as the server names it
        "mode": "listwise",  # listwise | pairwise (a tournament, for weak judges)
        "shuffles": 1,  # calls a group, each in another order; their ranks are averaged
        "frames": 0,  # of the video, as JPEG pictures; 0 is text only
        "frame_size": 224,
        "show_reference": False,  # the judge sees the right answer
        "cache": "",  # a folder of rankings that need not be asked again; "" is none
    }


def preferences() -> dict:
    """Answers of the SFT policy in an Oracle's order, which a ranker and a reward model learn."""
    return {
        "init_from": "",  # a checkpoint; "" is WORKDIR/checkpoints/sft
        "prompts": 8192,  # of the training split; one pair each, unless all its answers are tied
        "samples": 5,  # answers a prompt
        "distractors": 1,  # how many of them answer other prompts of the same task type
        "temperature": 1.5,  # above RL's, so that rare answers appear as well
        "batch_size": 64,  # prompts
        "seed": 0,
        # Inherits `oracle`; these swaps invert 14 % of the pairs of a group of 4.
        "oracle": {"name": "noisy", "swap_probability": 0.2},
    }


def score_model() -> dict:
    """What a reward model and a ranker have in common; inherits `optimizer`."""
    return {
        "init_from": "",  # a checkpoint; "" is WORKDIR/checkpoints/sft
        "held_out": 0.1,  # share of the videos whose pairs or lists are for validation
        # Neither vision/.* nor language/lm_head, which get no gradient.
        "trainable": ((".*/lora_[ab]", "train"), (".*", "freeze")),
        "seconds": 0.0,  # stop after this time, whatever the steps; 0 for no limit
        "batch_size": 64,  # pairs, or lists
        "log_every": 10,
        "validate_every": 100,
    }


def reward() -> dict:
    """VLM-RLAIF's scalar reward model; inherits `score_model`."""
    return {
        "pairs": "",  # a file; "" is WORKDIR/preferences.jsonl
        "centring": 1e-3,  # weight of the term that keeps the mean score near 0
        "steps": 300,
    }


def ranker() -> dict:
    """A trained Oracle, as the paper's; inherits `score_model`."""
    return {
        "learn_from": "lists",  # lists (Plackett-Luce) | pairs (Bradley-Terry)
        # A file; "" is WORKDIR/groups.jsonl, of lists, or WORKDIR/preferences.jsonl, of pairs.
        "orders": "",
        "steps": 500,
        "learning_rate": 1e-3,
    }


def audit() -> dict:
    """For `scripts/audit_oracle.py`; docs/oracles.md explains the measures."""
    return {
        "groups": "",  # a file of groups of answers; several with commas between, * for any name
        # The truth: reference (the rule) | recorded (the orders in the file, by people or another
        # judge) | a file of groups with orders | none
        "truth": "reference",
        "max_groups": 200,  # drawn so that each task type keeps its share; 0 is all
        "seed": 0,  # of the draw, of the orders of presentation and of the intervals
        "shuffles": 3,  # requests a group, each with the answers in another order
        "pairs": 50,  # groups whose pairs are also asked one by one; 0 is none
        "bootstrap": 2000,  # resamples of the groups, for the 95 % intervals
        # Price of a million tokens, as the server counts them; 0 is unknown.
        "price": {"input": 0.0, "output": 0.0},
        # The verdict's limits. The value in brackets turns one off.
        "min_tau": 0.5,  # Kendall's tau-b with the truth (-1)
        "min_pair_accuracy": 0.75,  # of pairs that the truth orders; a tie is half right (0)
        "min_top1": 0.5,  # its best is among the truth's best; compare with chance (0)
        "min_self_tau": 0.6,  # with itself when asked in another order (-1)
        "max_position_bias": 0.15,  # of a slot's mean rank, 1 = always first or last (1)
        "max_length_bias": 0.25,  # Spearman's rho with the length, beyond the truth's own (2)
        "max_invalid": 0.05,  # share of requests without a ranking (1)
        "min_transitive": 0.9,  # share of triples without a cycle, asked pair by pair (0)
    }


def judge() -> dict:
    """Who judges answers for `scripts/score.py`, behind such an address; inherits `server`."""
    return {
        "address": "",  # with its path, such as http://127.0.0.1:8000/v1
        "model": "",  # as the server names it, with its date or revision: an alias changes
        "asks": 2,  # times an answer is judged until a verdict can be read, the first included
        "cache": "",  # a folder of verdicts that several files of predictions share; "" is none
    }
