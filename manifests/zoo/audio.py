"""Speech models: one over raw audio, one over spectrograms.

Invariant: no feature extractor is part of a model; inputs are already numbers.
"""

from torch import nn
from transformers import (
    Wav2Vec2Config,
    Wav2Vec2ForCTC,
    WhisperConfig,
    WhisperForConditionalGeneration,
)

from zoo.wrappers import AudioModel, SpeechSeq2SeqModel


def wav2vec2(layers: int = 2, hidden: int = 64) -> nn.Module:
    """Wav2Vec2 for CTC: seven strided convolutions, then a transformer."""
    config = Wav2Vec2Config(
        vocab_size=32,
        num_hidden_layers=layers,
        hidden_size=hidden,
        num_attention_heads=4,
        intermediate_size=2 * hidden,
        conv_dim=(32,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
    )
    return AudioModel(Wav2Vec2ForCTC(config), "logits")


def whisper(layers: int = 2, hidden: int = 64, frames: int = 200) -> nn.Module:
    """Whisper: the encoder wants exactly `frames` frames of 80 mel bins, padded to that."""
    config = WhisperConfig(
        vocab_size=1000,
        num_mel_bins=80,
        d_model=hidden,
        encoder_layers=layers,
        decoder_layers=layers,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=2 * hidden,
        decoder_ffn_dim=2 * hidden,
        max_source_positions=frames // 2,
        max_target_positions=64,
        use_cache=False,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    )
    return SpeechSeq2SeqModel(WhisperForConditionalGeneration(config), "logits")
