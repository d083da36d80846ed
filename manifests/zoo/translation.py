"""Encoder-decoder text models.

Invariant: source and target lengths are independent of each other.
"""

from torch import nn
from transformers import MarianConfig, MarianMTModel, T5Config, T5ForConditionalGeneration

from zoo.wrappers import Seq2SeqModel


def t5(layers: int = 2, hidden: int = 128) -> nn.Module:
    """T5: relative position buckets, one table shared by all layers of a stack."""
    config = T5Config(
        vocab_size=1000,
        d_model=hidden,
        d_kv=hidden // 4,
        d_ff=2 * hidden,
        num_layers=layers,
        num_heads=4,
        use_cache=False,
    )
    return Seq2SeqModel(T5ForConditionalGeneration(config), "logits")


def marian(layers: int = 2, hidden: int = 128) -> nn.Module:
    """Marian: the classic translation transformer with sinusoidal positions."""
    config = MarianConfig(
        vocab_size=1000,
        pad_token_id=0,
        decoder_start_token_id=0,
        d_model=hidden,
        encoder_layers=layers,
        decoder_layers=layers,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=2 * hidden,
        decoder_ffn_dim=2 * hidden,
        max_position_embeddings=128,
        use_cache=False,
    )
    return Seq2SeqModel(MarianMTModel(config), "logits")
