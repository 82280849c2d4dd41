"""Answers, token by token, after prompts that the language model has gone over: one loop for every device.

Keys and values lie in slots that are all there before the first token, so that a step has the same shapes and places
as the one before it: on a GPU it is captured once and replayed (a CUDA graph), its blocks compiled, and a step is on
its way before the last one's token is read. On the CPU the same steps run without that, see the slots in use alone, and
leave out answers that have ended.

Shapes: B rows, T slots (S of them new), D width, H heads, C channels of a head, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from tinygptv.ground import runtime
from tinygptv.model.decoding.chorus import Chorus, Speech
from tinygptv.model.decoding.slots import Slots, Tokens, bucket
from tinygptv.model.decoding.step import say, step_block, twin
from tinygptv.model.frozen8bit import FrozenLinear8bit
from tinygptv.model.language import architecture_of
from tinygptv.model.modeling import finite

if TYPE_CHECKING:
    from transformers import DynamicCache

    from tinygptv.model.modeling import TinyGPTVForConditionalGeneration

HELD_BYTES = 1 << 30
"""Of keys and values of captured steps that are held beside a new one's."""


@dataclass(slots=True, kw_only=True)
class Seen:
    """Rows of tokens that the language model has gone over, with what it keeps of them."""

    cache: DynamicCache
    mask_BT: torch.Tensor
    """1 for tokens, 0 for padding, which may lie anywhere, and for what ``prompts.attended`` leaves out."""
    tokens_B: torch.Tensor
    """How many tokens of each row, without padding."""
    hidden_BSD: torch.Tensor
    """Of the tokens that came last."""

    def rows(self, rows: Sequence[int]) -> Seen:
        """These rows, as often as they are named; what is here stays as it is."""
        from transformers import DynamicCache

        kept = DynamicCache([(keys_BHTC[rows], values_BHTC[rows]) for keys_BHTC, values_BHTC, *_ in self.cache])
        return Seen(
            cache=kept, mask_BT=self.mask_BT[rows], tokens_B=self.tokens_B[rows], hidden_BSD=self.hidden_BSD[rows]
        )


class Decoder:
    """A language model that goes over tokens and says the next ones."""

    def __init__(
        self, model: TinyGPTVForConditionalGeneration, *, graphs: bool | None = None, compiled: bool | None = None
    ) -> None:
        """Let a model speak.

        Args:
            model: in evaluation mode; it stays on its device.
            graphs: whether steps have fixed shapes and, on a GPU, are captured; None: on a GPU, where they can be.
            compiled: whether their blocks are compiled; None: where they are captured and Triton is there.
        """
        from torch.utils._triton import has_triton

        language_model = model.language_model
        described = architecture_of(model.config.get_text_config())
        self._model, self._language_model = model, language_model
        self.device: torch.device = language_model.device
        self._on_gpu = self.device.type == "cuda"
        # bitsandbytes asks the GPU between its kernels which activations are outliers, and cannot be compiled.
        small = [part for part in language_model.modules() if isinstance(part, FrozenLinear8bit)]
        foreign = [part for part in small if not part.weight_only]
        self._fixed = self._on_gpu if graphs is None else graphs
        training = torch.is_autocast_enabled(self.device.type)  # a look at weights that change, and at copies of them
        self._captured = self._fixed and self._on_gpu and not training and not any(part.threshold for part in foreign)
        self._blocks: list[nn.Module] = list(described.blocks_of(language_model))
        self._norm = language_model.get_submodule(described.final_norm)
        self._block: Callable[..., torch.Tensor] = step_block
        self._say: Callable[..., torch.Tensor] = say
        if (self._captured and not foreign and has_triton()) if compiled is None else compiled:
            self._blocks = [twin(block) for block in self._blocks]
            # Shapes that change, such as the count of slots, become symbols the second time they are met.
            options = runtime.untimed() if torch.are_deterministic_algorithms_enabled() else None
            self._block, self._say = (torch.compile(work, options=options) for work in (step_block, say))
        self._kept: dict[tuple[int, int], Slots] = {}

    def embed(self, prompts: Sequence[Sequence[int]], visual_BQD: torch.Tensor) -> list[torch.Tensor]:
        """Embeddings [T, D] of prompts, each with the visual tokens of one image in its slots.

        Raises:
            ValueError: a prompt has other slots than those of one image.
        """
        slot, queries = self._model.config.image_token_id, visual_BQD.shape[1]
        ids = [token for prompt in prompts for token in prompt]
        for prompt in prompts:
            if (found := list(prompt).count(slot)) != queries:
                raise ValueError(f"a prompt has {found} image slots, an image gives {queries} visual tokens")
        slots_S = torch.tensor([place for place, token in enumerate(ids) if token == slot], device=self.device)
        embedded_1TD = self._model.embed(torch.tensor([ids], device=self.device), visual_BQD, slots_S)
        return list(embedded_1TD[0].split([len(prompt) for prompt in prompts]))

    def read(
        self,
        rows_SD: Sequence[torch.Tensor],
        before: Seen | None = None,
        masks: Sequence[Sequence[int]] | None = None,
    ) -> Seen:
        """Go over the embeddings of tokens, those of each row after what was seen ``before``, which is used up.

        Args:
            rows_SD: of each row, at least one.
            before: what was seen.
            masks: of each row, 0 for tokens that are not attended to; None: all are.
        """
        from torch.nn.utils.rnn import pad_sequence
        from transformers import DynamicCache

        new_BSD = pad_sequence(list(rows_SD), batch_first=True, padding_side="left")
        counts = [range(1, len(row_SD) + 1) for row_SD in rows_SD]
        counted_BS = self._padded(counts)
        mask_BT = counted_BS.clamp(max=1) if masks is None else self._padded(masks)
        if before is not None:
            counted_BS = counted_BS + before.tokens_B[:, None]
            mask_BT = torch.cat([before.mask_BT, mask_BT], dim=1)
        cache = DynamicCache() if before is None else before.cache
        hidden_BSD = self._language_model.get_decoder()(
            inputs_embeds=new_BSD,
            attention_mask=mask_BT,
            position_ids=(counted_BS - 1).clamp(min=0),
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state
        return Seen(cache=cache, mask_BT=mask_BT, tokens_B=counted_BS[:, -1], hidden_BSD=hidden_BSD)

    def _padded(self, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        """Numbers with zeros on the left, on the device in one copy."""
        longest = max(map(len, rows))
        return torch.tensor([[0] * (longest - len(row)) + list(row) for row in rows], device=self.device)

    def logits(self, hidden_BD: torch.Tensor) -> torch.Tensor:
        """Of the next token [B, V], in float32.

        Raises:
            NotFiniteError: one of them is infinite or none.
        """
        return finite(self._model.get_output_embeddings()(hidden_BD).float())

    def generate(self, seen: Seen, ends: Sequence[Sequence[int]], limit: int) -> list[Speech]:
        """Greedy answers to prompts.

        Args:
            seen: the prompts, which are used up.
            ends: of each row, the tokens that end its answer.
            limit: tokens of an answer at most, its end included.

        Raises:
            NotFiniteError: the model computes infinities or NaN.
        """
        chorus, speeches = Chorus(self), [Speech(of_row, limit) for of_row in ends]
        chorus.join(seen, speeches)
        while chorus.going:
            chorus.step()
        for speech in speeches:
            if speech.error is not None:
                raise speech.error
        return speeches

    def first(self, seen: Seen) -> torch.Tensor:
        """What is said after prompts: see ``say``."""
        return say(nn.Identity(), self._model.get_output_embeddings(), seen.hidden_BSD[:, -1:])

    def slots(self, seen: Seen, rows: int, slots: int) -> Slots:
        """Empty slots for so many rows; on a GPU those of a step that was captured already, if there are any."""
        if not self._fixed:
            return Slots(seen.cache, rows, slots, fixed=False)
        shape = bucket(rows, slots)
        kept = self._kept.pop(shape, None)
        if kept is not None:
            return kept.empty()
        while self._kept and sum(other.nbytes for other in self._kept.values()) > HELD_BYTES:
            del self._kept[next(iter(self._kept))]
        return Slots(seen.cache, *shape, fixed=True)

    def give_back(self, slots: Slots) -> None:
        """Keep slots for later answers of their shape."""
        if slots.fixed:
            self._kept[len(slots.rows_B), slots.room] = slots

    def step(self, slots: Slots) -> Callable[[], Tokens]:
        """Go over the tokens that came last, and choose the next ones; how to read them."""
        if not self._captured:
            return slots.tell(self._forward(slots))
        if slots.graph is None:
            self._capture(slots)
        assert slots.graph is not None and slots.said_B3 is not None
        slots.graph.replay()
        return slots.tell(slots.said_B3)

    def _capture(self, slots: Slots) -> None:
        """Record a step; what it does on the way to that is undone."""
        kept = slots.state()
        for _ in range(2):  # compiles, loads kernels, sets up libraries
            self._forward(slots)
        torch.cuda.synchronize()
        slots.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(slots.graph, capture_error_mode="thread_local"):
            slots.said_B3 = self._forward(slots)
        slots.restore(kept)

    def _forward(self, slots: Slots) -> torch.Tensor:
        slots.begin()
        hidden_B1D = self._model.get_input_embeddings()(slots.token_B[:, None])
        turns = self._language_model.get_decoder().rotary_emb(hidden_B1D, position_ids=slots.position_B[:, None])
        mask_B11T, rows_B = slots.mask_B11T[..., : slots.window], slots.rows_B
        for block, keys_BHTC, values_BHTC in zip(self._blocks, slots.keys, slots.values, strict=True):
            hidden_B1D = self._block(
                block,
                hidden_B1D,
                mask_B11T,
                turns,
                keys_BHTC[:, :, : slots.window],
                values_BHTC[:, :, : slots.window],
                rows_B,
                slots.slot_B,
            )
        said_B3 = self._say(self._norm, self._model.get_output_embeddings(), hidden_B1D)
        slots.take(said_B3)
        slots.end()
        return said_B3
