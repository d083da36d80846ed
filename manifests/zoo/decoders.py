"""Causal language models: attention, mixture of experts, state space.

Invariant: no key-value cache; one call scores a whole sequence.
"""

from torch import nn
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
)

from zoo.wrappers import PaddedTextModel, TextModel


def gpt2(layers: int = 12, hidden: int = 768, vocab: int = 50257) -> nn.Module:
    """GPT-2; the defaults are the small model, 124M parameters. The embedding is also the head."""
    config = GPT2Config(
        vocab_size=vocab,
        n_layer=layers,
        n_embd=hidden,
        n_head=hidden // 64,
        use_cache=False,
    )
    return PaddedTextModel(GPT2LMHeadModel(config), "logits")


def llama(layers: int = 2, hidden: int = 128) -> nn.Module:
    """Llama: rotary positions, RMS norms, two query heads to one key-value head."""
    config = LlamaConfig(
        vocab_size=1000,
        num_hidden_layers=layers,
        hidden_size=hidden,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=2 * hidden,
        use_cache=False,
    )
    return PaddedTextModel(LlamaForCausalLM(config), "logits")


def mixtral(layers: int = 2, hidden: int = 128, experts: int = 4) -> nn.Module:
    """Mixtral: each token goes through the two experts that the router picks."""
    config = MixtralConfig(
        vocab_size=1000,
        num_hidden_layers=layers,
        hidden_size=hidden,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=2 * hidden,
        num_local_experts=experts,
        num_experts_per_tok=2,
        use_cache=False,
        # The default loops over the experts that were hit, which no export can follow;
        # "grouped_mm" traces to an operator that only transformers has.
        experts_implementation="batched_mm",
    )
    return PaddedTextModel(MixtralForCausalLM(config), "logits")


def mamba(layers: int = 1, hidden: int = 64) -> nn.Module:
    """Mamba: a state-space model. Its scan is a Python loop, so the sequence length is fixed."""
    config = MambaConfig(
        vocab_size=1000,
        num_hidden_layers=layers,
        hidden_size=hidden,
        state_size=8,
        use_cache=False,
    )
    return TextModel(MambaForCausalLM(config), "logits")
