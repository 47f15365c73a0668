#!/usr/bin/env bash
# Installs the Debian packages whose programs the test suite runs against: only those that are missing, and nothing where
# all are there. Needs root for that; anyone else is told what to install.
set -euo pipefail

PARTS=(
  nginx libnginx-mod-rtmp                                                  # RTMP server
  python3-gi gir1.2-gst-rtsp-server-1.0                                    # RTSP server
  gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-libav   # its encoders and RTP payloaders
  srt-tools                                                                # SRT callers and listeners
  alsa-utils                                                               # records from a device
  openssl                                                                  # encrypts HLS segments
  chromium fonts-dejavu-core                                               # the page and its player
  jq                                                                       # the alert rules
  shairport-sync gmediarender avahi-daemon dbus iproute2                   # an AirPlay loudspeaker, a DLNA renderer, their network
)
command -v npm >/dev/null || PARTS+=(npm)                                  # fetches hls.js; Node.js may be there from elsewhere

missing=()
for part in "${PARTS[@]}"; do
  # shellcheck disable=SC2016
  [ "$(dpkg-query --show --showformat='${db:Status-Status}' "$part" 2>/dev/null)" = installed ] || missing+=("$part")
done
[ ${#missing[@]} -eq 0 ] && exit 0

command -v apt-get >/dev/null || { echo "debian_parts: needs on this system what Debian calls: ${missing[*]}" >&2; exit 1; }
[ "$(id -u)" -eq 0 ] || { echo "debian_parts: run as root: apt-get install ${missing[*]}" >&2; exit 1; }

# Installed servers are not to be started: the tests start their own.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' > "$policy"
  chmod +x "$policy"
  trap 'rm -f "$policy"' EXIT
fi
install() {
  DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends "${missing[@]}" >&2
}
install || { apt-get update --quiet >&2 && install; }
