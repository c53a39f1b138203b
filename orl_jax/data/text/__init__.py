"""Text: tokenizers, prompts, subtitles."""
