"""Tokenizers that transformers does not have."""
