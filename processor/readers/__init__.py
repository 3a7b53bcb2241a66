"""Data files of every format as records."""
