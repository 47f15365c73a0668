#!/usr/bin/env bash
# A talk in another language: captions, and a voice over the lowered original.
set -euo pipefail
streamlation run "${1:-testdata/audio/talk_en_60s.opus}" --from en --to pt --mix duck -o talk.pt.srt -o talk.pt.m4a
