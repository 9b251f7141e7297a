"""Export: one module per file format."""
