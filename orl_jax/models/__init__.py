"""The video-language model in flax linen."""
