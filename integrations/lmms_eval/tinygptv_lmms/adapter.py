"""TinyGPT-V as lmms-eval's model, in its two forms: chat, by messages, and simple, by a text and its image.

Both ask the model as `evaluate` does, so that equal questions get equal answers, whatever --batch_size says.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lmms_eval.api.instance import GenerationResult
from lmms_eval.api.model import lmms
from tqdm import tqdm

from tinygptv.ground.errors import DataError
from tinygptv.model.inference import VisionLanguageModel
from tinygptv_lmms.asking import Asker
from tinygptv_lmms.reading import TEMPLATE, Asked, Settings, from_messages, from_text

if TYPE_CHECKING:
    import torch
    from lmms_eval.api.instance import Instance

BLOCK = 256
"""Questions that are read, asked and answered together: bounds the memory, not the result."""
NO_QUESTION = 2
"""Arguments of a request that has a continuation alone."""


class Round(NamedTuple):
    """What is asked in a later round, None at the end; the answers before it; what the task wants to see again."""

    asked: Asked | None
    answers: list[str]
    kept: Any


class Adapter(lmms):
    """What both forms share."""

    def __init__(
        self, pretrained: str, device: str = "auto", batch_size: int | str = 1, template: str = TEMPLATE
    ) -> None:
        """Open a model's folder.

        Args:
            pretrained: the folder, such as ``data/tiny/quantize/model``.
            device: ``cpu``, ``cuda`` or ``auto``.
            batch_size: questions of a forward pass; a matter of speed only.
            template: what a question without a mark such as ``[refer]`` becomes.

        Raises:
            UserError: there is no such folder or device, or the model is damaged.
        """
        super().__init__()
        if not Path(pretrained).is_dir():
            raise DataError(f"pretrained={pretrained} is no folder; name one with weights, such as quantize/model")
        if not str(batch_size).isdecimal() or not int(batch_size):
            raise DataError(f"--batch_size {batch_size}: give a number of questions, at least 1")
        model = VisionLanguageModel.from_folder(pretrained, device)
        self.device: torch.device = model.model.device
        self._asker = Asker(model, int(batch_size))
        self._template = template

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """The greedy answer to each question."""
        answers: list[str] = []
        for block in self._blocks(requests, "Answers"):
            asked, settings = [], []
            for request in block:
                how = self._settings(request)
                question = self._asked(request, how.template)
                choices = tuple(self._document(request)["choices"]) if how.choices else ()
                asked.append(replace(question, choices=choices))
                settings.append(how)
            answers += self._asker.answers(asked, settings)
        return answers

    def generate_until_multi_round(self, requests: list[Instance]) -> list[list[str]]:
        """The answers of each document's rounds; one without an image goes on about the image of the last."""
        return [self._play(request) for [request] in self._blocks(requests, "Rounds", size=1)]

    def loglikelihood(self, requests: list[Instance]) -> list[GenerationResult]:
        """How unlikely continuations are; lmms-eval asks it in the simple form alone.

        It takes the smallest for the best: its own models return the loss, whatever the interface's docstring says.
        Ours is that of the whole answer with its end mark, summed over its tokens.

        Returns:
            Negative log-likelihood of each, and whether it is the answer that the model gives; wrapped, for 0.7.3 makes
            a text of a bare pair (``unwrap_generation_output``), which its own scoring then cannot read.
        """
        found: list[GenerationResult] = []
        for block in self._blocks(requests, "Likelihoods"):
            asked, continuations = [], []
            for request in block:
                if len(request.args) == NO_QUESTION:
                    raise DataError(f"{request.task_name}: a continuation without a question is not asked of tinygptv")
                context, target, doc_to_visual = request.args[:3]
                document = self._document(request)
                asked.append(from_text(context, doc_to_visual(document), _where(request), self._template))
                continuations.append(str(target(document) if callable(target) else target).strip())
            found += map(GenerationResult, self._asker.losses(asked, continuations))
        return found

    @abstractmethod
    def _settings(self, request: Instance) -> Settings:
        """How a request is to be answered."""

    @abstractmethod
    def _asked(self, request: Instance, template: str) -> Asked:
        """The question of a request, the first of several."""

    @abstractmethod
    def _round(self, request: Instance, template: str, last: Asked, answers: list[str], kept: Any) -> Round:
        """The next question of a request."""

    def _play(self, request: Instance) -> list[str]:
        settings = self._settings(request)
        following = Round(self._asked(request, settings.template), [], None)
        while (asked := following.asked) is not None:
            answers = following.answers + self._asker.answers([asked], [settings])
            following = self._round(request, settings.template, asked, answers, following.kept)
        return following.answers

    def _document(self, request: Instance) -> Any:
        number, task, split = request.args[-3:]
        return self.task_dict[task][split][number]

    def _blocks(self, requests: Sequence[Instance], what: str, size: int = BLOCK) -> Iterator[Sequence[Instance]]:
        with tqdm(total=len(requests), desc=what, disable=self.rank != 0) as progress:
            for start in range(0, len(requests), size):
                block = requests[start : start + size]
                yield block
                progress.update(len(block))


class Chat(Adapter):
    """The form that lmms-eval recommends: messages, with the turns of a conversation."""

    is_simple = False

    def _settings(self, request: Instance) -> Settings:
        return Settings.read(request.args[2], _where(request), self._template)

    def _asked(self, request: Instance, template: str) -> Asked:
        return from_messages(request.args[1](self._document(request)), _where(request), template)

    def _round(self, request: Instance, template: str, last: Asked, answers: list[str], kept: Any) -> Round:
        found = request.args[1](
            self._document(request), round_idx=len(answers), previous_output=list(answers), previous_round_info=kept
        )
        if not isinstance(found, tuple):  # messages alone: the task has one round
            return Round(None, answers, None)
        messages, ended, told, kept = found
        if ended:
            return Round(None, _answers(told, answers), kept)
        return Round(from_messages(messages, _where(request), template, last.answered(answers[-1])), answers, kept)


class Simple(Adapter):
    """The older form, in which alone lmms-eval asks for likelihoods: ``--force_simple``."""

    is_simple = True

    def _settings(self, request: Instance) -> Settings:
        return Settings.read(request.args[1], _where(request), self._template)

    def _asked(self, request: Instance, template: str) -> Asked:
        return from_text(request.args[0], request.args[2](self._document(request)), _where(request), template)

    def _round(self, request: Instance, template: str, last: Asked, answers: list[str], kept: Any) -> Round:
        images, text, ended, told, kept = request.args[3](
            self._document(request), round_idx=len(answers), previous_output=list(answers), previous_round_info=kept
        )
        if ended:
            return Round(None, _answers(told, answers), kept)
        return Round(from_text(text, images, _where(request), template, last.answered(answers[-1])), answers, kept)


def _answers(told: Any, answers: list[str]) -> list[str]:
    """A task may put other answers in the place of those that it was given, such as those of an earlier run."""
    return list(told) if isinstance(told, list | tuple) else answers


def _where(request: Instance) -> str:
    number, task, _ = request.args[-3:]
    return f"{task}, document {number}"
