"""Two years of bicycle counts of a city that does not exist."""

import numpy as np
import pandas as pd

STATIONS = {
    # name: (riders on an average day, share of commuters)
    "Harbour Bridge": (4200, 0.85),
    "University": (3600, 0.75),
    "Market Square": (2900, 0.55),
    "Canal Path": (2100, 0.35),
    "North Park": (1500, 0.15),
    "Old Mill": (900, 0.25),
}


def daily_counts(seed: int = 7) -> pd.DataFrame:
    """One row for each day and station: date, station, riders, rain in millimetres, temperature."""
    dice = np.random.default_rng(seed)
    days = pd.date_range("2024-01-01", "2025-12-31", freq="D")
    season = -np.cos(2 * np.pi * (days.day_of_year.to_numpy() - 20) / 365.25)
    temperature = 11 + 9.5 * season + dice.normal(0, 2.8, len(days))
    rain = np.where(dice.random(len(days)) < 0.36, dice.gamma(1.3, 4.2, len(days)), 0)
    weather = (1 + 0.38 * season) * np.exp(-rain / 18) * np.clip(1 + (temperature - 11) / 90, 0.7, 1.2)
    growth = np.linspace(1, 1.16, len(days))
    weekend = days.day_of_week.to_numpy() >= 5
    rows = []
    for station, (average, commuters) in STATIONS.items():
        week = np.where(weekend, 1.35 - commuters, 0.85 + 0.3 * commuters)
        riders = average * weather * growth * week * dice.normal(1, 0.06, len(days))
        rows.append(
            pd.DataFrame(
                {
                    "date": days,
                    "station": station,
                    "riders": riders.clip(0).round().astype(int),
                    "rain_mm": rain.round(1),
                    "temperature_c": temperature.round(1),
                }
            )
        )
    return pd.concat(rows, ignore_index=True)


def hourly_share(commuters: float, weekend: bool) -> np.ndarray:
    """How a day's riders spread over its 24 hours; sums to 1."""
    hour = np.arange(24)
    bump = lambda centre, width: np.exp(-(((hour - centre) / width) ** 2))  # noqa: E731
    leisure = bump(14.5, 4.2)
    rush = bump(8, 1.3) + 0.9 * bump(17.3, 1.8)
    share = leisure + 0.05 if weekend else commuters * rush + (1 - commuters) * leisure + 0.02
    return share / share.sum()
