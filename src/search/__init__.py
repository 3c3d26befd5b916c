"""Model selection: the grid, the scoring of one trial, the journal and the leaderboard."""
