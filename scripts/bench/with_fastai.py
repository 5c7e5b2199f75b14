"""The same training by fastai's Learner, without bars and logs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module

import torch
from torch.nn import functional as F

from bench.networks import make_network
from bench.plain import usual_loader
from bench.subject import MOMENTUM, VALIDATED, Clock, Trained, Work

# By name, as it is no dependency of nnrecipe's: there may be nothing for mypy to read.
learner, core, optimizer = map(
    import_module, ("fastai.learner", "fastai.data.core", "fastai.optimizer")
)


def fastai(case: str, work: Work) -> Callable[[], Trained]:
    """On the usual data path. Its validation is on two batches and can't be left out."""
    few = max(1, VALIDATED // work.subject.batch_size)
    loaders = core.DataLoaders(
        usual_loader(work), usual_loader(work.shortened(few)), device=work.device
    )
    opt_func = partial(
        optimizer.OptimWrapper,
        opt=partial(torch.optim.SGD, momentum=MOMENTUM, weight_decay=work.subject.weight_decay),
    )

    def train() -> Trained:
        network, clock = make_network(case).to(work.device), Clock(work.device)

        class Timed(learner.Callback):  # type: ignore[misc, name-defined]
            """The training steps alone."""

            def before_train(self) -> None:
                clock.__enter__()

            def after_train(self) -> None:
                clock.__exit__()

        made = learner.Learner(
            loaders, network, loss_func=F.cross_entropy, opt_func=opt_func, cbs=[Timed()]
        )
        if work.device.type == "cuda":
            made.to_bf16()
        with made.no_bar(), made.no_logging():
            made.fit(1, work.subject.lr)
        return Trained(clock.wall, clock.process, network, work.normalized, own=False)

    return train
