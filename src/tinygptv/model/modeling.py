"""TinyGPT-V as one transformers model.

image -> ViT -> Q-Former (32 vectors) -> two projections -> slots in the language model's input.

Source: paper, section 3.1 and figure 4; the authors' ``minigpt4/models/minigpt_v2.py``, ``minigpt_base.py``.
Shapes: B batch, C colours, H height, W width, T tokens, N images of the batch, Q queries, D width, V vocabulary.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import Cache, GenerationMixin, LogitsProcessor, LogitsProcessorList, PreTrainedModel
from transformers.utils import ModelOutput

from tinygptv.data.prompts import IGNORE_INDEX
from tinygptv.ground.digests import SealedFolder
from tinygptv.ground.errors import CheckpointError, NotFiniteError
from tinygptv.model.configuration import TinyGPTVConfig
from tinygptv.model.language import architecture_of
from tinygptv.model.vision import TinyGPTVImageEncoder


@dataclass
class TinyGPTVOutput(ModelOutput):
    """``loss`` (scalar), ``logits`` [B, T, V] and the key-value cache."""

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    past_key_values: Cache | None = None


class TinyGPTVProjector(nn.Module):
    """Two linear maps in a row, no activation between: Q-Former width -> 4096 -> Phi-2's width in the paper."""

    def __init__(self, config: TinyGPTVConfig) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(config.qformer_config.hidden_size, config.projection_size)
        self.linear_2 = nn.Linear(config.projection_size, config.text_config.hidden_size)

    def forward(self, query_BQD: torch.Tensor) -> torch.Tensor:
        """Map Q-Former outputs, which are float32, to the language model's width."""
        return self.linear_2(self.linear_1(query_BQD.to(self.linear_1.weight.dtype)))


class TinyGPTVPreTrainedModel(SealedFolder, PreTrainedModel):
    """What transformers needs to know to load, place and initialise the model."""

    config: TinyGPTVConfig
    base_model_prefix = "model"
    input_modalities = ("image", "text")
    supports_gradient_checkpointing = True
    _no_split_modules = ["Blip2EncoderLayer"]  # noqa: RUF012 (the base's form; the language model tells its own)
    _keep_in_fp32_modules_strict = ["query_tokens", "qformer"]  # noqa: RUF012
    _skip_keys_device_placement = ["past_key_values"]  # noqa: RUF012
    _supports_sdpa = True
    _supports_attention_backend = True


def finite(logits_BV: torch.Tensor) -> torch.Tensor:
    """The logits [B, V], which are numbers.

    Raises:
        NotFiniteError: one of them is infinite or none.
    """
    if not bool(logits_BV.isfinite().all()):
        raise not_finite()
    return logits_BV


def not_finite() -> NotFiniteError:
    """What is told where logits are no numbers."""
    return NotFiniteError(
        "the model's logits are not finite: its weights are damaged, or too large for their number format; "
        "fetch or make the model again"
    )


class FiniteLogits(LogitsProcessor):
    """Stops where a model has nothing to say: among numbers that are none, the first token would win in silence."""

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Pass on the scores [B, V] of the next token.

        Raises:
            NotFiniteError: one of them is infinite or none.
        """
        return finite(scores)


class TinyGPTVForConditionalGeneration(TinyGPTVPreTrainedModel, GenerationMixin):
    """Answers in text to text with images in it."""

    def __init__(self, config: TinyGPTVConfig) -> None:
        super().__init__(config)
        self.image_encoder = TinyGPTVImageEncoder._from_config(config)
        self.projector = TinyGPTVProjector(config)
        self.language_model = architecture_of(config.text_config).model._from_config(config.text_config)
        self.post_init()

    def save_pretrained(self, save_directory: Any, *arguments: Any, **named: Any) -> Any:
        """Write the folder that ``from_pretrained`` opens, also of a model that was opened in 8 bits.

        Raises:
            CheckpointError: adapters are in place; their names are known to nobody who opens a folder.
        """
        if any(".lora_" in name for name, _ in self.named_parameters()):
            raise CheckpointError(f"{save_directory}: merge the adapters first; `export-checkpoint` keeps them apart")
        quantizer = getattr(self, "hf_quantizer", None)
        if quantizer is not None and quantizer.pre_quantized:
            # transformers would undo what loading did: it joined the tensors of a matrix, and knows no way back.
            named.setdefault("save_original_format", False)
        return super().save_pretrained(save_directory, *arguments, **named)

    @property
    def dtype(self) -> torch.dtype:
        """Format of the language model: what a saved folder is opened in (the queries come first, and are float32)."""
        return next(self.get_input_embeddings().parameters()).dtype

    def get_input_embeddings(self) -> nn.Module:
        """The table of token embeddings."""
        return self.language_model.get_input_embeddings()

    def get_output_embeddings(self) -> nn.Module:
        """The language model's head."""
        return self.language_model.get_output_embeddings()

    def get_image_features(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """The visual tokens of images.

        Args:
            pixel_values: normalised pixels [N, C, H, W].

        Returns:
            Projected visual tokens [N, Q, D].
        """
        return self.projector(self.image_encoder(pixel_values))

    def embed(
        self, input_ids: torch.Tensor, image_NQD: torch.Tensor | None, slots_S: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Token embeddings [B, T, D] with visual tokens in the image slots, in order.

        Args:
            input_ids: token ids [B, T].
            image_NQD: visual tokens.
            slots_S: places of the slots among all tokens, row by row; looked for where absent, which waits for the
                device.

        Raises:
            ValueError: the count of slots is not that of the visual tokens.
        """
        slots_BT = input_ids == self.config.image_token_id
        # The slots are masked before the lookup: their id is one past the table.
        embedded_BTD = self.get_input_embeddings()(input_ids.masked_fill(slots_BT, 0))
        if slots_S is None:
            slots_S = slots_BT.flatten().nonzero().flatten()
        found, given = len(slots_S), 0 if image_NQD is None else image_NQD.shape[0] * image_NQD.shape[1]
        if found != given:
            raise ValueError(f"the text has {found} image slots, the images give {given} visual tokens")
        if image_NQD is None:
            return embedded_BTD
        visual_SD = image_NQD.to(embedded_BTD).flatten(0, 1)
        return embedded_BTD.flatten(0, 1).index_copy(0, slots_S, visual_SD).view_as(embedded_BTD)

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        image_features: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        **kwargs: Any,
    ) -> TinyGPTVOutput:
        """Predict the next token at every position.

        Args:
            input_ids: token ids [B, T]; image slots are ``config.image_token_id``.
            attention_mask: 1 for tokens, 0 for padding [B, T].
            pixel_values: normalised pixels of the batch's images [N, C, H, W].
            image_features: Q-Former outputs [N, Q, D] computed before; given instead of ``pixel_values``.
            position_ids: positions [B, T]; counted from the left edge where absent.
            past_key_values: the cache of earlier tokens.
            inputs_embeds: embeddings [B, T, D] instead of ``input_ids``.
            labels: token ids to predict [B, T], ``IGNORE_INDEX`` where none; the shift by one happens here.
            logits_to_keep: compute logits only for the last n positions, or for the given ones; 0: all.
            kwargs: passed to the language model; among them ``boundaries``, where the samples lie in one row
                (``language/packed.py``).

        Returns:
            Logits, the mean cross-entropy over the labelled tokens where labels are given, and the cache.

        Raises:
            ValueError: slots and visual tokens do not match, or both pixels and features are given.
        """
        if pixel_values is not None and image_features is not None:
            raise ValueError("give pixel_values or image_features, not both")
        if inputs_embeds is None:
            assert input_ids is not None
            image_NQD = None
            if pixel_values is not None:
                image_NQD = self.get_image_features(pixel_values)
            elif image_features is not None:
                image_NQD = self.projector(image_features)
            inputs_embeds = self.embed(input_ids, image_NQD)
        output = self.language_model(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            logits_to_keep=logits_to_keep,
            **kwargs,
        )
        loss = None if labels is None else token_loss(output.logits, labels) / (labels[:, 1:] != IGNORE_INDEX).sum()
        return TinyGPTVOutput(loss=loss, logits=output.logits, past_key_values=output.past_key_values)

    def target_logits(self, inputs_embeds: torch.Tensor, targets_L: torch.Tensor, **seen: Any) -> torch.Tensor:
        """What ``forward`` gives at some positions, without computing the head anywhere else.

        Phi-2's head has 51,200 rows: on a long prompt with a short answer its logits are most of the memory.

        Args:
            inputs_embeds: embeddings [B, T, D].
            targets_L: places among all tokens, row by row, whose next token is to be predicted.
            seen: ``attention_mask``, ``position_ids`` and whatever else tells the language model what a token sees.

        Returns:
            Logits [L, V].
        """
        hidden_BTD = self.language_model.get_decoder()(
            inputs_embeds=inputs_embeds, use_cache=False, **seen
        ).last_hidden_state
        return self.get_output_embeddings()(hidden_BTD.flatten(0, 1).index_select(0, targets_L))

    def _get_logits_processor(self, *arguments: Any, **named: Any) -> LogitsProcessorList:
        """Those of transformers, after one that stops where there is nothing to choose from."""
        return LogitsProcessorList([FiniteLogits(), *super()._get_logits_processor(*arguments, **named)])

    def _prepare_position_ids_for_generation(
        self, inputs_tensor: torch.Tensor, model_kwargs: dict[str, Any]
    ) -> torch.Tensor:
        """Positions [B, T], counted from the first attended token on, as where a whole sequence is trained.

        transformers counts attended tokens alone; a conversation has one inside that is not (``prompts.attended``).
        """
        mask_BT = model_kwargs.get("attention_mask")
        if mask_BT is None:
            position_ids: torch.Tensor = super()._prepare_position_ids_for_generation(inputs_tensor, model_kwargs)
            return position_ids
        begun_BT = mask_BT.long().cummax(dim=-1).values
        return (begun_BT.cumsum(dim=-1) - 1).clamp(min=0)

    def prepare_inputs_for_generation(
        self,
        input_ids: torch.Tensor,
        pixel_values: torch.Tensor | None = None,
        image_features: torch.Tensor | None = None,
        is_first_iteration: bool | None = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Images enter with the prompt; afterwards the cache, where there is one, holds them."""
        inputs = super().prepare_inputs_for_generation(input_ids, is_first_iteration=is_first_iteration, **kwargs)
        if is_first_iteration or not kwargs.get("use_cache", True):
            inputs |= {"pixel_values": pixel_values, "image_features": image_features}
        return inputs


def token_loss(logits_BTV: torch.Tensor, labels_BT: torch.Tensor) -> torch.Tensor:
    """Cross-entropy in float32, summed over labelled tokens: position t predicts the label at t + 1."""
    return nn.functional.cross_entropy(
        logits_BTV[:, :-1].flatten(0, 1).float(),  # B(T-1)V -> NV
        labels_BT[:, 1:].flatten(),
        ignore_index=IGNORE_INDEX,
        reduction="sum",
    )
