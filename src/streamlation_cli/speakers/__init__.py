"""Who speaks: voices told apart without being known beforehand.

utterances ─► `turns`: stretches between pauses ─► `voiceprint`: 256 numbers a stretch ─► `clustering` ─► A, B, …
"""
