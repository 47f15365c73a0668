"""Compressed packets to PCM on the source's timeline.

packets ─► `decoding` (libav) ─► `timeline` (gaps, jumps, overlaps) ─► `chunks` with their levels; `pcm` has the sample helpers
"""
