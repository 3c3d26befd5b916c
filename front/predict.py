"""Predict: one wine, its grade, why, and what would change it."""

import streamlit as st
from words import say


def show() -> None:
    """Draw the view."""
    st.title(say("nav_predict"))
