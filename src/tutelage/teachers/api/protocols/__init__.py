"""The protocols that servers speak: one file each, requests out, answers in, no network."""
