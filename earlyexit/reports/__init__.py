"""Tables for people: Table I, and how far each exit can be relied on."""
