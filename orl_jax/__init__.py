"""Oracle-RLAIF in JAX: fine-tuning video-language models from the rankings of an Oracle."""

__version__ = "0.1.0"
