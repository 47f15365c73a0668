#!/usr/bin/env bash
# The same chain as a pipe of processes; `tee` keeps a log that any later stage can be run on again.
set -euo pipefail
streamlation ingest "${1:-testdata/audio/hello_en.flac}" --from en |
  streamlation normalize |
  streamlation transcribe --from en |
  streamlation translate --to pt |
  tee hello.ndjson |
  streamlation subtitle --format srt
streamlation subtitle --format ass --text both < hello.ndjson > hello.ass
