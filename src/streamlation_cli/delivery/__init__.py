"""What the chain made, on its way to a screen and a loudspeaker: joined in one place, whatever it ends in.

    packets (video, original sound) ─┐
    speech ─► the dubbed track, AAC ─┼─► `joining`: units in order of time ─► a sink: a file (`mp4` …), live HLS
    transcripts, translations ─► cues┘

`tracks` says what tracks and units are; `presenting` drives it all for one session and one sink.
"""
