"""The daily run: six steps, their one wiring, the comparison with the champion, and reproducing a release."""
