"""Reports and metrics as runs leave them, made up: for the tests of `nnrecipe.report`."""

import json
import math
import struct
import zlib
from pathlib import Path

from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, StageResult, Verdict
from nnrecipe.core.report import Report
from nnrecipe.report import write_report

DIGITS = [str(digit) for digit in range(10)]
HOSTILE = ["<script>alert(1)</script>", "[red]", "a|b", "two\nlines", "\x1b[31mred", "$x_{$", "ünï"]


def finding(check, verdict=Verdict.PASS, measured="fine", expected="fine", **more):
    return Finding(check=check, verdict=verdict, measured=measured, expected=expected, **more)


def stage(name, *findings, seconds=1.0, **facts):
    verdicts = [Verdict.PASS, *(finding.verdict for finding in findings)]
    verdict = max(verdicts, key=list(Verdict).index)
    return StageResult(stage=name, verdict=verdict, seconds=seconds, facts=facts, findings=findings)


def data_stage(classes=DIGITS):
    return stage(
        "data",
        finding("input_scale", measured="mean 0.00, spread 1.00", expected="mean 0, spread 1"),
        finding("class_balance", measured="largest / smallest 1.05", expected="below 3"),
        finding("leakage", measured="0 shared examples", expected="none between train and test"),
        seconds=0.31,
        examples={"train": 1077, "val": 360, "test": 360},
        input_shape=[1, 8, 8],
        classes=list(classes),
    )


def sanity_stage():
    return stage(
        "sanity",
        finding(
            "gradient_check",
            measured="largest relative error 3.1e-8",
            expected="below 1e-4",
            source="CS231n notes: gradient checks",
        ),
        finding(
            "loss_at_init",
            Verdict.WARN,
            "2.71",
            "2.303 (ln 10)",
            cause=Cause.INIT_TOO_LARGE,
            confidence=0.6,
            advice="The last layer starts too large: initialise it smaller, "
            "init.kind: kaiming_normal for instance.",
            source="lecture: sanity checks, loss at chance",
        ),
        finding("regularization_rises", measured="2.71 to 3.48", expected="a rise by 0.77"),
        seconds=1.24,
        loss_at_init=2.71,
        gradient_coordinates=480,
    )


def overfit_stage(steps=120):
    losses = [2.4 * math.exp(-step / 14) + 0.002 for step in range(steps)]
    measured = finding("overfit_tiny", measured="accuracy 1.00", expected="accuracy 1.00")
    return stage("overfit", measured, seconds=2.9, losses=losses, accuracy=1.0, examples=20)


def ladder(rungs=13):
    for place in range(rungs):
        lr = 10 ** (-6 + place * 8 / (rungs - 1))
        band = "too low" if lr < 1e-4 else "good" if lr < 0.3 else "exploding"
        fall = {"too low": 0.01, "good": 1.6 * math.log10(lr / 1e-5) / 4.5, "exploding": -1.0}[band]
        end = math.inf if lr > 3 else 2.31 - fall
        yield {"lr": lr, "start_loss": 2.31, "end_loss": end, "band": band}


def probe_stage():
    measured = finding("lr_in_good_band", measured="0.05 is good", expected="1e-4 ... 0.2")
    return stage(
        "lr_probe",
        measured,
        seconds=4.2,
        ladder=list(ladder()),
        good=[1e-4, 0.2],
        suggested=0.046,
        declared=0.01,
        steps=40,
    )


def train_stage():
    return stage(
        "train",
        finding(
            "overfitting",
            Verdict.WARN,
            "validation loss rose from 0.085 to 0.122 since epoch 14",
            "no lasting rise",
            cause=Cause.OVERFITTING,
            confidence=0.55,
            advice="Stop earlier, or regularize: regularization.dropout: 0.2, or more data.",
            source="CS231n notes: babysitting the learning process",
        ),
        finding("update_ratio", measured="median 1.2e-3", expected="1e-4 ... 1e-1"),
        seconds=212.0,
        epochs=30,
        steps=270,
        best_epoch=14,
        images_per_second=15310.0,
    )


def evaluate_stage(classes=DIGITS):
    count = len(classes)
    confusion = [
        [34 if row == column else (row * column) % 3 for column in range(count)]
        for row in range(count)
    ]
    rows = [
        {"class": name, "examples": 36, "precision": 0.97, "recall": 0.95, "f1": 0.96}
        for name in classes
    ]
    measured = finding("test_accuracy", measured="97.2 %", expected="near 98.1 % (validation)")
    return stage(
        "evaluate",
        measured,
        seconds=0.12,
        confusion=confusion,
        classes=list(classes),
        per_class=rows,
        checkpoint="best.pt",
    )


def healthy_report(classes=DIGITS):
    stages = [
        data_stage(classes),
        sanity_stage(),
        overfit_stage(),
        probe_stage(),
        train_stage(),
        evaluate_stage(classes),
    ]
    metrics = {
        "train_loss": 0.0213,
        "val_loss": 0.0851,
        "val_accuracy": 0.9806,
        "test_accuracy": 0.9722,
        "parameters": 61706,
    }
    return Report.of("quickstart", stages, metrics)


def failed_report():
    sick = finding(
        "loss_at_init",
        Verdict.FAIL,
        "41.2",
        "2.303 (ln 10)",
        cause=Cause.INIT_TOO_LARGE,
        confidence=0.9,
        advice="Set init.kind: kaiming_normal; with its scale the loss would start at 2.4.",
        source="lecture: sanity checks",
    )
    echo = finding(
        "input_scale",
        Verdict.WARN,
        "spread 70.9",
        "spread 1",
        cause=Cause.INPUT_UNSCALED,
        confidence=0.4,
        advice="Divide by the training spread: data.normalize: scale.",
    )
    return Report.of("vgg11-cifar10", [stage("data", echo), stage("sanity", sick, loss=41.2)], {})


def metrics_lines(epochs=30, layers=("conv1", "conv2", "fc1", "fc2", "logits")):
    for epoch in range(1, epochs + 1):
        step = 9 * epoch
        ratios = {
            name: 1.4e-3 * (1 + 0.5 * math.sin(epoch + place)) * math.exp(-epoch / 25) / (1 + place)
            for place, name in enumerate(layers)
        }
        yield {"step": step, "update_ratio": ratios}
        yield {
            "step": step,
            "epoch": epoch,
            "train_loss": 2.2 * math.exp(-epoch / 5) + 0.02,
            "val_loss": 2.1 * math.exp(-epoch / 5) + 0.05 + 0.0025 * epoch,
            "train_accuracy": 1 - 0.8 * math.exp(-epoch / 4),
            "val_accuracy": 0.98 - 0.78 * math.exp(-epoch / 4),
            "lr": 0.05 * 0.5 ** (epoch // 10),
        }


def write_metrics(folder: Path, lines) -> None:
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "metrics.jsonl").write_text(text, encoding="utf-8")


def mistakes(names=DIGITS, count=24):
    for place in range(count):
        said, true = names[place % len(names)], names[(place + 1) % len(names)]
        sure = 0.99 - 0.02 * place
        yield {"example": 7 * place, "predicted": said, "true": true, "probability": sure}


def sheet(count=24, side=4, columns=8):
    """A contact sheet as a PNG: image n is of the one grey 2n + 1."""
    rows = -(-count // columns)
    lines = []
    for y in range(rows * side):
        numbers = [y // side * columns + x // side for x in range(columns * side)]
        lines.append(b"\0" + bytes(2 * n + 1 if n < count else 0 for n in numbers))
    return _png(columns * side, rows * side, b"".join(lines))


EXPERIMENTS = (
    ("without clipping", "clip_too_small", 0.13, "no change"),
    ("without dropout", "dropout_too_high", 0.71, "helps"),
    ("larger batches", "bn_small_batch", 0.0, "worse"),
)


def diagnosis_stage(experiments=EXPERIMENTS):
    rows = [
        {
            "experiment": label,
            "cause": cause,
            "figure": "skill",
            "before": 0.12,
            "after": after,
            "seconds": 1.2,
            "verdict": verdict,
        }
        for label, cause, after, verdict in experiments
    ]
    proof = finding(
        "experiment_dropout_too_high",
        Verdict.FAIL,
        "skill 0.12 after 120 steps as it is, 0.71 with one change: without dropout",
        "no gain of more than 0.12",
        cause=Cause.DROPOUT_TOO_HIGH,
        confidence=0.93,
        advice="Set regularization.dropout: 0.2; of 0.95 too little is left to carry the signal.",
        source="Srivastava et al. 2014, section 7.3",
        change=("regularization.dropout=0.2", "~regularization.dropblock"),
        where="net.py:12: self.drop = nn.Dropout(0.95)",
    )
    facts = {"experiments": rows, "budget": 60.0, "spent": 12.3, "baseline": 0.12}
    return stage("diagnosis", proof, seconds=12.4, **facts)


def diagnosed_report():
    """A cause that was proved by an experiment, a symptom that it explains, and one by itself."""
    slow = finding(
        "lr_band",
        Verdict.WARN,
        "0.01 is too low",
        "good, from 0.1 to 1",
        cause=Cause.LR_TOO_LOW,
        confidence=0.5,
        advice="Raise optimizer.lr.",
    )
    rare = finding(
        "classes", Verdict.WARN, "1 to 12", "within 10", advice="Draw the rare ones more often."
    )
    return Report.of(
        "dropped", [stage("data", rare), stage("lr_probe", slow), diagnosis_stage()], {}
    )


def png(side=160) -> bytes:
    """A grey gradient as a PNG file."""
    rows = b"".join(b"\0" + bytes(min(255, x + y) for x in range(side)) for y in range(side))
    return _png(side, side, rows)


def _png(width, height, rows) -> bytes:
    def chunk(kind, data):
        crc = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + crc

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def write_run(folder: Path, report: Report, lines=()) -> Path:
    write_report(report, folder)
    write_metrics(folder, lines)
    (folder / "config.yaml").write_text("name: quickstart\ndata:\n  kind: digits\n")
    (folder / "environment.json").write_text(json.dumps({"torch": "2.15.0", "device": "cpu"}))
    (folder / "plots").mkdir(exist_ok=True)
    (folder / "plots" / "inputs.png").write_bytes(png())
    return folder
