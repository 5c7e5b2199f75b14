"""The initial weights that YAML can name."""

from typing import Annotated

from nnrecipe.core.spec import ByKind
from nnrecipe.init.fixed import ConstantInit, NormalInit, TorchDefaultInit, ZerosInit
from nnrecipe.init.lsuv import Lsuv
from nnrecipe.init.scaled import (
    KaimingNormal,
    KaimingUniform,
    Orthogonal,
    XavierNormal,
    XavierUniform,
)

Init = Annotated[
    ZerosInit
    | ConstantInit
    | NormalInit
    | XavierNormal
    | XavierUniform
    | KaimingNormal
    | KaimingUniform
    | Orthogonal
    | Lsuv
    | TorchDefaultInit,
    ByKind(infers=True),
]
