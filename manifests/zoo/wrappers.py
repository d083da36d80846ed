"""Wrappers that put a plain face on transformers models.

Invariant: only tensors, and dicts of tensors, cross `forward`; no `ModelOutput`, no cache
object, no `**kwargs`. An archive that held one of those could not be loaded without transformers.
"""

from torch import Tensor, nn

Output = Tensor | dict[str, Tensor]


class PlainModel(nn.Module):
    """Holds a transformers model and the names of the outputs to deliver."""

    def __init__(self, model: nn.Module, *outputs: str) -> None:
        super().__init__()
        self.model = model
        self.outputs = outputs

    def run(self, **inputs: Tensor) -> Output:
        """One output name gives the tensor itself, several give a dict."""
        result = self.model(**inputs)
        if len(self.outputs) == 1:
            return result[self.outputs[0]]
        return {name: result[name] for name in self.outputs}


class PaddedTextModel(PlainModel):
    """A batch of token sequences, padded to one length."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Output:
        return self.run(input_ids=input_ids, attention_mask=attention_mask)


class TextModel(PlainModel):
    """A batch of token sequences without padding."""

    def forward(self, input_ids: Tensor) -> Output:
        return self.run(input_ids=input_ids)


class Seq2SeqModel(PlainModel):
    """A padded source for the encoder and a target for the decoder."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor, decoder_input_ids: Tensor) -> Output:
        return self.run(
            input_ids=input_ids,
            attention_mask=attention_mask,
            decoder_input_ids=decoder_input_ids,
        )


class ImageModel(PlainModel):
    """A batch of images."""

    def forward(self, pixel_values: Tensor) -> Output:
        return self.run(pixel_values=pixel_values)


class ImageTextModel(PlainModel):
    """Images on one side, padded texts on the other."""

    def forward(self, pixel_values: Tensor, input_ids: Tensor, attention_mask: Tensor) -> Output:
        return self.run(pixel_values=pixel_values, input_ids=input_ids, attention_mask=attention_mask)


class AudioModel(PlainModel):
    """A batch of raw audio."""

    def forward(self, input_values: Tensor) -> Output:
        return self.run(input_values=input_values)


class SpeechSeq2SeqModel(PlainModel):
    """A spectrogram for the encoder and a target for the decoder."""

    def forward(self, input_features: Tensor, decoder_input_ids: Tensor) -> Output:
        return self.run(input_features=input_features, decoder_input_ids=decoder_input_ids)
