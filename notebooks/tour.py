# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # A tour of a model
#
# What `make demo` has left, from the inside: the champion answers, a training step shows its batch, QK-Norm shows what
# it does, and 8 bits are compared with the whole model. VS Code and PyCharm open this file, `notebooks/tour.py`, as a
# notebook; `jupytext --to notebook notebooks/tour.py` makes one for Jupyter; `python notebooks/tour.py` runs it as it
# is.

# %%
import tempfile
from pathlib import Path

import easy_vqa
import numpy as np
from matplotlib import pyplot
from PIL import Image

import tinygptv
from tinygptv.config.profiles import read_profile
from tinygptv.ground.folders import data_folder, find_root

ROOT = find_root(Path.cwd())
PROFILE = read_profile(ROOT)
DATA = data_folder(ROOT, PROFILE.name)

# %% [markdown]
# ## Load the champion and ask it
#
# Any folder or address would do. Two hundred questions of the test set, which it was not trained on:

# %%
champion = tinygptv.load("models:/tinygptv@champion")
questions, truths, numbers = (part[:200] for part in easy_vqa.get_test_questions())
paths = easy_vqa.get_test_image_paths()
pictures = [paths[number] for number in numbers]
answers = champion.answer(pictures, questions)
for question, answer, truth in list(zip(questions, answers, truths, strict=True))[:5]:
    print(f"{question:45} {answer:12} {truth}")
print(f"right: {np.mean(np.array(answers) == np.array(truths)):.3f}")

# %% [markdown]
# A box comes in hundredths of width and height, as text:

# %%
print(champion.answer(pictures[:1], ["[refer] give me the location of red triangle"])[0])

# %% [markdown]
# ## Look at a batch
#
# The batch of a training step is a function of profile, seed and data, so it can be made again: which samples, which
# tokens, and which of them carry loss. `tinygptv replay stage4 --step 1` does the same.

# %%
from tinygptv.provenance.replay import headline, replay, write

batch = replay(ROOT, None, "stage4", 1)
print(*headline(batch), sep="\n")
for text in batch.texts[:3]:
    print(repr(text))
with tempfile.TemporaryDirectory() as folder:
    drawn, _ = write(batch, Path(folder))
    pyplot.figure(figsize=(12, 8))
    pyplot.imshow(Image.open(drawn))
    pyplot.axis("off")

# %% [markdown]
# ## What QK-Norm does
#
# An attention score is the product of a query and a key, so it grows with their lengths. QK-Norm brings both to a
# length that training has chosen, whatever came out of the layers before. Here are the longest query and key of each
# block, before and after:

# %%
from tinygptv.evaluation.stages import open_stage

whole = open_stage(PROFILE.config, "stage4", DATA / "backbones", DATA / "stage4")
longest = {}


def keep(name):
    """Keep the greatest length of what goes into a norm and of what comes out."""

    def hook(module, arguments, output):
        lengths = [float(part.norm(dim=-1).max()) for part in (arguments[0], output)]
        longest[name] = [max(pair) for pair in zip(longest.get(name, lengths), lengths, strict=True)]

    return hook


norms = {name: module for name, module in whole.model.named_modules() if name.endswith(("q_layernorm", "k_layernorm"))}
hooks = [module.register_forward_hook(keep(name)) for name, module in norms.items()]
whole.answer(pictures[:8], questions[:8])
for hook in hooks:
    hook.remove()
figure, axes = pyplot.subplots(1, 2, figsize=(10, 3), sharey=True)
for axis, kind in zip(axes, ("q", "k"), strict=True):
    lengths = np.array([length for name, length in longest.items() if name.endswith(f"{kind}_layernorm")])
    axis.plot(lengths, marker="o", label=["before", "after"])
    axis.set(title={"q": "queries", "k": "keys"}[kind], xlabel="block", ylabel="greatest length")
    axis.legend()
    print(kind, *(f"{before:.1f} -> {after:.1f}" for before, after in lengths))

# %% [markdown]
# ## Quantize
#
# The adapters are merged into the matrices, and these are kept as one byte a number with a scale a row.

# %%
from tinygptv.model.adapters import merge_lora
from tinygptv.model.int8 import save_quantized

full_answers = whole.answer(pictures, questions)
merge_lora(whole.model)
package = Path(tempfile.mkdtemp()) / "8bit"
package.mkdir()
size = save_quantized(
    whole,
    package,
    outlier_threshold=PROFILE.config.quantize.outlier_threshold,
    max_new_tokens=PROFILE.config.evaluate.max_new_tokens,
)
print(f"{size:,} bytes -> {(package / 'model.safetensors').stat().st_size:,} bytes")

# %% [markdown]
# ## Compare
#
# The same questions to both. `tinygptv promote` compares two models in this way, on the whole test set and with
# intervals.

# %%
eight_answers = tinygptv.load(str(package)).answer(pictures, questions)
equal = np.array(full_answers) == np.array(eight_answers)
print(f"equal answers: {equal.mean():.3f}")
for name, given in (("full", full_answers), ("8 bits", eight_answers), ("champion", answers)):
    print(f"{name:9} {np.mean(np.array(given) == np.array(truths)):.3f}")
