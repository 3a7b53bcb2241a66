"""Imports what commands need, for the process that tests.commands forks them from; it must not compute anything with threads."""

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
import src.card
import src.finetune
import src.follow
import src.grid.compare
import src.grid.html
import src.grid.pages
import src.grid.report
import src.grid.schedule
import src.pipeline
import src.predict_csv
import src.predict_lines
import src.train

src.grid.html.vega()  # bundling it takes seconds, which each report would spend
