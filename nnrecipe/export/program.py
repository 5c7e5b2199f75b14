"""The network with its preprocessing as one graph: PyTorch's own file of it, and ONNX."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from nnrecipe.core.errors import UserError
from nnrecipe.export.card import CARD, INPUTS, card_text, output_name
from nnrecipe.recipe.trained import Trained

TRACED = 2
"""Examples with which a graph is recorded; more than one, as that could be taken for a constant."""
OPSET = 18
BATCH = "batch"
MOST_BYTES = 2**31
"""What an ONNX file holds, which is a message of protobuf's."""


def examples(trained: Trained, count: int) -> Tensor:
    """Random raw examples, always the same."""
    draw = torch.Generator().manual_seed(0)
    shape = (count, *trained.input_shape)
    if trained.float_range is None:
        return torch.randint(256, shape, generator=draw, dtype=torch.uint8)
    low, high = trained.float_range
    return low + (high - low) * torch.rand(shape, generator=draw)


def record(trained: Trained) -> ExportedProgram:
    """The graph from raw examples `[batch, ...]` to probabilities or values, in float32.

    Raises `UserError` if the network's code can't be recorded.
    """
    predictor = trained.predictor("fp32")
    predictor.to(memory_format=torch.contiguous_format)  # as whoever reads the file expects it
    try:
        with torch.no_grad(), _quiet():
            return torch.export.export(
                predictor, (examples(trained, TRACED),), dynamic_shapes=({0: Dim(BATCH)},)
            )
    except Exception as error:  # whatever the tracing of any code raises
        architecture = trained.recipe.architecture.kind
        reason = " ".join(str(error).split())[:300]
        remedy = "take x.shape[0] for len(x), and torch.where for if on values"
        raise UserError(
            f"architecture: {architecture} can't be recorded as a graph: {reason}: {remedy}; "
            "or export the weights alone (--format safetensors)"
        ) from error


def write_torch(trained: Trained, path: Path) -> float:
    """Write a file for `torch.export.load`; see `write_onnx` for the rest."""
    program = record(trained)
    with _quiet():
        with path.open("wb") as file:
            torch.export.save(program, file, extra_files={CARD: card_text(trained)})
        loaded = torch.export.load(path).module()
    return _difference(trained, loaded(_probe(trained)))


def write_onnx(trained: Trained, path: Path) -> float | None:
    """Write an ONNX file, and return how far its outputs are from the network's at most.

    None where onnxruntime isn't there to tell. Raises `UserError` if the network can't be exported,
    or the extra isn't installed.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        remedy = 'pip install "nnrecipe[onnx]"'
        raise UserError(f"--format onnx: {error.name} is not installed: {remedy}") from error
    size = sum(tensor.nbytes for tensor in trained.network.state_dict().values())
    if size >= MOST_BYTES:
        held = f"weights of {size / 2**30:.1f} GiB, and a file holds 2"
        raise UserError(f"--format onnx: {held}: use --format torch or safetensors")
    program = record(trained)
    try:
        with _quiet():
            found = torch.onnx.export(
                program,
                dynamic_shapes=({0: BATCH},),  # for its name alone
                input_names=[INPUTS],
                output_names=[output_name(trained)],
                opset_version=OPSET,
                verbose=False,
            )
    except Exception as error:  # an operator that ONNX doesn't have, and what else there may be
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"--format onnx: {reason}: try --format torch") from error
    assert found is not None
    found.model.metadata_props[CARD] = card_text(trained)
    found.save(path)
    with contextlib.suppress(ImportError):
        from onnxruntime import InferenceSession

        session = InferenceSession(path, providers=["CPUExecutionProvider"])
        (made,) = session.run(None, {INPUTS: _probe(trained).numpy()})
        return _difference(trained, torch.from_numpy(made))
    return None


def _probe(trained: Trained) -> Tensor:
    """Another batch than the one that was recorded, of another size."""
    return examples(trained, TRACED + 1)


@torch.no_grad()
def _difference(trained: Trained, made: Tensor) -> float:
    """The largest, relative to the largest number where that is above 1: values have any size."""
    expected = trained.predictor("fp32")(_probe(trained))
    return float((made - expected).abs().max() / expected.abs().max().clamp_min(1))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps to itself what the exporters have to say: what goes wrong, they raise."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
