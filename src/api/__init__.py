"""The prediction service: FastAPI in front of the live release."""
