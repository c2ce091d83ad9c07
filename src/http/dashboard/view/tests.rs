//! Every page, rendered from made-up values and looked at as a browser and an attacker would.

use askama::Template;

use super::fixtures::{self, HOSTILE, Kind};
use super::*;

/// Every page and fragment of one kind of day, by file name.
fn rendered(kind: Kind) -> Vec<(String, String)> {
    let mut files = Vec::new();
    let mut add = |name: &str, page: &dyn Page| files.push((format!("{name}-{}", kind.word()), page.html()));
    add("overview", &fixtures::overview(kind));
    add("costs", &fixtures::costs(kind));
    add("reports", &fixtures::reports(kind));
    add("reconciliation", &fixtures::reconciliation(kind));
    add("cache", &fixtures::cache(kind));
    add("requests", &fixtures::requests(kind));
    add("request", &fixtures::request(kind));
    add("budgets", &fixtures::budgets(kind));
    add("key", &fixtures::key_page(kind));
    add("providers", &fixtures::providers_page(kind));
    add("teams", &fixtures::teams(kind));
    add("team", &fixtures::team(kind));
    add("people", &fixtures::people(kind));
    add("person", &fixtures::person(kind));
    add("invited", &fixtures::invited(kind));
    add("alerts", &fixtures::alerts(kind));
    add("settings", &fixtures::settings(kind));
    add("welcome", &fixtures::welcome(kind));
    add("login", &fixtures::login(kind));
    add("setup", &fixtures::setup(kind));
    add("reset", &fixtures::reset(kind));
    add(
        "key-form",
        &KeyFormPage {
            layout: fixtures::layout(kind, "Create a key", Entry::Budgets),
            form: fixtures::key_form(kind == Kind::Failed),
        },
    );
    add(
        "key-created",
        &KeyCreatedPage {
            layout: fixtures::layout(kind, "Key created", Entry::Budgets),
            created: fixtures::key_created(kind),
        },
    );
    add(
        "budget-form",
        &BudgetFormPage {
            layout: fixtures::layout(kind, "Set a budget", Entry::Budgets),
            heading: "Set a budget".to_owned(),
            form: fixtures::budget_form(kind == Kind::Failed, kind == Kind::Hostile),
            delete_href: Some("/budgets/budget_1/delete".to_owned()),
        },
    );
    add(
        "error",
        &match kind {
            Kind::Usual => ErrorPage::not_found(Bare::default()),
            Kind::Empty => ErrorPage::forbidden(Bare::default()),
            Kind::Failed => ErrorPage::failed(Bare::default(), None),
            Kind::Hostile => ErrorPage::failed(Bare::default(), Some(HOSTILE.to_owned())),
        },
    );
    files
}

/// Fragments that are swapped into a page, of one kind of day.
fn fragments(kind: Kind) -> Vec<(String, String)> {
    let mut files = Vec::new();
    let mut add = |name: &str, page: &dyn Page| files.push((format!("{name}-{}", kind.word()), page.html()));
    add("live-update", &fixtures::live_update(kind));
    add("providers-update", &fixtures::providers_now(kind));
    add("key-created", &KeyCreated { list: Some(fixtures::key_list(kind)), ..fixtures::key_created(kind) });
    add("key-form", &fixtures::key_form(kind == Kind::Failed));
    if let Ok(rows) = fixtures::overview(kind).requests {
        add("request-row", &RequestRow { is_fresh: true, ..rows[0].clone() });
    }
    files
}

/// Any page or fragment, as an object.
trait Page {
    fn html(&self) -> String;
}

impl<T: Template> Page for T {
    fn html(&self) -> String {
        self.render().unwrap()
    }
}

fn everything() -> Vec<(String, String)> {
    Kind::ALL.into_iter().flat_map(|kind| [rendered(kind), fragments(kind)].concat()).collect()
}

/// The tags of a document, without texts: `<tag attributes>`.
fn tags(html: &str) -> Vec<&str> {
    html.split('<')
        .skip(1)
        .map(|rest| {
            // Attribute values may hold a `>`: the tag ends at the first one outside of quotes.
            let mut quote = None;
            let end = rest.char_indices().find(|&(_, character)| match quote {
                None if character == '>' => true,
                None if character == '"' || character == '\'' => {
                    quote = Some(character);
                    false
                }
                Some(open) if open == character => {
                    quote = None;
                    false
                }
                _ => false,
            });
            &rest[..end.map_or(rest.len(), |(at, _)| at)]
        })
        .collect()
}

fn name_of(tag: &str) -> &str {
    tag.split(|character: char| character.is_whitespace() || character == '>').next().unwrap_or("")
}

/// The value of an attribute of a tag.
fn attribute<'a>(tag: &'a str, name: &str) -> Option<&'a str> {
    let start = tag.find(&format!(" {name}=\""))? + name.len() + 3;
    tag[start..].split('"').next()
}

/// Writes every page to a folder, so that a browser can look at them: `TOLLGATE_RENDER_DIR=out cargo nextest run renders`.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test may be told where to write")]
fn every_page_renders_and_can_be_looked_at() {
    let files: Vec<(String, String)> = Kind::ALL.into_iter().flat_map(rendered).collect();
    assert_eq!(files.len(), 100);
    let Ok(folder) = std::env::var("TOLLGATE_RENDER_DIR") else { return };
    for (name, html) in files {
        std::fs::write(format!("{folder}/{name}.html"), html).unwrap();
    }
}

#[test]
fn hostile_names_stay_text_everywhere() {
    for (name, html) in everything() {
        for tag in tags(&html) {
            assert!(!matches!(name_of(tag), "img" | "iframe" | "object"), "{name}: <{tag}>");
            let has_script_text = name_of(tag) == "script" && attribute(tag, "src").is_none();
            assert!(!has_script_text, "{name}: <{tag}>");
        }
        assert!(!html.contains("onerror=alert(1)>"), "{name}");
        assert!(!html.contains("<script>"), "{name}");
    }
    // The names are there, as text.
    for (name, html) in rendered(Kind::Hostile) {
        if !matches!(name.as_str(), "setup-hostile" | "error-hostile" | "login-hostile") {
            assert!(html.contains("&#60;img src=x onerror=alert(1)&#62;"), "{name}");
        }
    }
}

#[test]
fn nothing_needs_what_the_content_security_policy_forbids() {
    for (name, html) in everything() {
        for tag in tags(&html) {
            for (at, _) in tag.match_indices(" on") {
                let rest = &tag[at + 1..];
                let word = rest.split(|character: char| !character.is_ascii_alphabetic()).next().unwrap_or("");
                assert!(!rest[word.len()..].starts_with("=\"") || word == "on", "{name}: inline handler in <{tag}>");
            }
            for forbidden in [" style=\"", " hx-on", " hx-vals=", "javascript:", "http-equiv"] {
                assert!(!tag.contains(forbidden), "{name}: {forbidden} in <{tag}>");
            }
            assert!(name_of(tag) != "style", "{name}: <{tag}>");
        }
    }
}

#[test]
fn every_page_has_one_heading_a_title_and_landmarks() {
    for kind in Kind::ALL {
        for (name, html) in rendered(kind) {
            let count = |tag: &str| tags(&html).into_iter().filter(|found| name_of(found) == tag).count();
            assert_eq!((count("h1"), count("main"), count("html")), (1, 1, 1), "{name}");
            assert!(html.contains("<html lang=\"en\""), "{name}");
            assert!(html.contains(" · Tollgate</title>"), "{name}");
        }
    }
}

#[test]
fn every_input_has_a_label_and_every_label_its_input() {
    for (name, html) in everything() {
        let all = tags(&html);
        let labels: Vec<&str> =
            all.iter().filter(|tag| name_of(tag) == "label").filter_map(|tag| attribute(tag, "for")).collect();
        let ids: Vec<&str> = all.iter().filter_map(|tag| attribute(tag, "id")).collect();
        for label in &labels {
            assert!(ids.contains(label), "{name}: label for {label:?} labels nothing");
        }
        for tag in &all {
            if !matches!(name_of(tag), "input" | "select" | "textarea") {
                continue;
            }
            // Radios stand inside of their labels.
            if let Some("hidden" | "radio" | "checkbox") = attribute(tag, "type") {
                continue;
            }
            let is_labelled =
                attribute(tag, "aria-label").is_some() || attribute(tag, "id").is_some_and(|id| labels.contains(&id));
            assert!(is_labelled, "{name}: <{tag}>");
        }
    }
}

#[test]
fn ids_are_unique_and_everything_pointed_at_is_there() {
    for kind in Kind::ALL {
        for (name, html) in rendered(kind) {
            let all = tags(&html);
            let mut ids: Vec<&str> = all.iter().filter_map(|tag| attribute(tag, "id")).collect();
            ids.sort_unstable();
            let count = ids.len();
            ids.dedup();
            assert_eq!(ids.len(), count, "{name} has an id twice");
            for tag in &all {
                for pointer in ["aria-describedby", "aria-labelledby", "data-copy", "data-dialog"] {
                    if let Some(id) = attribute(tag, pointer) {
                        assert!(ids.contains(&id), "{name}: nothing has the id of <{tag}>");
                    }
                }
                if let Some(id) = attribute(tag, "href").and_then(|href| href.strip_prefix('#')) {
                    assert!(ids.contains(&id), "{name}: nothing has the id of <{tag}>");
                }
            }
        }
    }
}

#[test]
fn every_form_that_changes_something_posts_with_a_token() {
    for (name, html) in everything() {
        for form in html.split("<form").skip(1).map(|rest| rest.split("</form>").next().unwrap_or("")) {
            if form.contains("method=\"post\"") {
                assert!(form.contains("name=\"csrf_token\" value=\"0123456789abcdef\""), "{name}: {form}");
                assert!(form.contains("action=\"/"), "{name}: {form}");
                assert!(form.contains("<button"), "{name}: {form}");
            } else {
                assert!(form.contains("role=\"search\""), "{name}: {form}");
            }
        }
    }
}

#[test]
fn wrong_fields_are_marked_and_tied_to_their_reason() {
    for page in [
        "key-form-failed",
        "budget-form-failed",
        "login-failed",
        "setup-failed",
        "reset-failed",
        "key-failed",
        "teams-failed",
        "team-failed",
        "people-failed",
        "person-failed",
        "cache-failed",
    ] {
        let files = rendered(Kind::Failed);
        let html = &files.iter().find(|(name, _)| name == page).unwrap().1;
        let wrong: Vec<&str> = tags(html).into_iter().filter(|tag| tag.contains("aria-invalid=\"true\"")).collect();
        assert!(!wrong.is_empty(), "{page}");
        for tag in wrong {
            assert!(attribute(tag, "aria-describedby").is_some(), "{page}: <{tag}>");
        }
    }
}

#[test]
fn a_secret_is_on_the_page_that_shows_it_once_and_on_no_other() {
    for (name, html) in everything() {
        let expected = name.starts_with("key-created");
        assert_eq!(html.contains("tg-EXAMPLE-not-a-real-secret"), expected, "{name}");
    }
}

#[test]
fn numbers_that_are_none_are_never_printed() {
    for (name, html) in everything() {
        for wrong in ["NaN", "inf%", "-0%"] {
            assert!(!html.contains(wrong), "{name}: {wrong}");
        }
        for tag in tags(&html) {
            for attribute_name in ["height", "width", "y", "r"] {
                let is_negative = attribute(tag, attribute_name).is_some_and(|value| value.starts_with('-'));
                assert!(!is_negative, "{name}: <{tag}>");
            }
        }
    }
}

#[test]
fn the_rows_of_the_cost_table_sum_to_its_total() {
    let table = fixtures::costs(Kind::Usual).table.unwrap();
    let exact = |row: &CostRow| row.spend.exact.trim_start_matches('$').parse::<crate::domain::Picodollars>().unwrap();
    let sum: crate::domain::Picodollars = table.rows.iter().map(exact).sum();
    assert_eq!(sum, exact(&table.total));
}

#[test]
fn a_live_update_replaces_its_parts_by_their_ids() {
    let html = fixtures::live_update(Kind::Usual).render().unwrap();
    let page = fixtures::overview(Kind::Usual).render().unwrap();
    let parts: Vec<&str> = tags(&html).into_iter().filter(|tag| tag.contains("hx-swap-oob=\"true\"")).collect();
    assert_eq!(parts.len(), 9);
    for part in parts {
        let id = attribute(part, "id").unwrap();
        assert!(page.contains(&format!("id=\"{id}\"")), "{id} is not on the page");
    }
    assert!(!page.contains("hx-swap-oob"));
}

#[test]
fn an_update_of_the_providers_replaces_parts_that_are_on_their_page() {
    let update = fixtures::providers_now(Kind::Usual).html();
    let page = fixtures::providers_page(Kind::Usual).html();
    let parts: Vec<&str> = tags(&update).into_iter().filter(|tag| tag.contains("hx-swap-oob")).collect();
    assert_eq!(parts.len(), 4 * 3 + 1);
    for part in parts {
        let id = attribute(part, "id").unwrap();
        assert!(page.contains(&format!("id=\"{id}\"")), "{id} is not on the page");
    }
    assert!(!page.contains("hx-swap-oob"));
}

#[test]
fn a_chosen_theme_is_on_the_page_before_any_script() {
    for (theme, expected) in [(Theme::Dark, Some("dark")), (Theme::Light, Some("light")), (Theme::System, None)] {
        let mut page = fixtures::overview(Kind::Usual);
        page.layout.theme = theme;
        let html = page.render().unwrap();
        let root = tags(&html).into_iter().find(|tag| name_of(tag) == "html").unwrap();
        assert_eq!(attribute(root, "data-theme"), expected);
        assert_eq!(Theme::from_word(theme.word()), theme);
    }
    assert_eq!(Theme::from_word(Some("\"><script>")), Theme::System);
}

#[test]
fn only_the_current_entry_of_the_navigation_is_marked() {
    let html = fixtures::costs(Kind::Usual).render().unwrap();
    let marked: Vec<&str> = tags(&html).into_iter().filter(|tag| tag.contains("aria-current=\"page\"")).collect();
    assert_eq!(marked.len(), 1);
    assert_eq!(attribute(marked[0], "href"), Some("/costs"));
}
