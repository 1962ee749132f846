"""Judges canary analyses as docs/spec/aca.md specifies, with the statistics of scipy.

Reads one JSON object per line, and writes one per line:
{"report": ...}  the results, score and verdict computed from the report's input
{"tail": ...}    p and interval of differences; and for all assignments, p-values beside the ends
{"errors": ...}  p, test and interval of a table
{"order": ...}   which window of each pair has the copy first
"""

import hashlib
import json
import math
import sys

import numpy as np
from scipy import stats

TOLERANCE = 1e-9
EXACT = 14
SCIPY_EXACT = 10  # pairs up to which scipy visits all assignments


def digest(label, *parts):
    return hashlib.sha256("\n".join([f"muniment aca {label}", *map(str, parts)]).encode()).digest()


def copy_first(seed, pair):
    return digest("order", seed, pair)[0] & 1 == 1


def harm(direction, x):
    return -x if direction == "decrease" else x


def assignments(n, seed, name, draws):
    """Returns a matrix of 0 and 1 with a row per assignment."""
    if n <= EXACT:
        return (np.arange(2**n)[:, None] >> np.arange(n)) & 1
    rows = []
    for k in range(draws):
        bits = np.unpackbits(np.frombuffer(digest("draw", seed, name, k), dtype=np.uint8), bitorder="little")
        rows.append(bits[:n])
    return np.array(rows, dtype=int)


def tail(d, direction, seed, name, draws, alpha):
    d = np.array(d, dtype=float)
    n = len(d)
    exact = n <= EXACT
    chosen = assignments(n, seed, name, draws)
    observed = d.sum()
    sums = (2 * chosen - 1) @ d
    t = TOLERANCE * np.abs(d).sum()
    if direction == "either":
        extreme = np.abs(sums) >= abs(observed) - t
    else:
        extreme = harm(direction, sums) >= harm(direction, observed) - t
    if exact:
        p = extreme.mean()
        chosen = chosen[chosen.any(axis=1)]
    else:
        p = (1 + extreme.sum()) / (1 + len(extreme))
        chosen = chosen.copy()
        chosen[~chosen.any(axis=1)] = 1
    means = np.sort((chosen @ d) / chosen.sum(axis=1))
    k = math.floor(alpha / 2 * (len(means) + 1) + TOLERANCE)
    interval = None if k == 0 else [float(means[k - 1]), float(means[len(means) - k])]
    return float(p), interval, "permutation" if exact else "permutation-draws"


def sign_flips(d, alternative):
    """Returns the p-value of scipy's test over all sign flips."""
    return float(
        stats.permutation_test(
            (np.array(d, dtype=float),), lambda x, axis: x.sum(axis=axis),
            permutation_type="samples", n_resamples=np.inf, alternative=alternative, vectorized=True,
        ).pvalue
    )


ALTERNATIVES = {"increase": "greater", "decrease": "less", "either": "two-sided"}


def tail_answer(q):
    p, interval, _ = tail(q["d"], q["direction"], q["seed"], q["name"], q["draws"], q["alpha"])
    answer = {"p": p, "interval": interval}
    if 2 <= len(q["d"]) <= SCIPY_EXACT:
        answer["scipy"] = sign_flips(q["d"], ALTERNATIVES[q["direction"]])
        if q.get("interval"):
            # The interval has the values that neither one-sided test rejects.
            step = 1e-6
            low, high = q["interval"]
            d = np.array(q["d"], dtype=float)
            answer["ends"] = [
                sign_flips(d - (low - step), "greater"), sign_flips(d - (low + step), "greater"),
                sign_flips(d - (high + step), "less"), sign_flips(d - (high - step), "less"),
            ]
    return answer


def errors(on_failed, on, off_failed, off, direction, alpha):
    table = np.array([[on_failed, on - on_failed], [off_failed, off - off_failed]])
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    share_on, share_off = on_failed / on, off_failed / off
    if expected.min() < 5:
        test = "fisher"
        p = stats.fisher_exact(table.astype(int), alternative=ALTERNATIVES[direction]).pvalue
    else:
        test = "chi-squared"
        p = stats.chi2_contingency(table, correction=True).pvalue
        if direction != "either":
            p = p / 2 if harm(direction, share_on - share_off) > 0 else 1 - p / 2
    ends = [stats.binomtest(int(k), int(n)).proportion_ci(1 - alpha, method="wilson") for k, n in ((on_failed, on), (off_failed, off))]
    effect = share_on - share_off
    interval = [
        effect - math.hypot(share_on - ends[0].low, ends[1].high - share_off),
        effect + math.hypot(ends[0].high - share_on, share_off - ends[1].low),
    ]
    return float(p), interval, test


def counts(check, sample):
    value, per = sample["value"], sample["per"]
    if not (0 <= value <= 1e18 and 0 <= per <= 1e18 and per >= max(check["minPer"], 1e-9)):
        return False
    if check["kind"] == "errors":
        return value <= per <= 1e9 and value == int(value) and per == int(per)
    return True


def judge(config, check, windows):
    pairs = {}
    for w in windows:
        sample = w["samples"].get(check["name"])
        if sample is not None and counts(check, sample):
            pairs.setdefault(w["pair"], {})[w["copy"]] = sample
    kept = [p for _, p in sorted(pairs.items()) if len(p) == 2]
    n, dropped = len(kept), config["pairs"] - len(kept)
    r = {"name": check["name"], "kind": check["kind"], "required": check["required"], "result": "inconclusive", "pairs": n, "dropped": dropped}
    if n == 0:
        return r
    value = {copy: [p[copy]["value"] for p in kept] for copy in (True, False)}
    per = {copy: [p[copy]["per"] for p in kept] for copy in (True, False)}
    of = {copy: sum(value[copy]) / (n if check["kind"] == "tail" else sum(per[copy])) for copy in (True, False)}
    on, off = of[True], of[False]
    direction, margin = check["direction"], max(check["absolute"], check["relative"] * off)
    r |= {"on": on, "off": off, "effect": on - off, "margin": margin}

    def exceeds(x, other):
        return x - margin > TOLERANCE * max(on, off) or direction == "either" and -other - margin > TOLERANCE * max(on, off)

    if n < config["minPairs"] or 5 * dropped > config["pairs"]:
        return r
    h = harm(direction, on - off)
    if check["kind"] == "counter":
        r["result"] = "fail" if exceeds(h, h) else "pass"
        return r
    m = sum(c["required"] and c["kind"] != "counter" for c in config["checks"])
    alpha = config["alpha"] / max(1, m)
    if check["kind"] == "tail":
        d = [a - b for a, b in zip(value[True], value[False])]
        p, interval, test = tail(d, direction, config["seed"], check["name"], config["draws"], alpha)
    else:
        p, interval, test = errors(sum(value[True]), sum(per[True]), sum(value[False]), sum(per[False]), direction, alpha)
    r |= {"test": test, "p": p, "alpha": alpha}
    if interval is None:
        return r
    r["interval"] = interval
    low, high = sorted(harm(direction, x) for x in interval)
    if check["kind"] == "tail" and exceeds(low, high):
        r["result"] = "fail"
    elif check["kind"] == "errors" and exceeds(h, h) and p <= alpha * (1 + TOLERANCE):
        r["result"] = "fail"
    elif not exceeds(high, low):
        r["result"] = "pass"
    return r


def report(r):
    config, given = r["config"], {d["name"]: d["result"] for d in r.get("dataChecks", [])}
    names = config.get("dataChecks", [])
    names = names + [name for name in given if name not in names]
    results = [{"name": name, "kind": "data", "required": True, "result": given.get(name, "inconclusive")} for name in names]
    results += [judge(config, check, r.get("windows", [])) for check in config.get("checks", [])]
    required = [x for x in results if x["required"]]
    passed = sum(x["result"] == "pass" for x in required)
    score = passed / len(required)
    verdict = "pass" if score >= config["threshold"] else "below-threshold"
    if any(x["kind"] == "data" and x["result"] == "fail" for x in results):
        verdict = "blocked"
    return {"results": results, "passed": passed, "of": len(required), "score": score, "verdict": verdict}


def answer(q):
    if "report" in q:
        return report(q["report"])
    if "tail" in q:
        return tail_answer(q["tail"])
    if "errors" in q:
        e = q["errors"]
        p, interval, test = errors(*e["on"], *e["off"], e["direction"], e["alpha"])
        return {"p": p, "interval": interval, "test": test}
    return {"copyFirst": [copy_first(q["order"]["seed"], i) for i in range(len(q["order"]["copyFirst"]))]}


for line in sys.stdin:
    print(json.dumps(answer(json.loads(line))), flush=True)
