"""One part of the model from the files of others: names translated, fused matrices put in order, nothing left over."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain

import torch

from tinygptv.ground.errors import CheckpointError
from tinygptv.model.authors import layouts, names, sizes
from tinygptv.model.authors.accounts import check, gather, origin_of, refuse
from tinygptv.model.authors.sizes import Tensors
from tinygptv.model.language import ARCHITECTURES, AUTHORS
from tinygptv.model.language.interface import Architecture

USED_BLOCKS = {
    ("cls_token", 1408): (39, "the authors' tower stops after 39 of EVA-CLIP's 40 blocks"),
    ("class_embedding", 1024): (21, "BLIP-2's tower stops after 21 of CLIP's 24 blocks"),
    ("vision_model.embeddings.class_embedding", 1024): (21, "BLIP-2's tower stops after 21 of CLIP's 24 blocks"),
}
"""Of published towers, told by a tensor's name and its width: how many blocks are built.

Sources: the authors' ``eva_vit.py``, create_eva_vit_g; LAVIS' ``clip_vit.py``, create_clip_vit_L, whose 22 layers are
21 blocks (their paper says 23; salesforce/LAVIS#216, #609)."""


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
    if found.unknown:
        refuse_other_family(origin, tensors, architecture)
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


def refuse_other_family(origin: str, tensors: Iterable[str], wanted: Architecture) -> None:
    """Say so where a file is whole and of another language model.

    Raises:
        CheckpointError: it is.
    """
    names_of_theirs = list(tensors)
    for other in ARCHITECTURES.values():
        rules = tuple(chain.from_iterable(other.files.layouts.values()))
        known = other.files.plain(names_of_theirs).values()
        if other is not wanted and not names.match(known, rules, other.files.ignored).unknown:
            raise CheckpointError(
                f"{origin} holds a language model of {other.family}'s kind, not of {wanted.family}'s; "
                f"model.text.architecture calls it {other.name}"
            )


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
        vision_tensors: the authors' EVA-CLIP file, or a BLIP-2 folder; LAVIS' CLIP file, or a CLIP folder.
        qformer_tensors: LAVIS' BLIP-2 file of that tower, or a BLIP-2 folder. The norm between the two comes from here.

    Raises:
        CheckpointError: tensors are missing, unknown or of another shape.
    """
    from tinygptv.model.configuration import TinyGPTVConfig
    from tinygptv.model.vision import TinyGPTVImageEncoder

    vision, qformer = origin_of(vision_tensors, "vision"), origin_of(qformer_tensors, "qformer")
    tower = names.match(
        names.with_parts(vision_tensors),
        names.EVA + names.BLIP2_TOWER + names.CLIP + names.CLIP_TOWER,
        names.IGNORED_OF_TOWER,
    )
    refuse(vision, unknown=tower.unknown)
    drop_last_blocks(vision_tensors, tower)
    head = names.match(qformer_tensors, names.QFORMER + names.BLIP2_QFORMER, names.IGNORED_OF_QFORMER)
    refuse(qformer, unknown=head.unknown)
    check_position_ids(qformer, qformer_tensors)

    ours: dict[str, torch.Tensor] = {}
    for target, parts in gather(vision, tower.mapped).items():
        if "" in parts:
            ours[target] = part_of(vision_tensors, parts[""])
        else:
            ours[target] = join_biases(vision, {part: (name, vision_tensors[name]) for part, name in parts.items()})
    for target, parts in gather(qformer, head.mapped).items():
        ours[target] = qformer_tensors[parts[""]]
    check_tower(vision, qformer, ours)
    # Heads change no shape: one is as good as another for the check.
    config = TinyGPTVConfig(
        vision_config=sizes.vision_config(vision, ours, heads=1),
        qformer_config=sizes.qformer_config(qformer, ours, heads=1),
        num_query_tokens=ours["query_tokens"].shape[1],
    )
    with torch.device("meta"):
        module = TinyGPTVImageEncoder(config)
    back = names.reverse(names.QFORMER if "Qformer" in "".join(head.mapped) else names.BLIP2_QFORMER)
    of_folder = "vision_model" in "".join(tower.mapped)
    back += names.reverse(names.BLIP2_TOWER + names.CLIP_TOWER if of_folder else names.EVA + names.CLIP)
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


def part_of(tensors: Tensors, name: str) -> torch.Tensor:
    """A tensor, or the part of one that ``names.with_parts`` names."""
    whole, _, part = name.partition("#")
    tensor = tensors[whole]
    if not part or tensor.ndim < 1 or tensor.shape[0] % len(names.PARTS):
        return tensor  # what cannot be split is left for the check of shapes
    return tensor.chunk(len(names.PARTS))[names.PARTS[part]]


def drop_last_blocks(tensors: Tensors, tower: names.Matches) -> None:
    """Leave out the blocks of a published tower that are not built."""
    for (name, width), (used, reason) in USED_BLOCKS.items():
        if name not in tensors or tensors[name].shape[-1] != width:
            continue
        for theirs, target in list(tower.mapped.items()):
            found = re.match(r"vision_model\.encoder\.layers\.(\d+)\.", target)
            if found and int(found[1]) >= used:
                del tower.mapped[theirs]
                tower.ignored[theirs] = reason


def check_tower(vision: str, qformer: str, ours: Tensors) -> None:
    """A Q-Former looks at the tower that it was trained with.

    Raises:
        CheckpointError: its widths are those of another.
    """
    patches, norm = "vision_model.embeddings.patch_embedding.weight", "vision_model.post_layernorm.weight"
    if patches in ours and norm in ours and ours[patches].shape[0] != ours[norm].shape[0]:
        raise CheckpointError(
            f"{qformer} is of a Q-Former that looks at {ours[norm].shape[0]} numbers a patch, and the tower of "
            f"{vision} has {ours[patches].shape[0]}; take the Q-Former of that tower"
        )


def check_position_ids(origin: str, tensors: Tensors) -> None:
    """The buffer is left out because it only counts; that is looked at.

    Raises:
        CheckpointError: it holds something else.
    """
    if names.POSITION_IDS in tensors:
        found = tensors[names.POSITION_IDS]
        if found.ndim != 2 or not torch.equal(found, torch.arange(found.shape[-1]).expand(found.shape)):
            raise CheckpointError(f"{origin}: {names.POSITION_IDS} does not count 0, 1, 2, …; it is of another model")
