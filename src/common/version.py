"""The version of this project: the commands show it with --version, and runs record it."""

VERSION = "1.0.0"
