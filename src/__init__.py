"""Settings, models, the training loop and results. Nothing here knows a task by name."""

import os

# Operators that Apple's GPUs lack run on the CPU. PyTorch reads it when it is imported.
os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")
