"""What is heard under a dubbed voice. Light, for `--help` reads it."""

from __future__ import annotations

from dataclasses import dataclass

from ..options import option


@dataclass(frozen=True, kw_only=True)
class MixOptions:
    """How voice and original are mixed; options of every stage that makes a dubbed track."""

    mix: str = option(
        "--mix", "replace", choices=("replace", "duck", "keep"), shared=True,
        help="replace: the voice alone; duck: over the original, turned down; keep: original and voice on a side each",
    )  # fmt: skip
    keep_side: str = option(
        "--keep-side", "left", choices=("left", "right"), shared=True, help="with --mix keep: the original's side"
    )
    duck_db: float = option(
        "--duck-db", 12.0, metavar="DB", minimum=3, maximum=60, shared=True,
        help="how far the original goes down under the voice",
    )  # fmt: skip
