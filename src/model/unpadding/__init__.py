"""Encoders that process real tokens only."""
