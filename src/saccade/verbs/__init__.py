"""Each verb of the house as a short story told in rooms, one file for the verbs that belong together."""
