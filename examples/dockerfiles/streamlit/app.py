"""How far a pendulum swings, by length and damping."""

import numpy as np
import pandas as pd
import streamlit as st


@st.cache_data
def swing(length_m: float, damping: float, seconds: float = 20) -> pd.DataFrame:
    """Return the angle, which begins at 1, by time."""
    t = np.linspace(0, seconds, 400)
    return pd.DataFrame(
        {"angle": np.exp(-damping * t) * np.cos(np.sqrt(9.81 / length_m) * t)}, index=pd.Index(t, name="s")
    )


st.title("A pendulum")
length = st.slider("length in m", 0.1, 5.0, 1.0)
damping = st.slider("damping", 0.0, 1.0, 0.1)
angles = swing(length, damping)
st.line_chart(angles)
st.metric("period in s", f"{2 * np.pi * np.sqrt(length / 9.81):.2f}")
