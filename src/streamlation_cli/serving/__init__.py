"""A small HTTP server inside the process: the page with live captions, and media for receivers that fetch it.

records ─► `board` (what each session is now, and what happened, numbered) ─┐
captions so far ─► `downloads` ─────────────────────────────────────────────┼─► `pages` ─► `access` ─► `server`
files, live HLS ─► `media` (unguessable paths) ─────────────────────────────┘
"""
