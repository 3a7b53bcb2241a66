"""The settings of a run: their schema, their layers, the flags and the aliases."""
