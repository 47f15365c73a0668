"""Speech to text while it is spoken: what is heard so far becomes words that are committed and never taken back.

pcm ─► activity (is anyone speaking?) ─► Listener (buffer, when to decode) ─► engine ─► policy (what to commit) ─► transcripts
"""
