"""The data: the embedded world, videos, tokenizer, batches. No jax here."""
