"""``carboy compose``: the options of each verb, and what is shown; the room ``compose`` decides and carries out."""
