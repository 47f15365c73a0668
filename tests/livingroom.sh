#!/usr/bin/env bash
# A network of its own with an AirPlay loudspeaker (shairport-sync) and a DLNA renderer (gmediarender), which announce
# themselves by multicast. Run as: unshare -n -m bash livingroom.sh FOLDER. FOLDER gets what the loudspeaker plays, sound.raw
# (44.1 kHz stereo s16le), and the logs. Prints "ready"; everything ends when standard input does.
set -euo pipefail
cd "$1"
address=10.77.0.1

mount -t tmpfs tmpfs /run
mkdir -p /run/avahi-daemon /run/dbus
ip link set lo up
ip link add tv0 type veth peer name tv1
ip addr add $address/24 dev tv0
ip link set tv0 up multicast on
ip link set tv1 up
ip route add 224.0.0.0/4 dev tv0

trap 'kill $(jobs -p) 2> /dev/null; wait' EXIT
until_true() {  # polls for at most 15 s
  for _ in $(seq 150); do "$@" 2> /dev/null && return; sleep 0.1; done
  echo "livingroom: never true: $*" >&2
  return 1
}
listens() { (exec 3<> "/dev/tcp/$address/$1"); }

export DBUS_SYSTEM_BUS_ADDRESS=unix:path=/run/dbus/bus
dbus-daemon --session --address=$DBUS_SYSTEM_BUS_ADDRESS --nofork --nopidfile > dbus.log 2>&1 &
until_true test -S /run/dbus/bus
cat > avahi.conf <<END
[server]
host-name=livingroom
use-ipv6=no
allow-interfaces=tv0
[wide-area]
enable-wide-area=no
[rlimits]
END
avahi-daemon --file avahi.conf --no-drop-root --no-chroot --no-rlimits --no-proc-title > avahi.log 2>&1 &
until_true test -S /run/avahi-daemon/socket
mkfifo sound.pipe
cat sound.pipe > sound.raw &
cat > shairport.conf <<END
general = { name = "Kitchen"; interpolation = "basic"; output_backend = "pipe"; mdns_backend = "avahi"; port = 5000; ignore_volume_control = "yes"; };
pipe = { name = "$PWD/sound.pipe"; audio_backend_buffer_desired_length_in_seconds = 1.0; };
metadata = { enabled = "no"; };
END
exec 4> sound.pipe  # keeps it open between two sessions
shairport-sync --configfile=shairport.conf --verbose > shairport.log 2>&1 &
gmediarender --interface-name tv0 --port 49494 --friendly-name Bedroom --uuid 11111111-2222-3333-4444-555555555555 \
  --gstout-audiopipe="fakesink sync=true" --gstout-videopipe="fakesink sync=true" --logfile=/dev/stderr > gmediarender.log 2>&1 &
echo $! > gmediarender.pid
until_true listens 5000
until_true listens 49494
echo "ready $$"
cat > /dev/null
