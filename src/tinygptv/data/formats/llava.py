"""LLaVA JSON."""
