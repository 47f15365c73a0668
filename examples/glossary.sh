#!/usr/bin/env bash
# Terms that must be translated in one way, or not at all.
set -euo pipefail
printf 'Bell Rock\n' > terms.tsv
streamlation run "${1:-testdata/audio/talk_en_60s.opus}" --from en --to pt --glossary terms.tsv -o talk.srt
