"""The served models: loaded beside the work, replaced for new questions, never in the middle of an answer.

A question is bound to the model that is there when it arrives; a model goes when its last question is answered.
"""

from __future__ import annotations

import copy
import gc
import logging
import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinygptv.data.tasks import as_instruction
from tinygptv.ground.errors import CheckpointError, DataError, PassingError, RefusedError, UserError, from_os_error
from tinygptv.ground.files import scratch_folder
from tinygptv.serving.requests import RequestError
from tinygptv.tracking import REGISTRY_SCHEME, local_folder

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

    from tinygptv.model.decoding.chorus import Speech
    from tinygptv.model.inference import VisionLanguageModel
    from tinygptv.tracking.versions import Registry

IMAGES_AT_ONCE = 16
"""Images of one pass through the tower: its memory is that of so many, and on a CPU more are no faster."""

FAULTS = (DataError, CheckpointError, RefusedError, PassingError)
"""What keeps a model that is there from being served."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Growing:
    """What the model has said so far."""

    text: str
    version: str
    """As in ``Answer``."""


@dataclass(frozen=True, slots=True)
class PreparedQuestion:
    """A question, ready for the model."""

    picture: Image
    digest: str
    """Of the image's file: equal ones are encoded once."""
    prompt: str
    prompt_tokens: int
    on_text: Callable[[Growing], None] | None = None
    """Is told the beginning of the answer whenever it grows; from the worker's thread."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model said."""

    text: str
    tokens: int
    cut: bool
    """Both as in ``Generated``."""
    prompt_tokens: int
    version: str
    """Which model answered: ``models:/<name>/<version>`` or a folder."""


class Loaded:
    """A model in memory."""

    def __init__(self, version: str, model: VisionLanguageModel) -> None:
        self.version = version
        self._model = model
        # Fast tokenizers must not be used by two threads at once, and the worker's is busy while it answers.
        self._processor = copy.deepcopy(model.processor)
        self._lock = threading.Lock()
        self._chorus = model.chorus()
        size = model.processor.image_processor.size
        self.size = {side: int(size[side]) for side in ("height", "width")}
        self.resample = int(model.processor.image_processor.resample)
        self.max_new_tokens = model.max_new_tokens
        self.positions = model.positions

    def prompt(self, question: str) -> tuple[str, int]:
        """The prompt of a question, and its count of tokens; for any thread."""
        with self._lock:
            text = self._processor.prompt_of(as_instruction(question))
            return text, len(self._processor.encode_prompt(text))

    def encode(self, questions: Sequence[PreparedQuestion]) -> list[torch.Tensor]:
        """Q-Former outputs [Q, D] of each question's image; for one thread, on a GPU in a stream of its own."""
        import torch

        places = {digest: place for place, digest in enumerate(dict.fromkeys(asked.digest for asked in questions))}
        pictures = {asked.digest: asked.picture for asked in questions}
        device = self._model.model.device
        mine = torch.cuda.Stream(device) if device.type == "cuda" else None
        with torch.cuda.stream(mine):
            if mine is not None:
                mine.wait_stream(torch.cuda.default_stream(device))  # a model that was just loaded
            features_NQD = self._model.encode_images([pictures[digest] for digest in places], IMAGES_AT_ONCE)
        if mine is not None:
            mine.synchronize()
            features_NQD.record_stream(torch.cuda.default_stream(device))
        return [features_NQD[places[asked.digest]] for asked in questions]

    def begin(self, questions: Sequence[tuple[PreparedQuestion, torch.Tensor, int]]) -> list[Speech]:
        """Begin answers beside those under way; for the worker's thread.

        Args:
            questions: each with the Q-Former outputs of its image, and the most tokens of its answer.
        """
        import torch

        speeches = [self._model.speech(limit, self._growing(asked.on_text)) for asked, _, limit in questions]
        features_BQD = torch.stack([features_QD for _, features_QD, _ in questions])
        self._model.join(self._chorus, features_BQD, [asked.prompt for asked, _, _ in questions], speeches)
        return speeches

    def step(self) -> None:
        """Say a token of each answer; for the worker's thread."""
        self._chorus.step()

    def clear(self) -> None:
        """Leave all answers that are under way."""
        self._chorus = self._model.chorus()

    def answer(self, asked: PreparedQuestion, speech: Speech) -> Answer:
        """What was said to a question; for the worker's thread.

        Raises:
            NotFiniteError: there is no answer.
        """
        if speech.error is not None:
            raise speech.error
        said = self._model.generated(speech)
        return Answer(said.text, said.tokens, said.cut, asked.prompt_tokens, self.version)

    def _growing(self, on_text: Callable[[Growing], None] | None) -> Callable[[str], None] | None:
        return on_text and (lambda text: on_text(Growing(text, self.version)))


class Models:
    """The models by the address under which clients name them."""

    def __init__(
        self,
        sources: Sequence[str],
        device: str = "cpu",
        *,
        optional: Sequence[str] = (),
        ungated: bool = False,
        load: Callable[[Path, str], VisionLanguageModel] | None = None,
    ) -> None:
        """Models that are not loaded yet.

        Args:
            sources: folders and addresses of the registry.
            device: a torch device.
            optional: those of the sources that may be missing, now or later.
            ungated: whether an alias may name a version that has not passed the gate.
            load: opens a folder; for tests.
        """
        self.sources = tuple(sources)
        self._optional = frozenset(optional)
        self._ungated = ungated
        self._device = device
        self._load = load or _from_folder
        self._loaded: dict[str, Loaded] = {}
        self._retired: list[weakref.ref[Loaded]] = []
        self._registry: Registry | None = None

    def versions(self) -> dict[str, str]:
        """Address to the version that stands behind it now."""
        return {source: loaded.version for source, loaded in self._loaded.items()}

    def get(self, source: str) -> Loaded:
        """The model of an address.

        Raises:
            RequestError: it is not served.
        """
        loaded = self._loaded.get(source)
        if loaded is None:
            message = f"{source[:200]!r} is not served; ask for {', '.join(self._loaded)}"
            raise RequestError(404, message, code="model_not_found", param="model")
        return loaded

    def load(self) -> None:
        """Load all of them, once.

        Raises:
            UserError: one is damaged, or is missing and not optional.
        """
        for source in self.sources:
            try:
                self._loaded[source] = self._open(source)
            except UserError as error:
                if not self._missing(source, error):
                    raise
                log.warning("%s is not served: %s", source, error)
        if not self._loaded:
            raise UserError(f"none of {', '.join(self.sources)} is there; `make demo` registers one")

    def refresh(self) -> tuple[int, str]:
        """Look whether aliases have moved, and put new models in place; for a thread of its own.

        Returns:
            How many addresses have a new model; and in one line why others keep theirs though the registry or a new
            version failed, or its gate did not pass; empty where nothing is wrong.
        """
        swapped, problems = 0, []
        for source in self.sources:
            try:
                loaded = self._open(source)
            except UserError as error:
                if not self._missing(source, error) or source in self._loaded:
                    problems.append(str(error))
                continue
            former = self._loaded.get(source)
            if former is not loaded:
                self._loaded[source] = loaded  # one step: who asks gets the former or the new one
                swapped += 1
                if former is not None:
                    self._retired.append(weakref.ref(former))
                    log.info("%s: %s in place of %s", source, loaded.version, former.version)
            del former, loaded
        self._free()
        return swapped, "; ".join(dict.fromkeys(problems))

    def _open(self, source: str) -> Loaded:
        """The model of an address: one that is in memory already, or a newly loaded one."""
        try:
            return self._found(source)
        except OSError as error:
            raise from_os_error(error, f"loading {source}") from None

    def _found(self, source: str) -> Loaded:
        if not source.startswith(REGISTRY_SCHEME):
            with local_folder(source) as folder:
                return self._known(source) or Loaded(source, self._load(folder, self._device))
        if self._registry is None:
            from tinygptv.tracking.versions import Registry

            self._registry = Registry(self._ungated)
        version = self._registry.find(source)
        known = self._known(version.address)
        if known is not None:
            return known
        # Of a copy: its digest is checked, and a registry that is tidied up later cannot pull weights away that are
        # mapped into memory. The system keeps a mapped file whose name is gone.
        with scratch_folder() as folder:
            package = self._registry.download(version, folder)
            return Loaded(version.address, self._load(package, self._device))

    def _missing(self, source: str, error: UserError) -> bool:
        """An optional model is not there, which is no fault; one that is there and damaged is one."""
        return source in self._optional and not isinstance(error, FAULTS)

    def _known(self, version: str) -> Loaded | None:
        return next((loaded for loaded in self._loaded.values() if loaded.version == version), None)

    def _free(self) -> None:
        """Collect former models, which hold themselves in cycles; programs of this project collect rarely."""
        if self._retired:
            gc.collect()
            self._retired = [reference for reference in self._retired if reference() is not None]


def _from_folder(folder: Path, device: str) -> Any:
    from tinygptv.model.inference import VisionLanguageModel

    return VisionLanguageModel.from_folder(folder, device)
