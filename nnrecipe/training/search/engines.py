"""The engines that compute a search's trials, as a recipe names them. All give the same results."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from nnrecipe.core.spec import ByKind, Spec

Workers = Annotated[int, Field(strict=True, ge=1, le=1024)]
WORKERS = "trials at a time; null: one for each core"


class Vectorized(Spec):
    """Trains trials whose parameters have the same shapes as replicas, many at once, here."""

    source: ClassVar[str] = "torch.func: model ensembling"

    kind: Literal["vectorized"] = "vectorized"


class Processes(Spec):
    """Trains each trial by itself, several processes side by side."""

    source: ClassVar[str] = "Python: concurrent.futures"

    kind: Literal["process"] = "process"
    workers: Workers | None = Field(None, description=WORKERS)


class Ray(Spec):
    """Trains each trial by itself in Ray's workers, on this machine or on a cluster.

    A trial whose worker dies is trained anew by another. Needs `pip install nnrecipe[ray]`.
    """

    source: ClassVar[str] = "Moritz et al. 2018: Ray"

    kind: Literal["ray"] = "ray"
    workers: Workers | None = Field(None, description=WORKERS)
    address: str | None = Field(
        None, description="a cluster (ray://host:10001, auto); null: one is started here"
    )


Engine = Annotated[Vectorized | Processes | Ray, ByKind()]
