#!/usr/bin/env bash
# A subtitle file in, a subtitle file in another language out; no audio is needed.
set -euo pipefail
cat > film.en.srt <<'SRT'
1
00:00:01,000 --> 00:00:03,200
The boat left early,

2
00:00:03,300 --> 00:00:05,900
and nobody saw it go.
SRT
streamlation ingest film.en.srt --from en | streamlation translate --to pt | streamlation subtitle -o film.pt.srt > film.pt.ndjson
cat film.pt.srt
