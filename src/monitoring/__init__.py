"""The prediction log read back: drift, performance, the day's report, and labels that a person brings."""
