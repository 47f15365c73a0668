"""Translation around the engines: fragments into sentences and back onto their times.

transcripts ─► `sentences` ─► `wording` and `glossary` (what is taken off, and what must stay) ─► `routes` (engines, pivot)
            ─► the same back ─► `wordtimes` (words on the source's times)
"""
