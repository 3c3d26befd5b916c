"""Model: the release that serves, and how it got there."""

import streamlit as st
from words import say


def show() -> None:
    """Draw the view."""
    st.title(say("nav_model"))
