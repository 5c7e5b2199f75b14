"""What findings say of a config, said of plain code."""

from __future__ import annotations

import re

from nnrecipe.core.findings import Finding

PLAIN: tuple[tuple[str, str], ...] = (
    # data
    (
        r"Set data\.normalize: \{kind: standardize\}, or divide by 255 in your Dataset",
        "Divide by 255 in your Dataset, or bring the inputs to mean 0 and spread 1",
    ),
    (
        r"Set data\.normalize: \{kind: standardize\}, or scale in your Dataset",
        "Scale the inputs in your Dataset to mean 0 and spread 1",
    ),
    (
        r"Set data\.normalize: \{kind: standardize, per: feature\}",
        "Bring each feature to mean 0 and spread 1, by the training examples",
    ),
    (r" \(data\.normalize: standardize\)", ""),
    (r"set data\.normalize for all splits, or use the same", "use the same"),
    (r"Weaken data\.augment, or the random", "Weaken the random"),
    (r"Weaken data\.augment", "Weaken the random transforms of your training Dataset"),
    (r" \(plots/inputs\.png\)", ""),
    (r"\(data\.limit, a Subset", "(a Subset"),
    (r" \(data\.task: multi_label\)", ""),
    (r"whether data\.classes counts one too many", "whether the model has an output too many"),
    (
        r"Set training\.shuffle: true( \(DataLoader\(shuffle=True\) in your own loop\))?",
        "Give the DataLoader shuffle=True",
    ),
    (r"training\.batch_size", "the loader's batch_size"),
    # model
    (r", by init: kaiming_normal say, or in your module by nn\.init", ", by nn.init"),
    (r"init: kaiming_normal, xavier_normal for tanh", "nn.init.kaiming_normal_, or xavier_normal_"),
    (r"Set init: kaiming_normal", "Draw the weights by nn.init.kaiming_normal_"),
    (r"\binit: (kaiming|xavier)_normal\b", r"nn.init.\1_normal_"),
    (r"Use architecture\.activation: relu", "Use nn.ReLU"),
    (r" \(architecture\.(activation: relu|widths)\)", ""),
    (r"\(architecture: resnet\)", "(residual blocks)"),
    (r"\(norm: batch\)", "(nn.BatchNorm2d, nn.LayerNorm)"),
    (r"\bnorm: group", "nn.GroupNorm"),
    (
        r"regularization\.dropout to 0\.5 or less, or the p of nn\.Dropout in your module",
        "the p of nn.Dropout to 0.5 or less",
    ),
    (r"or freeze them in the open \(transfer\.freeze\)", "or switch requires_grad off for them"),
    (
        r"Say so in transfer\.freeze if it is meant",
        "If it is meant, leave them out of the optimizer",
    ),
    (r"declare what is frozen in transfer\.freeze", "leave out of the optimizer what is frozen"),
    (
        r"requires_grad is off, the recipe doesn't declare them frozen",
        "requires_grad is off, the optimizer is to train them",
    ),
    # loss
    (
        r"loss: \{kind: cross_entropy, class_weights: balanced\}",
        "nn.CrossEntropyLoss(weight=1 / counts)",
    ),
    (r" \(class_weights: balanced\)", ""),
    (
        r"raise stages\.overfit\.steps; targets far from 0 are reached sooner from their mean "
        r"\(init\.output_bias: target_mean\)",
        "it takes more of them; targets far from 0 are reached sooner if they are standardised, or "
        "if the last layer's bias starts at their mean",
    ),
    (
        r"set init\.output_bias: target_mean and a small init\.output_gain",
        "start the last layer's bias at their mean",
    ),
    (r"set regularization\.l2 instead", "add a penalty to the loss instead"),
    (r"optimizer\.weight_decay, regularization\.l2 or l1", "weight_decay"),
    (r"regularization\.l2, l1 or optimizer\.weight_decay", "weight_decay or the loss's penalty"),
    # optimization
    (r"Set optimizer\.(lr|eps): ([^\s,:]+)(, or auto)?", r"Give the optimizer \1=\2"),
    (r"Set optimizer\.lr to the probe's rate, or auto", "Give the optimizer the probe's rate"),
    (r"\boptimizer\.lr\b", "the optimizer's lr"),
    (r"training\.clip_norm", "the norm to clip at"),
    (r"\bthe recipe's\b", "your"),
)
"""Patterns of a config's words, and what a user of plain code has in their place; in this order."""


def in_plain_code(finding: Finding) -> Finding:
    """The finding without a word, or a change, of a config."""
    told = {"measured": _plain(finding.measured), "advice": _plain(finding.advice)}
    return finding.model_copy(update={**told, "change": ()})


def _plain(text: str) -> str:
    for pattern, words in PLAIN:
        text = re.sub(pattern, words, text)
    return text
