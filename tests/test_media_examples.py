"""The examples in the docstrings of the media modules."""

from __future__ import annotations

import doctest
import importlib

import pytest


@pytest.mark.parametrize(
    "name",
    [
        "pcm",
        "languages",
        "decoding",
        "sources",
        "sources.captions",
        "sources.clock",
        "sources.file",
        "sources.http",
        "stages.ingest",
    ],
)
def test_examples(name: str) -> None:
    results = doctest.testmod(importlib.import_module(f"streamlation_cli.{name}"))
    assert results.attempted > 0
    assert results.failed == 0
