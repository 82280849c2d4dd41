"""Whether the paper's "gradient vanish" without QK-Norm is an overflow of q·k in float16: `benchmarks/float16.py`.

A small Phi-2 (heads of 80 channels, as there) with frozen random matrices and trained projections and norms, as in
stage 1, learns which words follow an image of which kind. In its last block the matrices of queries and keys are scaled
so that the largest entry of both is that of Phi-2: "at the level of a few hundreds" (mlc-ai/mlc-llm pull request 1870),
in late blocks (lablup/mlxcel issue 1710: NaN from block 29 of 32 on). A head's product overflows at 65,504: one
channel of 256 in both is enough.

Trained as the authors do it (autocast, GradScaler as torch has it, no clipping), with their attention, which multiplies
in the format and divides by the root of 80 afterwards, and with torch's kernel. Results:
benchmarks/results/float16.json, and a table, on the terminal and in docs/ablations.md.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, eager_mask, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.phi.modeling_phi import eager_attention_forward

from tinygptv.ground import runtime
from tinygptv.ground.arguments import Parser
from tinygptv.ground.files import write_json, write_text
from tinygptv.model.language.phi import PHI, TinyGPTVPhiForCausalLM, TinyGPTVTextConfig

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "float16.json"
PAGE = ROOT / "docs" / "ablations.md"
BEGIN, END = "<!-- table: benchmarks/float16.py -->", "<!-- end of table -->"

HEADS, CHANNELS, BLOCKS, VOCABULARY = 4, 80, 4, 256
KINDS, VISUAL_TOKENS, WORDS, FEATURES, BATCH = 8, 8, 8, 64, 16
LEARNING_RATE = 3e-3
LARGEST = torch.finfo(torch.float16).max
FEW_HUNDREDS = 300.0
"""The largest entry of Phi-2's queries and keys, by the sources above."""
KERNELS = {
    "eager": (eager_attention_forward, eager_mask),  # the authors': (q·k in the format) / √80, softmax in float32
    "sdpa": (sdpa_attention_forward, sdpa_mask),
}


@dataclass(frozen=True, slots=True)
class Case:
    """How a model is trained."""

    format: str
    kernel: str
    qk_norm: bool
    entry: float | None
    """The largest entry that the last block's matrices give queries and keys; None: what random ones give."""


CASES = (
    *(Case("float16", "eager", False, entry) for entry in (None, 30.0, 100.0, FEW_HUNDREDS)),
    Case("float16", "eager", True, FEW_HUNDREDS),
    Case("float16", "sdpa", False, FEW_HUNDREDS),
    Case("bfloat16", "eager", False, FEW_HUNDREDS),
    Case("float32", "eager", False, FEW_HUNDREDS),
)


class Scores:
    """Looks at queries and keys on their way into a kernel; of the last block it keeps what it saw."""

    def __init__(self, kernel: str) -> None:
        self.name = f"watched_{kernel}"
        self._attend, mask = KERNELS[kernel]
        self.entries, self.product, self.over = (0.0, 0.0), 0.0, 0.0
        ALL_ATTENTION_FUNCTIONS.register(self.name, self)
        ALL_MASK_ATTENTION_FUNCTIONS.register(self.name, mask)

    def __call__(self, block: Any, query_BHTC: Any, key_BHTC: Any, *rest: Any, **settings: Any) -> Any:
        """As the kernel."""
        if block.layer_idx == BLOCKS - 1:
            with torch.no_grad(), torch.autocast(query_BHTC.device.type, enabled=False):
                product_BHTT = query_BHTC.float() @ key_BHTC.float().transpose(-1, -2)
                seen_BHN = product_BHTT[..., torch.ones_like(product_BHTT[0, 0]).tril().bool()].abs()
                self.entries = query_BHTC.abs().max().item(), key_BHTC.abs().max().item()
                self.product, self.over = seen_BHN.max().item(), (seen_BHN > LARGEST).float().mean().item()
        return self._attend(block, query_BHTC, key_BHTC, *rest, **settings)


class Learner(nn.Module):
    """Two projections and a language model: an image's features and the words so far to the loss of the next ones."""

    def __init__(self, case: Case, scores: Scores) -> None:
        super().__init__()
        width = HEADS * CHANNELS
        self.projections = nn.Sequential(nn.Linear(FEATURES, 2 * width), nn.Linear(2 * width, width))
        config = TinyGPTVTextConfig(
            vocab_size=VOCABULARY,
            hidden_size=width,
            intermediate_size=4 * width,
            num_hidden_layers=BLOCKS,
            num_attention_heads=HEADS,
            partial_rotary_factor=0.4,
            resid_pdrop=0.0,
            qk_layernorm=case.qk_norm,
            attn_implementation=scores.name,
        )
        self.language_model = TinyGPTVPhiForCausalLM(config)

    def forward(self, features_BVF: torch.Tensor, words_BW: torch.Tensor) -> torch.Tensor:
        """The mean cross-entropy of the words."""
        words_BWD = self.language_model.get_input_embeddings()(words_BW)
        hidden_BTD = torch.cat((self.projections(features_BVF), words_BWD.to(torch.float32)), dim=1)
        logits_BWV = self.language_model(inputs_embeds=hidden_BTD, use_cache=False).logits[:, -WORDS - 1 : -1]
        return nn.functional.cross_entropy(logits_BWV.flatten(0, 1).float(), words_BW.flatten())


def batch(step: int, seed: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Images of some kinds with noise [B, V, F], and the words of their kinds [B, W]."""
    fixed, drawn = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed + 1 + step)
    kinds = torch.randn(KINDS, VISUAL_TOKENS, FEATURES, generator=fixed)
    words = torch.randint(VOCABULARY, (KINDS, WORDS), generator=fixed)
    chosen = torch.randint(KINDS, (BATCH,), generator=drawn)
    noise = torch.randn(BATCH, VISUAL_TOKENS, FEATURES, generator=drawn)
    return (kinds[chosen] + 0.1 * noise).to(device), words[chosen].to(device)


def build(case: Case, scores: Scores, seed: int, device: torch.device) -> tuple[Learner, list[nn.Parameter]]:
    """The model in its format, and what trains: the projections and the gains of the norms, in float32."""
    torch.manual_seed(seed)
    model = Learner(case, scores).to(device)
    if case.entry is not None:
        fused = model.language_model.model.layers[-1].self_attn.query_key_value
        made: list[torch.Tensor] = []
        with fused.register_forward_hook(lambda layer, given, out: made.append(out)), torch.no_grad():
            model(*batch(0, seed, device))
            largest_3 = made[0].view(-1, HEADS, 3, CHANNELS).abs().amax(dim=(0, 1, 3))
            for part in (0, 1):  # queries and keys, as they are before a norm
                fused.weight.view(HEADS, 3, CHANNELS, -1)[:, part] *= case.entry / largest_3[part]
    frozen = getattr(torch, case.format)
    trained = list(model.projections.parameters())
    for name, parameter in model.language_model.named_parameters():
        if PHI.is_norm(name):
            trained += [parameter] if name.endswith("weight") else []
        else:
            parameter.data = parameter.data.to(frozen)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for parameter in trained:
        parameter.requires_grad_(True)
    return model, trained


def train(case: Case, steps: int, seed: int, device: torch.device) -> dict[str, Any]:
    """Train as the authors do, and tell what became of it."""
    scores = Scores(case.kernel)
    model, trained = build(case, scores, seed, device)
    optimizer = torch.optim.AdamW(trained, lr=LEARNING_RATE)
    scaler = torch.amp.GradScaler(device.type, enabled=case.format == "float16")
    begun = [parameter.detach().clone() for parameter in trained]
    losses, skipped, first = [], 0, {}
    for step in range(steps):
        with torch.autocast(device.type, getattr(torch, case.format), enabled=case.format != "float32"):
            loss = model(*batch(step, seed, device))
        first = first or {name: getattr(scores, name) for name in ("entries", "product", "over")}
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        finite = all(bool(parameter.grad.isfinite().all()) for parameter in trained if parameter.grad is not None)
        before = scaler.get_scale()
        scaler.step(optimizer)
        scaler.update()
        skipped += scaler.get_scale() < before
        losses.append(loss.item())
        if not finite and not scaler.is_enabled():
            break
    moved = any(not torch.equal(old, new) for old, new in zip(begun, trained, strict=True))
    return {
        **asdict(case),
        "first": first,
        "losses": [value if math.isfinite(value) else None for value in losses],
        "skipped": skipped,
        "scale": scaler.get_scale(),
        "moved": moved,
    }


def table(found: list[dict[str, Any]]) -> str:
    """One row a case."""
    lines = [
        "| format | attention | QK-Norm | largest entry of q and k | largest q·k | beyond 65,504 "
        "| loss, first and last | steps without update |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for one in found:
        seen, losses = one["first"], ["NaN" if v is None else f"{v:.3f}" for v in one["losses"]]
        entries = " and ".join(f"{entry:.3g}" for entry in seen["entries"])
        lines.append(
            f"| {one['format']} | {one['kernel']} | {'yes' if one['qk_norm'] else 'no'} "
            f"| {entries} | {seen['product']:,.0f} | {seen['over']:.1%} "
            f"| {losses[0]}, {losses[-1]} | {one['skipped']} of {len(losses)} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Train every case and write results and table."""
    parser = Parser(prog="benchmarks/float16.py", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--steps", type=int, default=40, metavar="N", help="of each case")
    options = parser.parse_args()
    if options.steps < 1:
        parser.error("--steps of at least 1")
    device = torch.device(options.device)
    torch.set_num_threads(1)  # small products
    found = [train(case, options.steps, 7, device) for case in CASES]
    write_json(RESULTS, {"environment": runtime.environment(), "cases": found})
    told = table(found)
    print(told)
    head, _, rest = PAGE.read_text().partition(BEGIN)
    write_text(PAGE, f"{head}{BEGIN}\n{told}\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()
