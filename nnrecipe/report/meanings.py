"""What the causes and the stages are, each in a sentence that needs no other."""

from __future__ import annotations

from nnrecipe.core.causes import Cause

MEANINGS: dict[Cause, str] = {
    # data
    Cause.INPUT_UNSCALED: "The inputs are on a scale far from 1 (raw pixels of 0 to 255, say), so "
    "every step is far too large for some weights and too small for others.",
    Cause.DOUBLE_SCALING: "The inputs were scaled twice: what should be about 1 is close to 0, and "
    "the network can hardly tell one example from another.",
    Cause.PREPROCESSING_MISMATCH: "Validation or test examples are prepared in another way than "
    "training examples, so the network is asked about inputs it has never seen the like of.",
    Cause.CONSTANT_INPUT: "All inputs are the same, so there is nothing to tell the examples apart "
    "by.",
    Cause.NAN_INPUT: "Some inputs are NaN or infinite, and one such value spoils every loss that "
    "it enters.",
    Cause.LABEL_NOISE: "Many labels are wrong: examples that look alike carry labels that don't "
    "agree.",
    Cause.MISALIGNED_LABELS: "The labels don't belong to their inputs: somewhere the one was "
    "reordered without the other.",
    Cause.LABEL_MAP_MISMATCH: "A class has one number in training and another in validation, so "
    "right answers count as wrong.",
    Cause.TOO_LITTLE_DATA: "There are too few training examples: the network learns them by heart "
    "and nothing that holds beyond them.",
    Cause.CLASS_IMBALANCE: "Some classes have many times the examples of others, and the loss is "
    "content without the rare ones.",
    Cause.CLASS_OVERLAP: "Some classes look alike in the inputs, so that no network could keep "
    "them apart.",
    Cause.DISTRIBUTION_SHIFT: "Validation or test examples are of another kind than those trained "
    "on.",
    Cause.LEAKAGE: "The same examples are in two splits, so that the figures are better than the "
    "network is.",
    Cause.AUGMENTATION_TOO_STRONG: "The augmentation changes the training examples beyond "
    "recognition.",
    Cause.VAL_AUGMENTED: "The validation examples are changed at random, so its figures differ "
    "from one reading to the next.",
    Cause.UNSHUFFLED: "The training examples come in an order, class by class for instance, and "
    "each batch pulls the network its own way.",
    Cause.MISSING_CLASS: "A class has no training examples, so it can't be learned.",
    Cause.INPUT_DESTROYED: "What the inputs show is lost before the network sees them: it can "
    "learn them by heart, but not what they have in common.",
    # model
    Cause.ZERO_INIT: "The weights start at zero: no gradient passes a layer, or all its units stay "
    "the same.",
    Cause.CONSTANT_INIT: "The weights of a layer start equal, so its units compute the same and "
    "get the same gradient for ever.",
    Cause.INIT_TOO_LARGE: "The weights start so large that the untrained network is sure of wrong "
    "answers, or its units are saturated before the first step.",
    Cause.INIT_TOO_SMALL: "The weights start so small that signals and gradients die out from "
    "layer to layer.",
    Cause.VANISHING_GRADIENT: "The gradient shrinks on its way back, and hardly anything of it "
    "reaches the first layers.",
    Cause.EXPLODING_GRADIENT: "The gradient grows on its way back, until a step throws the weights "
    "far off.",
    Cause.SATURATING_DEPTH: "Many layers of sigmoid or tanh follow each other, each with a slope "
    "below 1, so the gradient dies out.",
    Cause.TOO_DEEP: "The network has more plain layers than a gradient can pass without shortcuts "
    "or normalization.",
    Cause.RELU_LOGITS: "A ReLU follows the last layer: logits can't be negative, and get no "
    "gradient where they are cut off.",
    Cause.DOUBLE_SOFTMAX: "The network ends in a softmax, and the loss applies another: it can "
    "never come near zero, and gradients are small.",
    Cause.SIGMOID_LOGITS: "The last layer's outputs are squeezed into a narrow range (sigmoid or "
    "tanh) before a loss that expects logits.",
    Cause.NO_NONLINEARITY: "Nothing nonlinear stands between the layers, so all of them together "
    "are one linear layer.",
    Cause.DEAD_RELU: "Many ReLU units put out zero for every example, so they get no gradient and "
    "learn nothing.",
    Cause.SATURATED_UNITS: "Many sigmoid or tanh units are at the ends of their range, where the "
    "slope is next to zero.",
    Cause.DETACHED_GRAPH: "The computation is cut in mid-network: no gradient reaches what lies "
    "before the cut.",
    Cause.ACCIDENTAL_FREEZE: "Some parameters don't change though nothing in the config says that "
    "they shouldn't.",
    Cause.UNREGISTERED_MODULES: "Some layers are hidden from PyTorch, in a plain list say, so "
    "the optimizer never sees their weights.",
    Cause.DROPOUT_TOO_HIGH: "Dropout removes so much that what is left can't carry the signal.",
    Cause.BN_STATS: "Batch norm's running statistics don't fit the data, so the network computes "
    "something else in evaluation than in training.",
    Cause.EVAL_INACTIVE: "Something random stays on after eval(), so the same input gives another "
    "answer each time.",
    Cause.WRONG_OUTPUT_SIZE: "The network's outputs don't match the targets in number or shape.",
    Cause.BOTTLENECK: "One layer is so narrow that what tells the classes apart doesn't fit "
    "through it.",
    Cause.EXPLODING_ACTIVATIONS: "The values grow from layer to layer, until the outputs are "
    "enormous.",
    Cause.WRONG_GRADIENT: "A backward pass doesn't compute the derivative of its forward pass, so "
    "the steps lead elsewhere than down.",
    Cause.NAN_GRADIENT_OP: "An operation has a gradient of NaN or infinity for inputs that do "
    "occur, like the square root at zero.",
    Cause.BATCH_MIXING: "An example's output depends on the other examples of its batch, as "
    "after a reshape or a sum over the wrong dimension.",
    Cause.INPUT_IGNORED: "The output doesn't depend on the input: the network says the same "
    "whatever it is shown.",
    # loss and regularization
    Cause.LOSS_MISMATCH: "The loss isn't one for this task, such as a squared error on logits of "
    "classes, or a sum of several tasks' losses in which one drowns the others.",
    Cause.MISSING_LOG_SOFTMAX: "The loss expects log-probabilities and gets raw logits, so it can "
    "fall below zero without end.",
    Cause.SIGN_FLIPPED: "The loss has the wrong sign: training makes the network worse.",
    Cause.SUM_REDUCTION: "The loss is a sum over the batch where a mean is expected, so the step "
    "size grows with the batch.",
    Cause.BAD_CLASS_WEIGHTS: "The loss weighs the classes so unevenly that some hardly count.",
    Cause.REG_SIGN: "The penalty is subtracted where it should be added, so the weights are "
    "rewarded for growing.",
    Cause.REG_INACTIVE: "A regularization is declared but has no effect on the loss or the "
    "gradient.",
    Cause.OVER_REGULARIZED: "The penalty or the weight decay is so strong that the weights "
    "shrink to nothing.",
    # optimization
    Cause.LR_TOO_HIGH: "The steps are too large: the loss jumps about, or grows beyond bounds.",
    Cause.LR_TOO_LOW: "The steps are too small: the loss falls too slowly to get anywhere.",
    Cause.MOMENTUM_TOO_HIGH: "The optimizer carries on in old directions for so long that it "
    "overshoots.",
    Cause.BN_SMALL_BATCH: "The batches are too small for batch norm: a mean over so few examples "
    "is mostly noise.",
    Cause.UNDERTRAINED: "Training ended while the loss was still falling.",
    Cause.OVERFITTING: "The network goes on to improve on the training examples while it gets "
    "worse on others.",
    Cause.UNDERFITTING: "The network doesn't even fit the training examples.",
    Cause.SCHEDULE_TOO_FAST: "The schedule lowers the learning rate to nothing before the network "
    "has learned what it could.",
    Cause.CLIP_TOO_SMALL: "Clipping cuts nearly every gradient to a fraction, so the steps are "
    "tiny.",
    Cause.ADAM_EPS: "The optimizer's eps is larger than the gradients, so it divides by eps and "
    "the steps are tiny.",
    Cause.NON_FINITE: "The loss became NaN or infinite, and so do all weights a step later.",
}
"""What each cause means for a network, in words for somebody who meets it for the first time."""

STAGES: dict[str, str] = {
    "data": "What the network will be shown.",
    "transfer": "How much data there are, and how like those of the pretrained network.",
    "sanity": "The untrained network and its loss, before anything is learned.",
    "init": "Signals on their way through the untrained network, and gradients on their way back.",
    "overfit": "A sound network can learn a handful of examples by heart.",
    "lr_probe": "A few steps at each of many learning rates show which ones work.",
    "search": "Many trainings with settings drawn from ranges, which close in on the best.",
    "train": "The whole training, and what went on in the network meanwhile.",
    "ensemble": "Several networks, and what their average gains over them.",
    "evaluate": "The best epoch's network, on examples that nothing else has touched.",
    "diagnosis": "Where a cause is open, short trainings with one suspect removed at a time.",
}
"""What each stage looks at."""
