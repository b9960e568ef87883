"""The verbs on recorded runs, and on notebooks."""
