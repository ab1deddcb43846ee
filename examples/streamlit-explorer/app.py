"""City on Two Wheels: a dashboard of bicycle counts."""

import altair as alt
import pandas as pd
import streamlit as st

from city import STATIONS, daily_counts, hourly_share

WEEKDAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
COLOURS = ["#0f766e", "#2563eb", "#b45309", "#9333ea", "#be185d", "#4d7c0f"]
STEPS = {"Day": "D", "Week": "W", "Month": "MS"}

st.set_page_config("City on Two Wheels", "🚲", layout="wide")


@st.cache_data
def load() -> pd.DataFrame:
    return daily_counts()


data = load()
first, last = data["date"].min().date(), data["date"].max().date()

with st.sidebar:
    st.header("Show")
    chosen = st.multiselect("Stations", list(STATIONS), default=list(STATIONS)[:4])
    period = st.slider("Period", first, last, (pd.Timestamp("2025-01-01").date(), last), format="MMM YYYY")
    step = st.radio("Sum by", list(STEPS), index=1, horizontal=True)
    dry_only = st.toggle("Dry days only")

st.title("City on Two Wheels")
st.caption("Bicycles counted at six stations. Generated data, the same for everyone.")

if not chosen:
    st.info("Choose at least one station on the left.", icon="👈")
    st.stop()


def between(start, end) -> pd.DataFrame:
    dates = data["date"].dt.date
    rows = data[(dates >= start) & (dates <= end) & data["station"].isin(chosen)]
    return rows[rows["rain_mm"] == 0] if dry_only else rows


shown = between(*period)
if shown.empty:
    st.info("No day matches. Widen the period, or allow rain.", icon="🌧️")
    st.stop()

year = pd.DateOffset(years=1)
before = between((pd.Timestamp(period[0]) - year).date(), (pd.Timestamp(period[1]) - year).date())
per_day = shown.groupby("date")["riders"].sum()
per_day_before = before.groupby("date")["riders"].sum()
comparable = len(per_day_before) >= 0.9 * len(per_day) or dry_only
wet = shown.loc[shown["rain_mm"] > 5].groupby("date")["riders"].sum().mean()
dry = shown.loc[shown["rain_mm"] == 0].groupby("date")["riders"].sum().mean()

figures = st.columns(4)
figures[0].metric("Riders", f"{shown['riders'].sum():,}", f"in {len(per_day):,} days", "off", delta_arrow="off", border=True)
change = per_day.mean() / per_day_before.mean() - 1 if comparable and len(per_day_before) else None
figures[1].metric(
    "On an average day",
    f"{per_day.mean():,.0f}",
    f"{change:+.1%} in a year" if change is not None else None,
    border=True,
)
figures[2].metric("Best day", f"{per_day.max():,}", per_day.idxmax().strftime("%a %d %b %Y"), "off", delta_arrow="off", border=True)
rain = "–" if pd.isna(wet) or pd.isna(dry) else f"{1 - wet / dry:.0%}"
figures[3].metric("What rain costs", rain, "of a dry day's riders", "off", delta_arrow="off", border=True)

summed = shown.groupby(["station", pd.Grouper(key="date", freq=STEPS[step])])["riders"].sum().reset_index()
if step != "Day" and summed["date"].nunique() > 2:
    # The first and the last week or month are rarely whole, and would look like a slump.
    summed = summed[~summed["date"].isin([summed["date"].min(), summed["date"].max()])]
colour = alt.Color(
    "station:N",
    title=None,
    scale=alt.Scale(domain=list(STATIONS), range=COLOURS),
    legend=alt.Legend(orient="top", values=chosen),
)
line = (
    alt.Chart(summed)
    .mark_line(strokeWidth=2.2, interpolate="monotone", point=step == "Month")
    .encode(
        alt.X("date:T", title=None),
        alt.Y("riders:Q", title=f"Riders per {step.lower()}"),
        colour,
        [alt.Tooltip("station:N"), alt.Tooltip("date:T"), alt.Tooltip("riders:Q", format=",")],
    )
    .properties(height=320)
    .interactive(bind_y=False)
)
st.altair_chart(line, width="stretch")

left, right = st.columns([3, 2], gap="large")
with left:
    st.subheader("When they ride")
    average = shown.assign(weekday=shown["date"].dt.day_of_week).groupby(["station", "weekday"])["riders"].mean()
    hours = pd.concat(
        pd.DataFrame(
            {
                "weekday": WEEKDAYS[weekday],
                "hour": range(24),
                "riders": riders * hourly_share(STATIONS[station][1], weekday >= 5),
            }
        )
        for (station, weekday), riders in average.items()
    )
    heat = (
        alt.Chart(hours.groupby(["weekday", "hour"], as_index=False)["riders"].sum())
        .mark_rect(cornerRadius=3)
        .encode(
            alt.X("hour:O", title="Hour of the day", axis=alt.Axis(labelAngle=0, values=list(range(0, 24, 3)))),
            alt.Y("weekday:O", sort=WEEKDAYS, title=None),
            alt.Color("riders:Q", scale=alt.Scale(scheme="teals"), legend=None),
            [alt.Tooltip("weekday:O"), alt.Tooltip("hour:O"), alt.Tooltip("riders:Q", format=",.0f")],
        )
        .properties(height=260)
    )
    st.altair_chart(heat, width="stretch")
with right:
    st.subheader("Stations")
    table = (
        shown.groupby("station")["riders"].agg(["sum", "mean", "max"]).sort_values("sum", ascending=False).reset_index()
    )
    st.dataframe(
        table,
        hide_index=True,
        width="stretch",
        column_config={
            "station": "Station",
            "sum": st.column_config.ProgressColumn(
                "Riders", format="localized", min_value=0, max_value=int(table["sum"].max())
            ),
            "mean": st.column_config.NumberColumn("A day", format="%.0f"),
            "max": st.column_config.NumberColumn("Best", format="localized"),
        },
    )
    st.download_button(
        "Download as CSV", shown.to_csv(index=False).encode(), "riders.csv", "text/csv", icon=":material/download:"
    )
