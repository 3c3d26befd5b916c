"""The bucket: single objects, DVC workspaces, first state, users."""
