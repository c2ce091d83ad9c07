"""The dashboard as a person sees it. The tests build on each other in their order: the server is new at the beginning."""

import datetime
import os
import pathlib

import pytest

from conftest import PASSWORD, USER

PAGES = ["/?range=30d", "/welcome", "/requests", "/costs", "/costs?by=key&range=today", "/costs/reconciliation", "/cache", "/cache?pattern=*&order=newest&range=7d", "/budgets", "/budgets/new", "/providers", "/providers?route=smart&range=7d", "/keys/new", "/teams", "/people", "/people/USER", "/alerts", "/settings", "/settings?from=1&to=2", "/reports/TODAY", "/reports?kind=monthly&period=MONTH", "/reports?period=2099-01-01"]
OUTSIDE = ["/login", "/reset?token=none", "/nowhere"]


def keep(page, name):
    """Keeps a picture where one is wanted."""
    folder = os.environ.get("TOLLGATE_SCREENSHOTS")
    if folder:
        pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(pathlib.Path(folder) / f"{name}.png")


def test_the_printed_link_makes_the_first_admin_who_is_logged_in_at_once(page, tollgate):
    page.open(tollgate.setup_link)
    assert "Make the first admin" in page.text()
    keep(page, "setup-1440-light")
    page.fill("#username", USER)
    page.fill("#password", PASSWORD)
    page.submit("form .btn.pri")
    assert page.path() == "/welcome", "nobody has called yet, so the guide comes first"
    assert "Waiting for your first call" in page.text()
    assert f"{tollgate.url}/v1/chat/completions" in page.text()


def test_the_setup_link_works_once(page, tollgate):
    page.open(tollgate.setup_link)
    assert "/setup" not in page.path()


def test_the_guide_turns_green_by_itself_when_the_first_call_arrives(logged_in, tollgate):
    page = logged_in
    page.open(f"{tollgate.url}/welcome")
    page.wait_for("document.querySelector('.live').dataset.state === 'on'")
    tollgate.ask()
    page.wait_for("document.body.innerText.includes('Your first call arrived')")


def test_a_call_appears_on_the_overview_without_a_reload(logged_in, tollgate):
    page = logged_in
    page.open(f"{tollgate.url}/?range=24h")
    page.evaluate("window.isTheSamePage = true")
    page.wait_for("document.querySelector('.live').dataset.state === 'on'")
    before = page.evaluate("document.querySelector('#kpi-requests').innerText")
    # The list waits while the pointer or the keyboard is in it.
    page.evaluate("document.activeElement.blur()")
    call = tollgate.ask("sandbox-large", "Something dearer")
    page.wait_for(f"document.querySelector('#request-rows a[href=\"/requests/{call}\"]') !== null")
    assert "sandbox-large" in page.evaluate("document.querySelector('#request-rows tr').innerText")
    page.wait_for(f"document.querySelector('#kpi-requests').innerText !== {before!r}")
    assert page.evaluate("window.isTheSamePage") is True
    assert page.evaluate("document.querySelectorAll('#kpi-requests').length") == 1


def test_a_call_leads_to_what_each_line_cost(logged_in, tollgate):
    page = logged_in
    call = tollgate.ask(text="What does each line cost?")
    page.open(f"{tollgate.url}/requests/{call}")
    assert call in page.text()
    assert "per 1M" in page.text() and "Total" in page.text()
    keep(page, "request-1440-light")


def test_the_theme_changes_at_once_and_stays(logged_in, tollgate):
    page = logged_in
    page.open(f"{tollgate.url}/costs")
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    page.click("[data-theme-form] button")
    page.wait_for("document.documentElement.dataset.theme === 'dark'")
    assert page.evaluate(background) != light
    # The choice is sent beside the page; the next page has it from the server.
    page.wait_for("fetch('/costs').then((a) => a.text()).then((t) => t.includes('data-theme=\"dark\"'))")
    page.open(f"{tollgate.url}/requests")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.click("[data-theme-form] button")
    page.wait_for("fetch('/costs').then((a) => a.text()).then((t) => t.includes('data-theme=\"light\"'))")
    # The pages after this one follow the system again, so that pictures of both are what they are called.
    page.call("Network.deleteCookies", name="tollgate-theme", url=tollgate.url)


def test_a_secret_is_shown_once(logged_in, tollgate):
    page = logged_in
    page.open(f"{tollgate.url}/budgets")
    page.click("[data-dialog=new-key]")
    page.fill("#key-name", "browser")
    page.fill("#key-limit", "0")
    page.click("#key-form .btn.pri")
    page.wait_for("document.querySelector('#secret') !== null")
    secret = page.evaluate("document.querySelector('#secret').textContent")
    assert secret.startswith("tg-")
    keep(page, "key-created-1440-light")
    page.open(f"{tollgate.url}/budgets")
    assert "browser" in page.text()
    assert secret not in page.evaluate("document.documentElement.outerHTML")


def test_a_team_is_made_and_a_key_joins_it_and_gets_a_new_secret(logged_in, tollgate):
    page = logged_in
    page.open(f"{tollgate.url}/teams")
    page.fill("#team-name", "browsers")
    page.submit("#new-team .btn.pri")
    assert page.path() == "/teams/browsers" and "Nobody is in this team yet" in page.text()
    page.open(f"{tollgate.url}/budgets")
    page.submit("#key-list a.rowlink[title=browser]")
    page.fill("#edit-team", "browsers")
    page.fill("#edit-owner", "Ada")
    page.click("[name=endpoint_chat]")
    keep(page, "key-1440-light")
    page.submit("#key-edit .btn.pri")
    text = page.text()
    assert "browsers" in text and "Ada" in text and "May call" in text
    page.submit("#key-rotate .btn")
    secret = page.evaluate("document.querySelector('#secret').textContent")
    assert secret.startswith("tg-") and "The old secret works for 1 d more." in page.text()
    page.open(f"{tollgate.url}/teams/browsers")
    assert "browser" in page.text() and secret not in page.evaluate("document.documentElement.outerHTML")


def test_someone_comes_in_by_a_link_and_sees_their_team_alone(logged_in, tollgate):
    page = logged_in
    page.open(f"{tollgate.url}/people")
    page.fill("#person-name", "mia")
    page.evaluate("document.querySelector('#person-team').value = 'browsers'")
    page.submit("#new-person .btn.pri")
    link = page.evaluate("document.querySelector('#link').textContent")
    keep(page, "invited-1440-light")
    page.open(f"{tollgate.url}/people")
    assert "Invited" in page.text() and link not in page.evaluate("document.documentElement.outerHTML")
    page.submit("details.account form button")
    page.open(link)
    assert "Welcome to Tollgate" in page.text()
    page.fill("#password", PASSWORD)
    page.submit("form .btn.pri")
    page.fill("#username", "mia")
    page.fill("#password", PASSWORD)
    page.submit("form .btn.pri")
    assert page.path() == "/teams/browsers"
    entries = page.evaluate("[...document.querySelectorAll('#nav nav a')].map((a) => a.getAttribute('href')).join(' ')")
    assert entries == "/requests /costs /teams"
    for width, scheme in ((390, "light"), (1440, "dark"), (1440, "light")):
        page.size(width, scheme=scheme)
        for path in ("/teams", "/keys/new", "/requests", "/costs"):
            page.open(f"{tollgate.url}{path}")
            assert not page.is_too_wide(), f"{path} at {width}"
            keep(page, f"member-{path.strip('/').replace('/', '-')}-{width}-{scheme}")
    page.submit("details.account form button")


def test_a_wrong_form_says_what_is_wrong_and_puts_the_cursor_there(logged_in, tollgate):
    page = logged_in
    page.open(f"{tollgate.url}/budgets")
    page.click("[data-dialog=new-budget]")
    page.fill("#budget-limit", "a lot")
    page.click("#budget-form .btn.pri")
    page.wait_for("document.querySelector('#budget-limit-error') !== null")
    page.wait_for("document.activeElement.id === 'budget-limit'")
    # The browser's own note of a 422 is no fault of the page.
    assert all("422" in fault for fault in page.faults), page.faults
    page.faults.clear()
    page.fill("#budget-limit", "25")
    before = page.loaded
    page.click("#budget-form .btn.pri")
    page.wait_for_load(before)
    assert "All of Tollgate" in page.text()


def test_a_log_is_narrowed_without_a_reload_and_the_address_can_be_kept(logged_in, tollgate):
    page = logged_in
    tollgate.ask("sandbox-free")
    page.open(f"{tollgate.url}/requests?range=24h")
    page.evaluate("window.isTheSamePage = true")
    page.evaluate("(q => { q.value = 'sandbox-free'; q.dispatchEvent(new Event('input', {bubbles: true})); })(document.querySelector('#q'))")
    page.wait_for("location.search.includes('q=sandbox-free')")
    page.wait_for("[...document.querySelectorAll('#request-list td.main')].every((cell) => cell.innerText.includes('sandbox-free'))")
    assert page.evaluate("window.isTheSamePage") is True


def test_a_pattern_shows_what_it_fits_before_anything_goes(logged_in, tollgate):
    page = logged_in
    tollgate.ask("sandbox-small", "Keep this answer")
    page.open(f"{tollgate.url}/cache")
    assert "Hit rate" in page.text() and "Who gets a kept answer" in page.text()
    page.fill("#pattern", "modle:x")
    page.submit("#invalidate form .btn")
    assert "There is no field" in page.text()
    assert all("422" in fault for fault in page.faults), page.faults
    page.faults.clear()
    page.fill("#pattern", "text:*keep*")
    page.submit("#invalidate form .btn")
    assert "pattern=text" in page.path() and "Fits " in page.text()
    if page.evaluate("document.querySelector('#invalidate .danger') !== null"):
        page.submit("#invalidate .danger")
        assert "1 entry is gone" in page.text()


def test_a_test_of_a_receiver_shows_what_came_of_it(logged_in, tollgate):
    page = logged_in
    page.open(f"{tollgate.url}/alerts")
    assert "Nothing was told yet" in page.text() and "Not tried yet" in page.text()
    keep(page, "alerts-empty-1440-light")
    before = page.loaded
    page.click("#receivers tbody form .btn")
    page.wait_for_load(before)
    assert page.path() == "/alerts"
    text = page.text()
    assert "Failing" in text and "it answered 404" in text and "1 alert" in text
    assert "canary" not in page.evaluate("document.documentElement.outerHTML")


def test_settings_are_read_again_compared_and_refused(logged_in, tollgate):
    page = logged_in
    page.open(f"{tollgate.url}/settings")
    assert "Revision 1" in page.text()
    good = tollgate.config.read_text(encoding="utf-8")
    try:
        # Not seen by the watch in time or seen already: the button says what is in force either way.
        tollgate.config.write_text(good + '[cache]\nttl = "5m"\n', encoding="utf-8")
        page.submit("#in-force .btn.pri")
        assert "Revision 2" in page.text() and page.path().startswith("/settings?reloaded=")
        page.submit("#revisions tbody tr a")
        assert page.evaluate("document.querySelector('.diff .del').innerText").strip().endswith('ttl = "1h"')
        assert page.evaluate("document.querySelector('.diff .add').innerText").strip().endswith('ttl = "5m"')
        keep(page, "settings-compared-1440-light")
        tollgate.config.write_text(good + "color = 1\n", encoding="utf-8")
        page.open(f"{tollgate.url}/settings")
        page.submit("#in-force .btn.pri")
        refused = page.evaluate("document.querySelector('#refused').innerText")
        assert "unknown key" in refused and "tollgate.toml:" in refused
        keep(page, "settings-refused-1440-light")
        page.open(f"{tollgate.url}/")
        assert "The settings on the disk are not in force." in page.text()
    finally:
        tollgate.config.write_text(good, encoding="utf-8")
    page.open(f"{tollgate.url}/settings")
    page.submit("#in-force .btn.pri")
    assert "not in force" not in page.text()


def test_a_report_is_chosen_and_leads_to_its_calls(logged_in, tollgate):
    page = logged_in
    call = tollgate.ask("sandbox-large", "Tell me more")
    page.open(f"{tollgate.url}/reports")
    assert "Nothing was spent" in page.text(), "yesterday there was no server"
    page.submit("#report-list li:first-child a")
    assert page.path().startswith("/reports/") and "It is not over yet" in page.text()
    assert page.evaluate("document.querySelector('#report-list a[aria-current=page]').innerText").endswith("so far")
    assert page.evaluate(f"document.querySelector('#report a[href=\"/requests/{call}\"]') !== null")
    assert page.evaluate("fetch(document.querySelector('#report a[download]').href).then((answer) => answer.text())").startswith("# Tollgate, ")
    page.submit("#report-list .seg a:nth-child(2)")
    assert "kind=monthly" in page.path()
    page.fill("#report-list [name=period]", f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m}")
    page.submit("#report-list footer .btn")
    assert "sandbox-large" in page.evaluate("document.querySelector('#report').innerText")


def test_the_reconciliation_teaches_how_to_bring_numbers_in(logged_in, tollgate):
    page = logged_in
    page.open(f"{tollgate.url}/costs")
    page.submit("a[href='/costs/reconciliation']")
    assert page.path() == "/costs/reconciliation"
    assert "No provider has stated anything" in page.text() and "tollgate reconcile --csv" in page.text()
    assert "Fetch now" not in page.text(), "nobody has an admin key"
    day = datetime.datetime.now(datetime.timezone.utc).date() - datetime.timedelta(days=2)
    tollgate.reconcile(f"usage_date_utc,model,cost_usd\n{day},Claude Haiku 4.5,0.05\n")
    page.open(f"{tollgate.url}/costs/reconciliation")
    text = page.text()
    assert "Drifts" in text and "−100.0%" in text and "Claude Haiku 4.5" in text
    page.submit("#days tbody tr a")
    assert "day=" in page.path() and "sandbox on" in page.text()
    page.open(f"{tollgate.url}/alerts")
    assert "Costs drift" in page.text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390, 320])
def test_no_page_scrolls_sideways(logged_in, tollgate, width, scheme):
    page = logged_in
    call = tollgate.ask()
    page.open(f"{tollgate.url}/budgets")
    key = page.evaluate("document.querySelector('#key-list a.rowlink').getAttribute('href')")
    page.size(width, scheme=scheme)
    today = datetime.datetime.now(datetime.timezone.utc)
    for path in [*PAGES, f"/requests/{call}", key, "/teams/browsers"]:
        path = path.replace("USER", USER)
        path = path.replace("TODAY", f"{today:%Y-%m-%d}").replace("MONTH", f"{today:%Y-%m}")
        page.open(f"{tollgate.url}{path}")
        assert not page.is_too_wide(), f"{path} at {width}"
        if width != 320:
            keep(page, f"{path.split('?')[0].strip('/').replace('/', '-') or 'overview'}-{width}-{scheme}")


def test_a_provider_that_fails_is_seen_without_a_reload_and_leads_to_its_call(logged_in, tollgate):
    page = logged_in
    page.size(1440)
    page.open(f"{tollgate.url}/providers")
    page.evaluate("window.isTheSamePage = true")
    page.wait_for("document.querySelector('.live').dataset.state === 'on'")
    assert page.evaluate("document.querySelector('#provider-1-health').innerText") == "Not known"
    for _ in range(5):
        tollgate.try_to_ask({"x-tollgate-cache": "refresh"}, "dead/qwen3")
    page.wait_for("document.querySelector('#provider-1-health').innerText !== 'Not known'")
    page.wait_for("document.querySelector('#circuits').innerText.includes('dead/qwen3')")
    assert page.evaluate("window.isTheSamePage") is True
    page.open(f"{tollgate.url}/providers?range=1h")
    assert page.evaluate("document.querySelector('.seg [aria-current]').innerText") == "1 h"
    keep(page, "providers-failing-1440-light")
    page.submit("#provider-list tbody tr:nth-child(2) td .sub a")
    assert page.path().startswith("/requests/req_")


def test_a_call_is_explained_without_being_made(logged_in, tollgate):
    page = logged_in
    page.open(f"{tollgate.url}/providers")
    page.fill("#why-body", '{"messages": [{"role": "user", "content": "Hello"}]')
    page.submit("#why-form .pri")
    assert "This is no request" in page.text()
    assert all("422" in fault for fault in page.faults), page.faults
    page.faults.clear()
    page.fill("#why-body", '{"messages": [{"role": "user", "content": "Hello"}], "tools": []}')
    page.submit("#why-form .pri")
    told = page.evaluate("document.querySelector('#explanation').innerText")
    assert "It would go to sandbox/sandbox-small: expected to cost least" in told and "then dead/qwen3" in told
    keep(page, "providers-explained-1440-light")


def choose(page, selector, label):
    """Chooses an option of a select by what it says."""
    page.evaluate(
        f"(() => {{ const select = document.querySelector({selector!r});"
        f" select.value = [...select.options].find((option) => option.text === {label!r}).value; }})()"
    )


@pytest.fixture(scope="module")
def only_small(tollgate):
    """The name of a key that may use one model alone."""
    tollgate.create_key("only-small", "--allow-model", "sandbox-small")
    return "only-small"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_an_explanation_minds_the_key_the_session_and_the_kind_of_answer(logged_in, tollgate, only_small, width, scheme):
    page = logged_in
    page.size(width, scheme=scheme)
    page.open(f"{tollgate.url}/providers")
    choose(page, "#why-route", "patient")
    choose(page, "#why-stream", "a stream")
    page.fill("#why-session", "ticket-4711")
    page.submit("#why-form .pri")
    told = page.evaluate("document.querySelector('#explanation').innerText")
    assert "It would go to sandbox/sandbox-large" in told and "0 streams were measured lately" in told
    chosen = "[...document.querySelectorAll('#why-form select')].map((select) => select.selectedOptions[0].text)"
    assert page.evaluate(chosen)[4:] == ["one that may use everything", "a stream"]
    assert page.evaluate("document.querySelector('#why-session').value") == "ticket-4711"
    choose(page, "#why-key", only_small)
    page.submit("#why-form .pri")
    told = page.evaluate("document.querySelector('#explanation').innerText")
    assert "It would go to sandbox/sandbox-small" in told and "the key may not use it" in told
    assert not page.is_too_wide()
    page.evaluate("document.querySelector('#why').scrollIntoView()")
    keep(page, f"providers-explained-for-a-key-{width}-{scheme}")


@pytest.mark.parametrize("width", [1440, 1366, 1280, 900])
def test_no_table_beside_other_cards_is_cut_off(logged_in, tollgate, width):
    page = logged_in
    page.size(width)
    # A badge as wide as they come.
    tollgate.ask("sandbox-large", "A call that is refused by nobody")
    refused = {"x-tollgate-cache": "refresh", "x-tollgate-sandbox": "error=400"}
    tollgate.try_to_ask(refused)
    for path in ("/", "/cache"):
        page.open(f"{tollgate.url}{path}")
        cut = "[...document.querySelectorAll('.c8 section:not([id$=chart]) .tbl')].filter(t => t.scrollWidth > t.clientWidth).length"
        assert page.evaluate("document.querySelectorAll('.c8 .tbl tbody tr').length") > 0
        assert page.evaluate(cut) == 0, f"{path} at {width}"


def test_the_menu_of_a_phone_opens_and_closes(logged_in, tollgate):
    page = logged_in
    page.size(390)
    page.open(f"{tollgate.url}/costs")
    page.click("[data-menu]")
    page.wait_for("document.querySelector('#nav').classList.contains('open')")
    page.evaluate("document.dispatchEvent(new KeyboardEvent('keydown', {key: 'Escape', bubbles: true}))")
    page.wait_for("!document.querySelector('#nav').classList.contains('open')")


def test_whoever_logs_out_is_out(logged_in, tollgate):
    page = logged_in
    page.open(f"{tollgate.url}/costs")
    page.submit("details.account form button")
    assert page.path().startswith("/login") and "You are signed out." in page.text()
    keep(page, "login-1440-light")
    page.open(f"{tollgate.url}/costs?by=team")
    assert page.path() == "/login?next=%2Fcosts%3Fby%3Dteam"


def test_a_wrong_password_says_how_many_tries_are_left(page, tollgate):
    page.open(f"{tollgate.url}/login")
    page.fill("#username", USER)
    page.fill("#password", "not the password")
    page.submit("form .btn.pri")
    assert "do not match" in page.text() and "tries are left" in page.text()
    assert page.evaluate("document.activeElement.id") == "password"
    assert all("401" in fault for fault in page.faults), page.faults
    page.faults.clear()


def test_pages_outside_fit_a_phone(page, tollgate):
    page.size(390)
    for path in OUTSIDE:
        page.open(f"{tollgate.url}{path}")
        assert not page.is_too_wide(), path
    assert all("403" in fault or "404" in fault for fault in page.faults), page.faults
    page.faults.clear()
