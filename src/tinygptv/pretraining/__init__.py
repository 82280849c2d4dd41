"""Small stand-ins for the backbones that the paper downloads: image tower and Q-Former, language model, tokenizer."""
