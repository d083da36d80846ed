"""Image models: convolutional, attention and hybrid; classification, segmentation, detection.

Invariant: images are float tensors of shape (batch, 3, height, width).

The narrow models start from a wider spread of weights than transformers' default of 0.02: the
outputs of an untrained model would otherwise hardly vary, and a comparison would show little.
"""

from torch import nn
from transformers import (
    ConvNextConfig,
    ConvNextForImageClassification,
    DetrConfig,
    DetrForObjectDetection,
    ResNetConfig,
    ResNetForImageClassification,
    SegformerConfig,
    SegformerForSemanticSegmentation,
    SwinConfig,
    SwinForImageClassification,
    ViTConfig,
    ViTForImageClassification,
)

from zoo.wrappers import ImageModel


def vit(layers: int = 2, hidden: int = 128, image: int = 64) -> nn.Module:
    """ViT: a transformer over patches of a fixed grid."""
    config = ViTConfig(
        image_size=image,
        patch_size=16,
        num_hidden_layers=layers,
        hidden_size=hidden,
        num_attention_heads=4,
        intermediate_size=2 * hidden,
        num_labels=10,
    )
    return ImageModel(ViTForImageClassification(config), "logits")


def resnet(depths: tuple[int, ...] = (1, 1, 1, 1)) -> nn.Module:
    """ResNet with basic blocks. Fully convolutional: any image size will do."""
    config = ResNetConfig(
        embedding_size=16,
        hidden_sizes=[16, 32, 64, 128],
        depths=list(depths),
        layer_type="basic",
        num_labels=10,
    )
    return ImageModel(ResNetForImageClassification(config), "logits")


def convnext(depths: tuple[int, ...] = (1, 1, 1, 1)) -> nn.Module:
    """ConvNeXt: depthwise convolutions in transformer-style blocks."""
    config = ConvNextConfig(
        hidden_sizes=[16, 32, 64, 128],
        depths=list(depths),
        num_labels=10,
    )
    return ImageModel(ConvNextForImageClassification(config), "logits")


def swin(depths: tuple[int, ...] = (2, 2), image: int = 64) -> nn.Module:
    """Swin: attention in windows that shift from layer to layer."""
    config = SwinConfig(
        image_size=image,
        patch_size=4,
        window_size=4,
        embed_dim=32,
        depths=list(depths),
        num_heads=[2, 4],
        num_labels=10,
        initializer_range=0.1,
    )
    return ImageModel(SwinForImageClassification(config), "logits")


def segformer(labels: int = 5) -> nn.Module:
    """SegFormer: a pyramid of attention stages, one class per pixel."""
    config = SegformerConfig(
        num_encoder_blocks=2,
        depths=[1, 1],
        sr_ratios=[4, 2],
        hidden_sizes=[16, 32],
        patch_sizes=[7, 3],
        strides=[4, 2],
        num_attention_heads=[1, 2],
        mlp_ratios=[2, 2],
        decoder_hidden_size=32,
        num_labels=labels,
        initializer_range=0.2,
    )
    return ImageModel(SegformerForSemanticSegmentation(config), "logits")


def detr(layers: int = 1, hidden: int = 64, queries: int = 10) -> nn.Module:
    """DETR: a convolutional backbone, a transformer, and one box per query."""
    backbone = ResNetConfig(
        embedding_size=16,
        hidden_sizes=[16, 32],
        depths=[1, 1],
        layer_type="basic",
        out_features=["stage2"],
    )
    config = DetrConfig(
        use_timm_backbone=False,
        backbone_config=backbone,
        d_model=hidden,
        encoder_layers=layers,
        decoder_layers=layers,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=2 * hidden,
        decoder_ffn_dim=2 * hidden,
        num_queries=queries,
        num_labels=7,
        init_std=0.2,
    )
    return ImageModel(DetrForObjectDetection(config), "logits", "pred_boxes")
