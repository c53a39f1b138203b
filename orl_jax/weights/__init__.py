"""Import and export of other libraries' weights: Hugging Face folders and PEFT adapters."""
