"""How often a model hears digits where there are none, and what it misses when it hears fewer."""
