"""Tests: units mirror ``src/``; ``integration`` and ``e2e`` run against real services."""
