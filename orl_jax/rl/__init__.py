"""The paper's method, from a rollout to an update. Read `stage`, `learner`, `grpo_rank`."""
