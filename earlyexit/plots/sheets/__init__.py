"""Sheets of pictures: sample images of the data, and examples of what leaves where."""
