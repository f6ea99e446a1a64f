"""The two classes of Visual Wake Words."""

CLASSES = ("no person", "person")
