"""Load on a served model, and what came of it in figures."""
