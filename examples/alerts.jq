# Rules for alerts on live sessions. They read the events and write a line an alert:
#
#   streamlation run rtmp://localhost/live/key --live --to pt --target-latency 2 --events 3 -o talk.vtt \
#     3> >(jq --unbuffered --raw-output --null-input --from-file examples/alerts.jq)
#
# Each rule speaks when its state changes, not while it lasts.

def rules:
  if .type == "error" then
    {rule: "error", state: .message, severity: (if .fatal then "critical" else "warning" end)}
  elif .type == "status" and .state == "failed" then
    {rule: "stage", state: "failed", severity: "critical"}
  elif .type == "status" and ((.detail // "") | startswith("target-latency: ")) then
    {rule: "latency", state: (.detail | ltrimstr("target-latency: ")),
     severity: (if .detail | contains("exceeds") then "warning" else "resolved" end)}
  elif .type == "status" and ((.detail // "") | startswith("load: ")) then
    {rule: "load", state: (.detail | ltrimstr("load: ")),
     severity: (if .detail == "load: as asked" then "resolved" else "warning" end)}
  elif .type == "status" and .stage == "ingest" and (.counters.reconnects // 0) > 0 then
    {rule: "source", state: "reconnected \(.counters.reconnects) times", severity: "warning"}
  else empty end;

foreach inputs as $event ({last: {}, out: null};
  .out = null
  | (reduce ($event | rules) as $found (.;
      "\($event.session)/\($event.stage)/\($found.rule)" as $key
      | if .last[$key] == $found.state then . else
          .last[$key] = $found.state
          | .out = "\($found.severity): \($event.session): \($event.stage): \($found.rule): \($found.state)"
        end));
  .out // empty)
