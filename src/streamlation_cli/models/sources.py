"""Where a model can be fetched from over http: what files, from which addresses, and what is known of them beforehand."""

from __future__ import annotations

import json
import os
import re
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from ..engines import needs_extra
from ..errors import PairMissing, Unavailable, UsageError
from . import layout
from .catalogue import Model
from .download import Expected, Link, WrongContent, hub_url
from .folders import human, safe_name

FIREFOX_ATTACHMENTS = "https://firefox-settings-attachments.cdn.mozilla.net"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """One file to fetch."""

    name: str
    """In the model's folder."""
    url: str
    expected: Expected
    zstd_of_sha256: str = ""
    """Where it arrives compressed: the SHA-256 of its content; empty where it does not."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A model to fetch."""

    kind: str
    name: str
    files: tuple[Wanted, ...]
    source: str
    checksum: str
    """Where its sums come from: `catalogue`, `hub`, `firefox`, `given`, or `download` where nobody stated one."""
    languages: tuple[str, ...] = ()
    licence: str = ""
    link: Link

    @property
    def size(self) -> int:
        """Bytes, as far as known."""
        return sum(file.expected.size for file in self.files)


def from_hub(spec: str, link: Link, model: Model | None = None) -> Plan:
    """A plan for `ORG/REPO[@REVISION][/FOLDER]` of the hub, pinned to the commit that it has now.

    Raises Unavailable where the hub has no such model or it is of no kind that is used here, and like `Link.read`.
    """
    org, _, rest = spec.partition("/")
    repository, _, folder = rest.partition("/")
    repository, _, revision = repository.partition("@")
    if not all(re.fullmatch(r"[\w.-]+", part) for part in (org, repository, revision or "main")) or ".." in spec:
        raise UsageError(f"hub:{spec}: write hub:ORG/REPO, hub:ORG/REPO@REVISION or hub:ORG/REPO/FOLDER")
    token = os.environ.get("HF_TOKEN")
    link = replace(link, headers={"Authorization": f"Bearer {token}"}) if token else link
    base = hub_url()
    address = f"{base}/api/models/{org}/{repository}/revision/{revision or 'main'}?blobs=true"
    listing = _json_object(link.read(address), address)
    files = {
        str(f["rfilename"]): f for f in _list(listing, "siblings", address) if safe_name(str(f.get("rfilename", "")))
    }
    commit = str(listing.get("sha") or revision or "main")
    if model is not None and model.include:
        chosen = [path for path in model.include if path in files]
        kind = model.kind if layout.kind_of(PurePosixPath(path).name for path in chosen) == model.kind else None
    else:
        prefix = f"{folder.strip('/')}/" if folder else ""
        here = [path.removeprefix(prefix) for path in files if path.startswith(prefix)]
        here = [name for name in here if "/" not in name]
        kind = layout.kind_of(here)
        chosen = [prefix + name for name in layout.wanted(kind, here)] if kind else []
    if kind is None:
        raise Unavailable(f"hub:{spec} holds no model of a kind that is used here: Whisper or translation for CTranslate2, "
                          "a Piper voice, or Firefox translation")  # fmt: skip
    names = [PurePosixPath(path).name for path in chosen]
    name = model.name if model else layout.name_of(kind, folder or repository, names)
    card = listing.get("cardData") if isinstance(listing.get("cardData"), dict) else {}
    return Plan(
        kind=kind,
        name=name,
        files=tuple(
            Wanted(
                name=PurePosixPath(path).name,
                url=f"{base}/{org}/{repository}/resolve/{commit}/{urllib.parse.quote(path)}",
                expected=_hub_sums(files[path]),
            )
            for path in chosen
        ),
        source=f"hub:{org}/{repository}@{commit[:12]}" + (f"/{folder}" if folder else ""),
        checksum="hub",
        languages=model.languages if model else _card_languages(card, kind),
        licence=model.licence if model and model.licence else str(card.get("license", "") if card else ""),
        link=link,
    )


def from_firefox(pair: str, link: Link) -> Plan:
    """A plan for a Firefox Translations pair such as `es-en`, the newest version the engine runs.

    Raises PairMissing where there is no direct model, Unavailable where fxtranslate is not installed.
    """
    with needs_extra("finding Firefox models"):
        from fxtranslate import discovery
    address = discovery.records_url()
    body = link.read(address).decode("utf-8", "replace")
    try:
        pairs = discovery.model_pairs(body)
        source, target = next((p for p in pairs if "-".join(p) == pair), ("", ""))
        listed: list[dict[str, Any]] = [
            dict(r)
            for r in discovery.parse_records(body)
            if (r["sourceLanguage"], r["targetLanguage"]) == (source, target)
        ]
    except ValueError as error:
        raise WrongContent(f"{address}: {error}") from error
    raw = {r["attachment"]["location"]: r for r in _list(_json_object(body.encode(), address), "data", address)}
    records = [r for r in listed if _runs(discovery.model_pairs, raw[r["location"]])]
    if not records:
        languages = set(pair.split("-"))
        near = sorted("-".join(p) for p in pairs if languages & set(p))
        raise PairMissing(
            f"firefox/{pair}: there is no direct model; of these languages there are: {', '.join(near) or 'none'} "
            "(a pair without one goes through English: pull both legs)"
        )
    newest = max((str(r["version"]) for r in records), key=_version_order)
    architecture = min({r["architecture"] or "" for r in records if r["version"] == newest}, key=_architecture_order)
    chosen = [r for r in records if r["version"] == newest and (r["architecture"] or "") == architecture]
    base = (os.environ.get("STREAMLATION_FIREFOX_URL") or FIREFOX_ATTACHMENTS).rstrip("/")
    return Plan(
        kind="firefox",
        name=pair,
        files=tuple(
            Wanted(
                name=PurePosixPath(r["name"].removesuffix(".zst")).name,
                url=f"{base}/{r['location']}",
                expected=_attachment_sums(raw[r["location"]]["attachment"]),
                zstd_of_sha256=r["decompressedHash"] or "",
            )
            for r in chosen
        ),
        source=f"firefox:{pair}@{newest}",
        checksum="firefox",
        languages=(source, target),
        licence="MPL-2.0",
        link=link,
    )


def from_url(url: str, link: Link, sha256: str = "") -> Plan:
    """A plan for a voice's `.onnx`, whose `.onnx.json` lies beside it."""
    parts = urllib.parse.urlsplit(url)
    name = PurePosixPath(urllib.parse.unquote(parts.path)).name
    beside = urllib.parse.urlunsplit(parts._replace(path=parts.path + ".json"))
    return Plan(
        kind="piper",
        name=name.removesuffix(".onnx"),
        files=(
            Wanted(name=name, url=url, expected=Expected(sha256=sha256)),
            Wanted(name=f"{name}.json", url=beside, expected=Expected()),
        ),
        source=url,
        checksum="given" if sha256 else "download",
        link=link,
    )


def _hub_sums(file: Mapping[str, Any]) -> Expected:
    """The hub names big files by their SHA-256 and small ones by git's SHA-1 of them."""
    large = file.get("lfs")
    if isinstance(large, dict):
        return Expected(size=int(large.get("size") or 0), sha256=str(large.get("sha256", "")).lower())
    return Expected(size=int(file.get("size") or 0), git_sha1=str(file.get("blobId") or ""))


def _attachment_sums(attachment: Mapping[str, Any]) -> Expected:
    return Expected(size=int(attachment.get("size") or 0), sha256=str(attachment.get("hash") or "").lower())


def _runs(model_pairs: Callable[[str], list[Any]], record: dict[str, Any]) -> bool:
    """Whether the engine takes a record's version: it alone knows which formats it reads, so it is asked."""
    return bool(model_pairs(json.dumps({"data": [record | {"fileType": "model"}]})))


def _version_order(version: str) -> tuple[tuple[int, ...], bool]:
    """3.1 after 3.0, and 3.0 after its alphas."""
    numbers = tuple(int(n) for n in re.findall(r"\d+", version.partition("a")[0]))
    return numbers, "a" not in version


def _architecture_order(architecture: str) -> int:
    known = ("base", "base-memory", "tiny", "")
    return known.index(architecture) if architecture in known else len(known)


def _card_languages(card: Any, kind: str) -> tuple[str, ...]:
    said = card.get("language") if isinstance(card, dict) else None
    languages = tuple(map(str, said)) if isinstance(said, list) else (str(said),) if said else ()
    return ("*",) if len(languages) > 20 or (not languages and kind == "whisper") else languages


def _json_object(body: bytes, address: str) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise WrongContent(f"{address} answered something else than expected ({human(len(body))})")
    return document


def _list(document: Mapping[str, Any], key: str, address: str) -> list[dict[str, Any]]:
    found = document.get(key)
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise WrongContent(f"{address} answered something else than expected (no {key})")
    return found
