#!/usr/bin/env bash
# A film with a Portuguese voice, the original sound as its second track, captions in both languages, and a report of how the
# voice fits.
set -euo pipefail
input=${1:-talk.mp4}

streamlation run "$input" --from en --to pt --mix duck -o "${input%.*}.pt.mp4" --report "${input%.*}.pt.fit.json"
