"""Many wines: a file in, its predictions out."""

import streamlit as st
from words import say


def show() -> None:
    """Draw the view."""
    st.title(say("nav_many"))
