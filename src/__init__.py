"""The wine-quality stack: pure modules inside, services at the edges."""
