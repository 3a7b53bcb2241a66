"""What everything stands on: errors, files, the log, progress, signals, streams, and how a command starts and exits."""
