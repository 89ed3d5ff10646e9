"""Losses and gradients of all methods are those that public reference code gave.

``parity.json`` has what ``python -m benchmarks.parity --references DIR --write`` recorded: values,
repository, commit and file, and where ours differs on purpose.
"""

from __future__ import annotations

import json

import pytest

from benchmarks.parity import CASES, RECORDED, difference
from supercm_pl.uda import validators
from tests.support.methods import SSL_METHODS, UDA_METHODS

RECORDS = json.loads(RECORDED.read_text())

# Sums in float32 there (DAN, JAN), and small numbers inside logarithms (CDAN+E, MDD, SND).
TOLERANCES = {"CDAN+E": 2e-5, "JAN": 2e-6, "validator SND, authors": 3e-4}

# Methods and validators that no public code computes.
WITHOUT_REFERENCE = {"LabelPropagation", "CentroidAgreement"}


@pytest.mark.parametrize("name", CASES)
def test_the_loss_and_its_gradients_are_those_of_the_reference(name):
    assert difference(CASES[name](), RECORDS[name]["values"]) < TOLERANCES.get(name, 1e-6)


def test_every_method_and_validator_has_a_reference():
    names = {name.removeprefix("validator ").split(",")[0].split("+")[0] for name in CASES}
    others = {"Validator", "AssignmentValidator", "Domain"}
    known = {*SSL_METHODS, *UDA_METHODS, *validators.__all__} - others
    assert names | WITHOUT_REFERENCE == known, (
        "add it to CASES in benchmarks/parity.py, or here to WITHOUT_REFERENCE"
    )


def test_every_reference_is_identified():
    for record in RECORDS.values():
        assert len(record["commit"]) == 40
        assert record["repository"].count("/") == 1
        assert record["file"].endswith(".py")
