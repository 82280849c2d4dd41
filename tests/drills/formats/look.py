"""What the present code reads out of files that a version, this one or an earlier, has written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tinygptv.config import Model
from tinygptv.config.profiles import read_config
from tinygptv.ground import file_names

ROOT = Path(__file__).resolve().parents[3]
STAGE = "stage2"


def look(folder: Path) -> dict[str, Any]:
    """Open the stage's checkpoint and the package, and compute a little with each."""
    return {"stage": stage(folder), "package": package(folder / "package")}


def stage(folder: Path) -> dict[str, Any]:
    """Logits of a fixed text and image features, and the last point of the curve."""
    import torch

    from tinygptv.model import assembly, stage_checkpoint

    torch.set_num_threads(1)
    recorded = json.loads((folder / STAGE / file_names.MANIFEST).read_bytes())
    config = read_config(ROOT / "configs" / "smoke.yaml")
    config = config.model_copy(update={"model": Model.model_validate(recorded["config"]["model"])})
    model = assembly.assemble(config, folder / "backbones", with_tower=False)
    stage_checkpoint.load_stage(model, folder / STAGE, STAGE, config, folder / "backbones")
    model.eval()  # with the adapters that the checkpoint brought
    queries = config.model.qformer.num_query_tokens
    shape = 1, queries, config.model.qformer.hidden_size
    features_BQD = torch.linspace(-1, 1, shape[1] * shape[2]).reshape(shape)
    ids_BT = torch.tensor([[model.config.image_token_id] * queries + list(range(20, 40))])
    with torch.no_grad():
        logits_BTV = model(
            input_ids=ids_BT, attention_mask=torch.ones_like(ids_BT), image_features=features_BQD, use_cache=False
        ).logits
    curve = json.loads((folder / STAGE / file_names.HISTORY).read_bytes())
    return {"logits": rounded(logits_BTV[0, -1, :8]), "curve": {k: round(v, 4) for k, v in curve[-1].items()}}


def package(folder: Path) -> dict[str, Any]:
    """The answer to a question about a fixed image, and the image's features."""
    from PIL import Image

    from tinygptv.model.inference import VisionLanguageModel

    model = VisionLanguageModel.from_folder(folder)
    image = Image.new("RGB", (64, 64), (200, 30, 60))
    (answer,) = model.answer([image], ["what color is the shape?"])
    return {"answer": answer, "features": rounded(model.encode_images([image])[0, 0, :8])}


def rounded(values: Any) -> list[float]:
    """Values to compare within a tolerance."""
    return [round(float(value), 5) for value in values]
