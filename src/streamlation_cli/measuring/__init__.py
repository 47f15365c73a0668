"""What `bench` measures, one module a subject.

Pure: `numbers`, `tokens`, `alignment`, `word_errors`, `distribution`, `hypotheses`, `resegmentation`, `lagging`, `scoring`.
With processes and clocks: `feed` (a recording at its own speed), `systems` (the programs under test), `resources` (their
memory and handles), `offline` (passes over the whole recording). Errors of the system under test are measured, not raised;
a system that crashes, hangs or stops before its input does is an error.
"""
