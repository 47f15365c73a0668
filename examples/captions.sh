#!/usr/bin/env bash
# Captions in the spoken language, as SRT and WebVTT in one pass.
set -euo pipefail
streamlation run "${1:-testdata/audio/hello_en.flac}" --from en -o hello.srt -o hello.vtt
cat hello.srt
