"""A few recordings of your own words on top of an exported model, in seconds and without torch."""
