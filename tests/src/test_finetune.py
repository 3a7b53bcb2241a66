import torch
from accelerate import Accelerator
from transformers import ElectraConfig, RobertaConfig, RobertaForSequenceClassification

from processor import TASKS
from src.finetune import wrap_model
from src.heads import HEADS
from tests.src.helpers import DEFAULTS, small_model


def test_a_model_gets_its_own_pad_id_and_segments_only_where_it_has_them():
    accelerator = Accelerator(cpu=True)
    electra = wrap_model(small_model(), DEFAULTS, TASKS["paws"], accelerator)
    assert (electra.collate.pad_token_id, electra.collate.segments) == (ElectraConfig().pad_token_id, True)
    shape = {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    roberta = wrap_model(
        RobertaForSequenceClassification(RobertaConfig(type_vocab_size=1, **shape)), DEFAULTS, TASKS["korsts"], accelerator
    )
    assert (roberta.collate.pad_token_id, roberta.collate.segments) == (1, False)  # positions hang on the pad id
    assert (electra.head, roberta.head) == (HEADS["classification"], HEADS["regression"])
    assert roberta.collate.device == torch.device("cpu")
