"""A web page that classifies images with a checkpoint: python app.py last.ckpt."""

from __future__ import annotations

import sys

import gradio

from supercm_pl.export import load_classifier


def page(checkpoint: str) -> gradio.Interface:
    """Build the page of a checkpoint that ``supercm fit`` wrote."""
    classifier = load_classifier(checkpoint)

    def classify(path: str) -> dict[str, float]:
        probabilities = classifier.predict([path]).probabilities[0].tolist()
        return dict(zip(classifier.classes, probabilities, strict=True))

    return gradio.Interface(
        classify,
        gradio.Image(type="filepath", label="image"),
        gradio.Label(num_top_classes=3, label="class"),
        title=f"One of {len(classifier.classes):,} classes",
        flagging_mode="never",
    )


if __name__ == "__main__":
    page(sys.argv[1]).launch()
