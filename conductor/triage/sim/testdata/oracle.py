"""Computes the reduction of the time to the first action by scipy.

Reads {runs, humans, goal, shares} as JSON, and prints the reductions, break-even
medians and intervals as JSON. A run is [incident, alertedWithout, alertedWith,
acted], in seconds; acted is null if triage took no right action.
"""

import json
import math
import sys

from scipy import integrate, optimize, special, stats


def capped(median, sigma, limit):
    """The mean of min(limit, X), by integrating the survival function."""
    def survival(x):
        return special.ndtr(-math.log(x / median) / sigma) if x > 0 else 1

    points = [p for p in (median * math.exp(z * sigma) for z in (-3, 0, 3)) if p < limit]
    return integrate.quad(survival, 0, limit, points=points or None, limit=500)[0]


def reduction(runs, median, sigma):
    mean = stats.lognorm(s=sigma, scale=median).mean()
    without = with_triage = 0.0
    for incident, before, alerted, acted in runs:
        if not incident:
            continue
        without += before + mean
        if acted is None:
            with_triage += alerted + mean
        elif acted <= alerted:
            with_triage += acted
        else:
            with_triage += alerted + capped(median, sigma, acted - alerted)
    return 1 - with_triage / without


def main():
    q = json.load(sys.stdin)
    breakeven = []
    for sigma in sorted({h[1] for h in q["humans"]}):
        def f(log_median):
            return reduction(q["runs"], math.exp(log_median), sigma) - q["goal"]
        end = math.log(86400)
        breakeven.append(math.exp(optimize.brentq(f, 0, end, xtol=1e-4)) if f(0) < 0 < f(end) else None)
    json.dump({
        "reductions": [reduction(q["runs"], m, s) for m, s in q["humans"]],
        "breakEven": breakeven,
        "shares": [list(stats.binomtest(k, n).proportion_ci(0.95, "exact")) for k, n in q["shares"]],
    }, sys.stdout)


main()
