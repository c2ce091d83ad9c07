"""What must come of each fault of a provider, whole and streamed: the specification that the fault matrix tests.

`CELLS` says for each fault in each shape who answers, what the ledger calls it, what is booked for it and how long it may
take; `TOLD` how clients of both dialects are told. DEPLOYMENT.md has the same in words, under "When a provider fails".
"""

import enum
from dataclasses import dataclass

from faulty import DRIP_SECONDS, LATER_SECONDS, SLOW_SECONDS, SOON_MS

SHAPES = ("whole", "streamed")
# The time limits of the faulty providers, in seconds.
CONNECT, FIRST_TOKEN, IDLE, TOTAL = 0.3, 0.5, 0.5, 3.0
# Of those whose fault only the limit of the whole call ends.
SHORT_TOTAL = 1.0
ATTEMPTS_MAX = 3
# The least and the most of each pause before an attempt is repeated: where the provider names none, a quarter of a second,
# doubled, less up to half; else what it names.
BACKOFF = ((0.125, 0.25), (0.25, 0.5))
SOON = ((SOON_MS / 1000, SOON_MS / 1000),) * 2
# A key that is limited without a word of how long rests for half a second, then for twice as long each time.
COOLING = ((0.5, 0.5), (1.0, 1.0))
COOLS_AT_LAST = 2


class Then(enum.Enum):
    """What must come of a fault."""

    # The first deployment answers itself, late or slowly: that is no fault.
    SERVED = enum.auto()
    # It failed before its first word: the next deployment answers; where there is none, the client gets an error.
    NEXT = enum.auto()
    # It failed after its first word: the client has what came, and then its dialect's error event. Nobody else is asked.
    BREAKS = enum.auto()
    # It took all the time that the call has: the client gets an error.
    ENDS = enum.auto()


class Bill(enum.Enum):
    """What is booked for each attempt that a fault ends."""

    # Nothing, exactly: the provider did not take the request, or refused it.
    NOTHING = enum.auto()
    # What was held for it, as an unknown: the provider took the request, and nobody knows what it makes of that.
    RESERVED = enum.auto()
    # What came of the answer, and its input, estimated as far as the provider has not told.
    RECEIVED = enum.auto()
    # The input, where the provider told it before its first word, as Anthropic does; else what was held.
    TOLD = enum.auto()
    # What the provider tells.
    EXACT = enum.auto()


@dataclass(frozen=True)
class Cell:
    """What must come of a fault in one shape."""

    then: Then
    # The error of each failed attempt in the ledger; its status and type for clients stand in `TOLD`.
    code: str | None
    bill: Bill
    # What each attempt takes of the client's time until its first word or the next step, in seconds; and from the first
    # word to the end.
    takes: float = 0.0
    goes_on_for: float = 0.0
    # Attempts at the first deployment, while there is a next one and when there is none, and the pauses between them.
    tries: int = 1
    tries_alone: int = 1
    pauses: tuple = BACKOFF
    # What the client is told to wait, where the error reaches it.
    retry_after: int | None = None
    total: float = TOTAL


def both(cell):
    return {"whole": cell, "streamed": cell}


CELLS = {
    # Nobody is there. Free, so worth a repetition where nobody else is left.
    "connect-refused": both(Cell(Then.NEXT, "upstream_connect", Bill.NOTHING, tries_alone=3)),
    "black-hole": both(Cell(Then.NEXT, "timeout_connect", Bill.NOTHING, takes=CONNECT, tries_alone=3)),
    # It may have taken the request before it fell: the reservation of each attempt stands.
    "connection-reset": both(Cell(Then.NEXT, "upstream_lost", Bill.RESERVED, tries_alone=2)),
    # A whole answer has no byte before it is written; a stream has, and one that begins too late is not waited for.
    "slow-first-byte": {
        "whole": Cell(Then.SERVED, None, Bill.EXACT, takes=SLOW_SECONDS),
        "streamed": Cell(Then.NEXT, "timeout_first_token", Bill.RESERVED, takes=FIRST_TOKEN),
    },
    # Headers and records without a word are no first token.
    "slow-first-word": {
        "whole": Cell(Then.SERVED, None, Bill.EXACT, takes=SLOW_SECONDS),
        "streamed": Cell(Then.NEXT, "timeout_first_token", Bill.RESERVED, takes=FIRST_TOKEN),
    },
    "no-answer": {
        "whole": Cell(Then.ENDS, "timeout_total", Bill.RESERVED, takes=SHORT_TOTAL, total=SHORT_TOTAL),
        "streamed": Cell(Then.NEXT, "timeout_first_token", Bill.RESERVED, takes=FIRST_TOKEN),
    },
    # Each pause is shorter than the idle limit. The first word of a stream must not wait for the last.
    "slow-stream": {
        "whole": Cell(Then.SERVED, None, Bill.EXACT, takes=5 * DRIP_SECONDS),
        "streamed": Cell(Then.SERVED, None, Bill.EXACT, takes=DRIP_SECONDS, goes_on_for=8 * DRIP_SECONDS),
    },
    # Half of a whole answer is of no use to anybody, so another one may be fetched.
    "stalled": {
        "whole": Cell(Then.NEXT, "timeout_idle", Bill.RESERVED, takes=IDLE),
        "streamed": Cell(Then.BREAKS, "timeout_idle", Bill.RECEIVED, goes_on_for=IDLE),
    },
    "garbage": both(Cell(Then.NEXT, "upstream_garbage", Bill.RESERVED)),
    "garbage-mid-stream": {"streamed": Cell(Then.BREAKS, "upstream_garbage", Bill.RECEIVED)},
    # The next one is asked at once; where there is none, half a minute is the client's to wait.
    "429-retry-after": both(Cell(Then.NEXT, "upstream_rate_limited", Bill.NOTHING, retry_after=LATER_SECONDS)),
    # A quarter of a second is waited for, and ends well, or the last attempt is the next deployment's.
    "429-lifted-soon": both(
        Cell(Then.SERVED, "upstream_rate_limited", Bill.EXACT, tries=2, tries_alone=2, pauses=SOON)
    ),
    "429-always-soon": both(
        Cell(Then.NEXT, "upstream_rate_limited", Bill.NOTHING, tries=2, tries_alone=3, pauses=SOON, retry_after=1)
    ),
    "429-bare": both(
        Cell(
            Then.NEXT, "upstream_rate_limited", Bill.NOTHING, tries_alone=3, pauses=COOLING, retry_after=COOLS_AT_LAST
        )
    ),
    "500": both(Cell(Then.NEXT, "upstream_error", Bill.NOTHING, tries_alone=3)),
    # Our own key is wrong, which no repetition mends and no client may be blamed for.
    "401": both(Cell(Then.NEXT, "upstream_unauthorized", Bill.NOTHING)),
    "broken-before-the-first-word": {"streamed": Cell(Then.NEXT, "stream_broke_off", Bill.TOLD)},
    "broken-mid-stream": {
        "whole": Cell(Then.NEXT, "stream_broke_off", Bill.RESERVED),
        "streamed": Cell(Then.BREAKS, "stream_broke_off", Bill.RECEIVED),
    },
    "error-mid-stream": {"streamed": Cell(Then.BREAKS, "stream_error", Bill.RECEIVED)},
}

# Status and `error.type` of each failure for clients of both dialects.
TOLD = {
    "upstream_connect": {"openai": (502, "server_error"), "anthropic": (500, "api_error")},
    "upstream_lost": {"openai": (502, "server_error"), "anthropic": (500, "api_error")},
    "upstream_error": {"openai": (502, "server_error"), "anthropic": (500, "api_error")},
    "upstream_garbage": {"openai": (502, "server_error"), "anthropic": (500, "api_error")},
    "upstream_unauthorized": {"openai": (502, "server_error"), "anthropic": (500, "api_error")},
    "stream_broke_off": {"openai": (502, "server_error"), "anthropic": (500, "api_error")},
    "stream_error": {"openai": (502, "server_error"), "anthropic": (500, "api_error")},
    "timeout_connect": {"openai": (504, "server_error"), "anthropic": (504, "timeout_error")},
    "timeout_first_token": {"openai": (504, "server_error"), "anthropic": (504, "timeout_error")},
    "timeout_idle": {"openai": (504, "server_error"), "anthropic": (504, "timeout_error")},
    "timeout_total": {"openai": (504, "server_error"), "anthropic": (504, "timeout_error")},
    "upstream_rate_limited": {"openai": (429, "rate_limit_error"), "anthropic": (429, "rate_limit_error")},
    "circuit_open": {"openai": (503, "server_error"), "anthropic": (529, "overloaded_error")},
}
# Where the code that OpenAI's clients are told is another one than the ledger's.
CODES_TOLD = {"upstream_rate_limited": "rate_limit_exceeded"}
