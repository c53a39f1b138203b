"""Weights of other libraries in and out: Hugging Face folders and PEFT adapters."""
