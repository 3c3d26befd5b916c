"""Service: how each part is."""

import streamlit as st
from words import say


def show() -> None:
    """Draw the view."""
    st.title(say("nav_service"))
