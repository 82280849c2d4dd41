"""One part of the model from the files of others: names translated, fused matrices put in order, nothing left over."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain

import torch

from tinygptv.ground.errors import CheckpointError
from tinygptv.model.authors import layouts, names, sizes
from tinygptv.model.authors.accounts import check, gather, origin_of, refuse
from tinygptv.model.authors.sizes import Tensors
from tinygptv.model.language import AUTHORS
from tinygptv.model.language.interface import Architecture

EVA_G_WIDTH, EVA_G_BLOCKS, EVA_G_USED = 1408, 40, 39
"""EVA-CLIP's ViT-g has a block more than the authors build. Source: ``eva_vit.py``, create_eva_vit_g."""


@dataclass(slots=True)
class Converted:
    """A part of the model, complete, by our names."""

    tensors: dict[str, torch.Tensor]
    ignored: dict[str, str]
    """Their names, as ``phi/…``, ``vision/…`` or ``qformer/…``, to the reason."""
    fresh: list[str]
    """Our names of what the files lack: the added norms, at 1 and 0."""
    mapped: dict[str, str] = field(default_factory=dict)
    """Their names, with the same prefixes, to ours; parts of a fused matrix as ``….weight#q``."""
    layout: str = ""
    """Of the language model's file: ``interleaved``, ``thirds`` or ``separate``."""


def convert_language_model(
    tensors: Tensors, heads: int, layout: str | None = None, architecture: Architecture = AUTHORS
) -> Converted:
    """A language model as our class names and orders it.

    Args:
        tensors: a file of the authors', of Microsoft's or of transformers' (any version).
        heads: attention heads; no shape tells them.
        layout: ``interleaved`` or ``thirds``, where the names do not tell it.
        architecture: which language model it is.

    Raises:
        CheckpointError: tensors are missing, unknown or of another shape, or the layout cannot be told.
    """
    files, origin = architecture.files, origin_of(tensors, "phi")
    known = files.plain(tensors)
    theirs = {plain: name for name, plain in known.items()}
    rules = (*chain.from_iterable(files.layouts.values()), *files.ambiguous)
    found = names.match(theirs, rules, files.ignored)
    refuse(origin, unknown=[theirs[name] for name in found.unknown])
    settled = layouts.settle(origin, found.mapped, layout, files)
    mapped = {theirs[name]: target for name, target in found.mapped.items()}

    ours: dict[str, torch.Tensor] = {}
    for target, parts in gather(origin, mapped).items():
        if "" not in parts:
            ours[target] = layouts.from_separate(origin, {p: (n, tensors[n]) for p, n in parts.items()}, heads)
        elif layouts.is_fused(target, files) and settled == "thirds":
            ours[target] = layouts.from_thirds(tensors[parts[""]], heads)
        else:
            ours[target] = tensors[parts[""]]
    with torch.device("meta"):
        expected = architecture.model(sizes.text_config(origin, ours, heads, architecture=architecture)).state_dict()
    fresh = add_norms(ours, expected, architecture)
    back = names.reverse(files.layouts[settled])
    check(origin, ours, expected, lambda name: names.translate(name, back) or name)
    ignored = {f"phi/{theirs[name]}": reason for name, reason in found.ignored.items()}
    return Converted(ours, ignored, fresh, {f"phi/{name}": target for name, target in mapped.items()}, settled)


def add_norms(ours: dict[str, torch.Tensor], expected: Tensors, architecture: Architecture) -> list[str]:
    """Where a file has none of TinyGPT-V's own norms, add them as they start; the names added."""
    values = architecture.starts(expected)
    if not values.keys().isdisjoint(ours):
        return []  # a file with some of them is checked for all
    for name, value in values.items():
        ours[name] = torch.full(expected[name].shape, value)
    return list(values)


def convert_image_encoder(vision_tensors: Tensors, qformer_tensors: Tensors) -> Converted:
    """Image tower, Q-Former and queries as ``TinyGPTVImageEncoder`` names them.

    Both may be one Hugging Face folder of BLIP-2, of which only what is needed is read.

    Args:
        vision_tensors: the authors' EVA-CLIP file, or a BLIP-2 folder.
        qformer_tensors: LAVIS' BLIP-2 file, or a BLIP-2 folder. The norm between the two comes from here.

    Raises:
        CheckpointError: tensors are missing, unknown or of another shape.
    """
    from tinygptv.model.configuration import TinyGPTVConfig
    from tinygptv.model.vision import TinyGPTVImageEncoder

    vision, qformer = origin_of(vision_tensors, "vision"), origin_of(qformer_tensors, "qformer")
    tower = names.match(vision_tensors, names.EVA + names.BLIP2_TOWER, names.IGNORED_OF_TOWER)
    refuse(vision, unknown=tower.unknown)
    drop_last_block(vision_tensors, tower)
    head = names.match(qformer_tensors, names.QFORMER + names.BLIP2_QFORMER, names.IGNORED_OF_QFORMER)
    refuse(qformer, unknown=head.unknown)
    check_position_ids(qformer, qformer_tensors)

    ours: dict[str, torch.Tensor] = {}
    for target, parts in gather(vision, tower.mapped).items():
        if "" in parts:
            ours[target] = vision_tensors[parts[""]]
        else:
            ours[target] = join_biases(vision, {part: (name, vision_tensors[name]) for part, name in parts.items()})
    for target, parts in gather(qformer, head.mapped).items():
        ours[target] = qformer_tensors[parts[""]]
    # Heads change no shape: one is as good as another for the check.
    config = TinyGPTVConfig(
        vision_config=sizes.vision_config(vision, ours, heads=1),
        qformer_config=sizes.qformer_config(qformer, ours, heads=1),
        num_query_tokens=ours["query_tokens"].shape[1],
    )
    with torch.device("meta"):
        module = TinyGPTVImageEncoder(config)
    back = names.reverse(names.QFORMER if "Qformer" in "".join(head.mapped) else names.BLIP2_QFORMER)
    back += names.reverse(names.BLIP2_TOWER if "vision_model" in "".join(tower.mapped) else names.EVA)
    check(f"{vision} with {qformer}", ours, module.state_dict(), lambda name: names.translate(name, back) or name)
    return Converted(
        ours,
        {f"vision/{name}": reason for name, reason in tower.ignored.items()}
        | {f"qformer/{name}": reason for name, reason in head.ignored.items()},
        [],
        {f"vision/{name}": target for name, target in tower.mapped.items()}
        | {f"qformer/{name}": target for name, target in head.mapped.items()},
    )


def join_biases(origin: str, parts: dict[str, tuple[str, torch.Tensor]]) -> torch.Tensor:
    """EVA-CLIP's biases of queries and values [D] each as one [(3 D)]; keys have none there, and zeros here."""
    name = next(iter(parts.values()))[0]
    refuse(origin, missing=[f"{name[: -len('q_bias')]}{part}_bias" for part in "qv" if part not in parts])
    query, value = parts["q"][1], parts["v"][1]
    if query.shape != value.shape:
        raise CheckpointError(f"{origin}: {parts['q'][0]} and {parts['v'][0]} differ in shape")
    return torch.cat([query, torch.zeros_like(value), value])


def drop_last_block(tensors: Tensors, tower: names.Matches) -> None:
    """Leave out the block of EVA-CLIP's ViT-g that the authors do not build."""
    if "cls_token" not in tensors or tensors["cls_token"].shape[-1] != EVA_G_WIDTH:
        return
    last = f"blocks.{EVA_G_BLOCKS - 1}."
    for name in [name for name in tower.mapped if name.startswith(last)]:
        del tower.mapped[name]
        tower.ignored[name] = f"the authors' tower stops after {EVA_G_USED} of EVA-CLIP's {EVA_G_BLOCKS} blocks"


def check_position_ids(origin: str, tensors: Tensors) -> None:
    """The buffer is left out because it only counts; that is looked at.

    Raises:
        CheckpointError: it holds something else.
    """
    if names.POSITION_IDS in tensors:
        found = tensors[names.POSITION_IDS]
        if found.ndim != 2 or not torch.equal(found, torch.arange(found.shape[-1]).expand(found.shape)):
            raise CheckpointError(f"{origin}: {names.POSITION_IDS} does not count 0, 1, 2, …; it is of another model")
