"""The servers of the fault matrix: a strategy in a dialect each, between a provider that fails and one that is well."""

import json
from dataclasses import dataclass

from books import owed, picodollars, window
from conftest import Upstream, get_json, wait_for
from fault_cells import ATTEMPTS_MAX, CELLS, CONNECT, FIRST_TOKEN, IDLE, SHAPES, TOTAL
from faulty import BlackHole, Faulty, Refusing
from load import Call, Server, provider

# What the second deployment says.
SECOND_WORDS = "one two three four five six"
# By the dialect of a provider: the model of the first deployment, which is the cheaper one, and that of the second.
FIRST_MODEL = {"openai": "gpt-4o-mini", "anthropic": "claude-haiku-4-5"}
SECOND_MODEL = {"openai": "gpt-5-mini", "anthropic": "claude-sonnet-5"}


@dataclass(frozen=True)
class Strategy:
    """How the faulty deployment comes to be the first."""

    # Why the entry says that it was.
    reason: str
    has_next: bool = True
    # Whether the route lists it first: a strategy that compares must find it behind the other one.
    is_listed_first: bool = True
    # Whether it looks with a few calls how others do: each cell has providers of its own then, for what other calls show would count,
    # and several copies of them, for a call that looked elsewhere.
    explores: bool = False
    settings: str = ""


STRATEGIES = {
    "primary": Strategy("first", has_next=False),
    "fallback": Strategy("first-healthy"),
    # The second one is a last resort.
    "weighted": Strategy("drawn", settings="weights = [1, 0]\n"),
    "cost-optimized": Strategy("cheapest", is_listed_first=False),
    # Nothing is known of either, so the route's order stands.
    "performance": Strategy("unmeasured", explores=True),
    # These work as `fallback` as yet.
    "learned": Strategy("first-healthy"),
    "experiment": Strategy("first-healthy"),
}


@dataclass(frozen=True)
class Group:
    """Cells that share a server."""

    strategy: str
    # The client's dialect, and those of the two providers.
    client: str = "openai"
    first: str = "openai"
    second: str = "openai"
    # The strategy of the routes, where calls ask for another one by header.
    route_strategy: str | None = None


# Each strategy by the route's settings, for chat.
PLAIN = {name: Group(name) for name in STRATEGIES}
DIALECTS = {
    "primary-messages": Group("primary", "anthropic", "anthropic", "anthropic"),
    "fallback-messages": Group("fallback", "anthropic", "anthropic", "anthropic"),
    # The faulty one is translated, and so is what becomes of its faults.
    "fallback-chat-from-messages": Group("fallback", "openai", "anthropic", "openai"),
    "fallback-messages-from-chat": Group("fallback", "anthropic", "openai", "anthropic"),
}
# By header, against the settings of the route.
ASKED_FOR = {
    "primary-by-header": Group("primary", route_strategy="fallback"),
    "fallback-by-header": Group("fallback", route_strategy="primary"),
    "cost-optimized-by-header": Group("cost-optimized", route_strategy="fallback"),
    "performance-by-header": Group("performance", route_strategy="cost-optimized"),
}
FEW = ("connect-refused", "500", "garbage", "broken-mid-stream")
GROUPS = PLAIN | DIALECTS | ASKED_FOR

# A tenth of the calls looks elsewhere, so a cell in ten million would run out of these.
COPIES_OF_WHO_EXPLORES = 7

EVERYTHING = {"scope": {"kind": "everything", "id": None}, "window": "total", "limitUsd": "100", "action": "block"}


class OwnUpstream(Upstream):
    """The second provider, whose account nobody else writes."""

    def __init__(self, folder):
        self.account_file = folder / "upstream.jsonl"
        super().__init__(folder)

    def entries(self):
        return get_json(f"{self.url}/__account")


def limits(total=TOTAL):
    """The time limits of a faulty provider."""
    given = {"connect": CONNECT, "first_token": FIRST_TOKEN, "idle": IDLE, "total": total}
    shown = ", ".join(f'{name} = "{round(seconds * 1000)}ms"' for name, seconds in given.items())
    return f"timeouts = {{ {shown} }}"


def route(name, strategy, deployments, settings=""):
    lines = ["[[routes]]", f'name = "{name}"', f'strategy = "{strategy}"', f"deployments = {json.dumps(deployments)}"]
    return "\n".join([*lines, f"attempts_max = {ATTEMPTS_MAX}", settings]) + "\n"


def base_url(kind, root):
    return f"{root}/v1" if kind == "openai" else root


class Providers:
    """The faulty one, the addresses behind which there is none, and the one that is well."""

    def __init__(self, folder):
        self.faulty = Faulty()
        self.addresses = {"connect-refused": Refusing(), "black-hole": BlackHole()}
        self.well = OwnUpstream(folder)

    def root(self, fault):
        address = self.addresses.get(fault)
        return address.url if address else self.faulty.url(fault)

    def settings(self, name, fault, kind, extra=""):
        return provider(name, kind, base_url(kind, self.root(fault)), kind, extra=extra)

    def close(self):
        self.well.stop()
        self.faulty.close()
        for address in self.addresses.values():
            address.close()


class Running:
    """A group's server between its providers."""

    def __init__(self, group, folder):
        self.group = group
        self.strategy = STRATEGIES[group.strategy]
        self.providers = Providers(folder)
        try:
            self.server = Server(folder, self._settings())
            self.server.start()
            self.budget = self.server.admin("/api/budgets", "POST", EVERYTHING)
        except BaseException:
            self.close()
            raise

    def _settings(self):
        group, parts = self.group, [self.settings_of_the_second("well")]
        cells = [
            (fault, name, cell.total)
            for fault, shapes in CELLS.items()
            for shape, cell in shapes.items()
            for name in self.copies(fault, shape)
        ]
        cells += [(fault, f"{fault}-{shape}", TOTAL) for fault in ("storm", "told") for shape in SHAPES]
        for fault, name, total in cells:
            behaviour = "500" if fault == "storm" else fault
            parts.append(self.providers.settings(name, behaviour, group.first, limits(total)))
            second = self.second(name)
            if not second.startswith("well/"):
                parts.append(self.settings_of_the_second(second.split("/")[0]))
            deployments = [self.first(name), second]
            if not self.strategy.is_listed_first:
                deployments.reverse()
            strategy = group.route_strategy or group.strategy
            parts.append(route(f"to-{name}", strategy, deployments, STRATEGIES[strategy].settings))
        return "".join(parts)

    def settings_of_the_second(self, name):
        kind = self.group.second
        return provider(name, kind, base_url(kind, self.providers.well.url), kind)

    def copies(self, fault, shape):
        """The names of a cell's first provider and of all that stands in for it."""
        name = f"{fault}-{shape}"
        copies = COPIES_OF_WHO_EXPLORES if self.strategy.explores else 1
        return [name, *(f"{name}-{number}" for number in range(2, copies + 1))]

    def first(self, name):
        return f"{name}/{FIRST_MODEL[self.group.first]}"

    def second(self, name):
        own = self.strategy.explores or name.startswith("told-")
        return f"{f'well-for-{name}' if own else 'well'}/{SECOND_MODEL[self.group.second]}"

    def key(self, name):
        """A virtual key with a budget that blocks."""
        asked = {"name": name, "budgets": [{"window": "total", "limitUsd": "1", "action": "block"}]}
        return self.server.admin("/api/keys", "POST", asked)["key"]

    def call(self, marker, shape, model, text=""):
        group = self.group
        headers = {"x-tollgate-strategy": group.strategy} if group.route_strategy else {}
        words = f"{text} usage:in=100,out=10 echo:{SECOND_WORDS}".strip()
        return Call(marker, group.client, shape == "streamed", words, model=model, headers=headers)

    def check_sums(self):
        """What is booked, unknown and held is the same in rows, report and budget, covers both accounts, and is proved."""
        rows = self.server.settled()
        self.server.check_totals(rows)
        report = self.server.admin(f"/api/costs?{window()}")
        standing = self._budget(self.budget["id"])
        assert standing["spentUsd"] == report["totalUsd"] and standing["unknownUsd"] == report["unknownUsd"], standing
        assert picodollars(standing["heldUsd"]) == 0, standing
        charged = sum(visit.cost() for visit in self.providers.faulty.visits) + owed(self.providers.well.entries())
        assert charged <= picodollars(report["totalUsd"]), (charged, report)
        self.server.stop()
        self.server.verify()

    def _budget(self, identity):
        (found,) = [item for item in self.server.admin("/api/budgets")["items"] if item["id"] == identity]
        return found

    def key_budget(self, entry):
        """How the one budget of an entry's key stands."""
        scope = {"kind": "key", "id": entry["keyId"]}
        (found,) = [item for item in self.server.admin("/api/budgets")["items"] if item["scope"] == scope]
        return found

    def entry(self, reading):
        """The call's entry, once it has ended."""
        path = f"/api/requests/{reading.request_id}"

        def look():
            # A call that was refused unasked is written down after it was told so.
            entry = self.server.admin(path) if self.server.status(path) == 200 else {"status": "pending"}
            return entry if entry["status"] != "pending" else None

        return wait_for(look, "the call being booked", 10, self.server.process)

    def close(self):
        server = getattr(self, "server", None)
        if server:
            server.kill()
        self.providers.close()
