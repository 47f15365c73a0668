"""Readable captions: timed text cut into cues, placed on the timeline, written and read.

words ─► `units` (runs between pauses) ─► `cues` with `lines` and `line_breaks` (where to cut) ─► `times` (how long to show)
      ─► `writers` (SRT, WebVTT, ASS, text); `formats` reads SRT and WebVTT
"""
