"""The model card of an exported file."""

from __future__ import annotations

from collections.abc import Mapping

from supercm_pl._version import __version__
from supercm_pl.export.classifier import Classifier
from supercm_pl.names import first_of, printable

_METRICS = {
    "acc": "accuracy",
    "target_acc": "accuracy on the target",
    "ece": "calibration error, the difference between confidence and accuracy",
    "target_ece": "calibration error, the difference between confidence and accuracy",
}


def model_card(
    classifier: Classifier,
    name: str,
    *,
    counts: Mapping[str, int],
    metrics: Mapping[str, float],
    baselines: Mapping[str, float],
) -> str:
    """Describe an exported model in Markdown: its data, test results and limits.

    Unknown ``counts`` of training samples by part, test ``metrics`` by name in the logs, and test
    accuracies of other classifiers (``baselines``) are empty.
    """
    classes, shape = classifier.classes, "×".join(map(str, classifier.input_shape))
    told = first_of(classes, 50)
    tested = {key.partition("/")[2]: value for key, value in metrics.items()}
    results = [(text, tested[key]) for key, text in _METRICS.items() if key in tested]
    results += [(f"accuracy of {other}, for comparison", acc) for other, acc in baselines.items()]
    images = len(classifier.input_shape) == 3
    kind = "bytes from 0 to 255" if classifier.uint8 else "floats, images in [0, 1]"
    parameters = sum(each.numel() for each in classifier.module.parameters())
    limits = [
        f"The model always answers with one of its {len(classes):,} classes, also for inputs that "
        "belong to none of them.",
        "Test results hold for data like the test data. Measure them again where cameras, places "
        "or times differ.",
        "A probability is a confidence, not a guarantee: see the calibration error."
        if {"ece", "target_ece"} & tested.keys()
        else "The calibration of the probabilities was not measured.",
    ]
    if images:
        limits.append("The file does not resize images. Training resized them without cropping.")
    if not tested:
        limits.append("The model was not tested, or its run is not known.")
    lines = [
        f"# {name}",
        "",
        f"A classifier trained with SuperCM (supercm_pl {__version__}).",
        "",
        "| property | value |",
        "| --- | --- |",
        f"| classes | {len(classes):,}: {_escaped(told)} |",
        f"| input | {shape}, {kind} |",
        f"| parameters | {parameters:,} |",
        *(f"| {part} training samples | {count:,} |" for part, count in counts.items()),
        "",
        "## Test results",
        "",
    ]
    table = [f"| {_escaped(text)} | {value:.3f} |" for text, value in results]
    lines += ["| metric | value |", "| --- | --- |", *table] if table else ["Unknown."]
    lines += ["", "## Limits", "", *(f"- {limit}" for limit in limits)]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    """Text of a cell: names of folders may contain any character."""
    for sign in "\\|<>[]`*_":
        text = text.replace(sign, f"\\{sign}")
    return printable(" ".join(text.split()))
