"""Text encoders: BERT and its relatives.

Invariant: a token's output depends on the whole padded sequence, in both directions.
"""

from torch import nn
from transformers import (
    AlbertConfig,
    AlbertModel,
    BertConfig,
    BertModel,
    DebertaV2Config,
    DebertaV2Model,
    ElectraConfig,
    ElectraForTokenClassification,
)

from zoo.wrappers import PaddedTextModel


def bert(layers: int = 12, hidden: int = 768, vocab: int = 30522) -> nn.Module:
    """BERT; the defaults are BERT-base, 110M parameters."""
    config = BertConfig(
        vocab_size=vocab,
        num_hidden_layers=layers,
        hidden_size=hidden,
        num_attention_heads=hidden // 64,
        intermediate_size=4 * hidden,
    )
    return PaddedTextModel(BertModel(config), "last_hidden_state", "pooler_output")


def electra(layers: int = 2, hidden: int = 128, labels: int = 9) -> nn.Module:
    """ELECTRA as a tagger: one label per token; embeddings narrower than the layers."""
    config = ElectraConfig(
        vocab_size=1000,
        embedding_size=hidden // 2,
        num_hidden_layers=layers,
        hidden_size=hidden,
        num_attention_heads=4,
        intermediate_size=4 * hidden,
        num_labels=labels,
    )
    return PaddedTextModel(ElectraForTokenClassification(config), "logits")


def albert(layers: int = 2, hidden: int = 128) -> nn.Module:
    """ALBERT: all layers are one module, so they share their weights."""
    config = AlbertConfig(
        vocab_size=1000,
        embedding_size=64,
        num_hidden_layers=layers,
        hidden_size=hidden,
        num_attention_heads=4,
        intermediate_size=4 * hidden,
    )
    return PaddedTextModel(AlbertModel(config), "last_hidden_state", "pooler_output")


def deberta(layers: int = 2, hidden: int = 128) -> nn.Module:
    """DeBERTa-v2: attention split into content and relative position."""
    config = DebertaV2Config(
        vocab_size=1000,
        num_hidden_layers=layers,
        hidden_size=hidden,
        num_attention_heads=4,
        intermediate_size=4 * hidden,
        relative_attention=True,
        position_buckets=32,
        norm_rel_ebd="layer_norm",
        share_att_key=True,
        pos_att_type=["p2c", "c2p"],
        max_position_embeddings=128,
    )
    return PaddedTextModel(DebertaV2Model(config), "last_hidden_state")
