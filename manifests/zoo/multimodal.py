"""Models over images and texts together.

Invariant: the number of images and the number of texts are independent of each other.
"""

from torch import nn
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig

from zoo.wrappers import ImageTextModel


def clip(layers: int = 2, hidden: int = 64, image: int = 32) -> nn.Module:
    """CLIP: two towers and the similarity of every image to every text."""
    text = CLIPTextConfig(
        vocab_size=1000,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        max_position_embeddings=64,
        bos_token_id=0,
        eos_token_id=999,
    )
    vision = CLIPVisionConfig(
        image_size=image,
        patch_size=8,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
    )
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=32)
    return ImageTextModel(CLIPModel(config), "logits_per_image", "text_embeds", "image_embeds")
