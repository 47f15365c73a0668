"""A dubbed track: text spoken on the source's times, mixed and written.

text ─► `phrases` ─► `speaking` with a voice of `voices` and the plan of `timefit` ─► `track` over `bed` (the original,
waiting in a `spool`) ─► `audiofile`; `session` drives it
"""
