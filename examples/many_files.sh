#!/usr/bin/env bash
# Many files in one call: models are loaded once, and one broken file does not stop the rest.
set -euo pipefail
streamlation run testdata/audio/hello_en.flac testdata/audio/turns_en.opus --from en --jobs 2 -o '{session}.vtt'
head -4 hello_en.vtt turns_en.vtt
