"""Inputs of predict.py, and its results."""
