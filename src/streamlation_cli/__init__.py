"""Speech in one language to captions and speech in another, as Unix filters."""

__version__ = "0.1.0"
