"""The page in `web/` on this computer: its files, those of other projects that it needs, and a small server."""
