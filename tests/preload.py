"""Imports what commands need, for the process that tests.commands forks them from; it must not compute anything with threads."""

import os

os.environ["TORCH_CPP_LOG_LEVEL"] = "FATAL"  # as in a follower: torch reads it when it is imported, and warns when a leader ends

import accelerate  # noqa: F401
import rich.live  # noqa: F401
import scipy.stats  # noqa: F401
import seqeval.metrics  # noqa: F401
import sklearn.metrics  # noqa: F401
import transformers.models.auto.tokenization_auto
import transformers.models.bert.tokenization_bert
import transformers.models.electra.modeling_electra  # noqa: F401

import processor.download
import processor.kinds
import processor.own_task  # noqa: F401
import src.grid.schedule
import src.pipeline
import src.predict.csv
import src.predict.lines
import src.report.compare
import src.report.html
import src.report.report
import src.runs.card
import src.training.finetune
import src.training.follower
import src.training.loop

src.report.html.vega()  # bundling it takes seconds, which each report would spend
