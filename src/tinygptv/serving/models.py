"""The served models: loaded beside the work, replaced between two batches, never in the middle of an answer.

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
    from PIL.Image import Image

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

    def answer(self, questions: Sequence[PreparedQuestion], max_tokens: int) -> list[Answer]:
        """Answer all questions in one pass; for the worker's thread."""
        places = {digest: place for place, digest in enumerate(dict.fromkeys(asked.digest for asked in questions))}
        pictures = {asked.digest: asked.picture for asked in questions}
        features_NQD = self._model.encode_images([pictures[digest] for digest in places], IMAGES_AT_ONCE)

        def told(number: int, text: str) -> None:
            if (on_text := questions[number].on_text) is not None:
                on_text(Growing(text, self.version))

        answers = self._model.generate(
            features_NQD[[places[asked.digest] for asked in questions]],
            [asked.prompt for asked in questions],
            batch_size=len(questions),
            max_new_tokens=max_tokens,
            on_text=told if any(asked.on_text for asked in questions) else None,
        )
        return [
            Answer(answer.text, answer.tokens, answer.cut, asked.prompt_tokens, self.version)
            for answer, asked in zip(answers, questions, strict=True)
        ]


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
