"""The demonstrations: real data fetched once, an ordinary recipe written beside it."""
