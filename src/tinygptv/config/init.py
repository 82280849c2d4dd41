"""Section `init`: what training starts from, in the place of backbones of its own."""

from __future__ import annotations

import re
from typing import Self

from pydantic import Field, model_validator

from tinygptv.config.base import Section
from tinygptv.ground.names import STAGES

PROFILE = re.compile(rf"(?P<profile>[\w.-]+?)(/(?P<stage>{'|'.join(STAGES)}))?", re.ASCII)


class Init(Section):
    """Finished weights that training starts from; absent where `backbones` makes them."""

    from_: str = Field(
        alias="from",
        description="`PROFILE`: its backbones; `PROFILE/stage4`: also what that stage left; a folder, with a slash in "
        "its name: an imported one, or a step's output; `models:/NAME@ALIAS`, `models:/NAME/3`: what it was made of.",
    )

    @model_validator(mode="after")
    def _names_something(self) -> Self:
        if self.named_profile is None and "/" not in self.from_:
            raise ValueError(f"from: {self.from_!r} is no profile, and a folder has a slash; see docs/checkpoints.md")
        return self

    @property
    def named_profile(self) -> tuple[str, str | None] | None:
        """The profile and stage that it names; None: a folder or a registered version."""
        found = PROFILE.fullmatch(self.from_)
        return (found["profile"], found["stage"]) if found and found["profile"].strip(".") else None
