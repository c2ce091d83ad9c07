"""The ledger's rows, and what they must come to: the provider's own account times the list prices.

Prices stand here as whole picodollars (10⁻¹² USD) per token, copied by hand, so that a wrong catalogue is noticed.
"""

import csv
import datetime
import io
import time
import urllib.parse
from decimal import Decimal

PICODOLLARS = 10**12
COLUMNS = (
    "id,client_request_id,time,status,key,team,operation,provider,model,requested_model,stream,cache,input_tokens,"
    "cache_read_tokens,cache_write_tokens,output_tokens,reasoning_tokens,cost_usd,cost_basis,latency_ms,"
    "time_to_first_token_ms,attempts,error,tags"
)
SETTLE_SECONDS_MAX = 40
BALANCE_SECONDS_MAX = 15
# Input, cache read, cache write for 5 minutes and for 1 hour, output.
PRICES = {
    "gpt-4o-mini": (150_000, 75_000, 0, 0, 600_000),
    "gpt-5-mini": (250_000, 25_000, 0, 0, 2_000_000),
    "gpt-3.5-turbo-instruct": (1_500_000, 0, 0, 0, 2_000_000),
    "text-embedding-3-small": (20_000, 0, 0, 0, 0),
    "claude-haiku-4-5": (1_000_000, 100_000, 1_250_000, 2_000_000, 5_000_000),
    "claude-sonnet-4-6": (3_000_000, 300_000, 3_750_000, 6_000_000, 15_000_000),
    "claude-sonnet-5": (2_000_000, 200_000, 2_500_000, 4_000_000, 10_000_000),
    "claude-opus-4-1": (15_000_000, 1_500_000, 18_750_000, 30_000_000, 75_000_000),
    # The prices of the tests' own configuration.
    "qwen3-coder": (200_000, 200_000, 200_000, 200_000, 800_000),
}
BUCKETS = ("input", "cache_read", "cache_write_5m", "cache_write_1h", "output")


def picodollars(text):
    """An exact decimal string as an integer; anything that is not whole fails."""
    amount = Decimal(text) * PICODOLLARS
    assert amount == int(amount), text
    return int(amount)


def window():
    """Yesterday to the day after tomorrow, so that no run is split by midnight."""
    today = datetime.datetime.now(datetime.timezone.utc).date()
    day = datetime.timedelta(days=1)
    return urllib.parse.urlencode({"from": (today - day).isoformat(), "to": (today + 2 * day).isoformat()})


def all_rows(gateway):
    text = gateway.text(f"/api/costs.csv?{window()}")
    assert text.splitlines()[0].removeprefix("\ufeff") == COLUMNS
    return list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"))))


def settled_row(gateway, marker):
    """The one row of the call that carried this client request id, once it is no longer pending."""

    def look():
        rows = [row for row in all_rows(gateway) if row["client_request_id"] == marker]
        assert len(rows) <= 1, "one call has one row"
        return rows if rows and rows[0]["status"] != "pending" else None

    deadline = time.monotonic() + SETTLE_SECONDS_MAX
    while time.monotonic() < deadline:
        rows = look()
        if rows:
            return rows[0]
        time.sleep(0.02)
    raise AssertionError(f"the row of {marker} was not settled within {SETTLE_SECONDS_MAX} s")


def tokens(row):
    """Uncached input, cache read, cache write, output; reasoning is a part of output."""
    names = ("input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens")
    return tuple(int(row[name] or 0) for name in names)


def owed(entries):
    """What the provider's account comes to."""
    total = 0
    for entry in entries:
        usage = entry["usage"] or dict.fromkeys(BUCKETS, 0)
        total += sum(usage[bucket] * price for bucket, price in zip(BUCKETS, PRICES[entry["model"]]))
    return total


def _has(entry, directives):
    return bool(set((entry["directive"] or "").split()) & set(directives))


def check_books(gateway, upstream, marker, without=()):
    """The rows of a marker cost exactly what the provider asks for the requests that carried it.

    Requests with one of the directives in `without` are not counted.
    """
    deadline = time.monotonic() + BALANCE_SECONDS_MAX
    while True:
        entries = [entry for entry in upstream.account(marker) if not _has(entry, without)]
        rows = [row for row in all_rows(gateway) if row["client_request_id"] == marker]
        booked = sum(picodollars(row["cost_usd"] or "0") for row in rows)
        settled = all(row["status"] in ("settled", "failed") for row in rows)
        if settled and booked == owed(entries) and (rows or not entries):
            return
        if time.monotonic() > deadline:
            break
        time.sleep(0.05)
    usage = [(entry["model"], entry["usage"]) for entry in entries]
    described = [(row["status"], row["cost_basis"], row["cache"], tokens(row), row["cost_usd"]) for row in rows]
    raise AssertionError(f"the provider is owed {owed(entries)} for {usage}; booked is {booked} in {described}")
