use super::*;
use crate::domain::{Billed, Picodollars, Price, PriceName, Residency, ServiceTier, TokenUsage};
use proptest::prelude::*;

/// A Wednesday hour in which nobody is cheaper, and one in which DeepSeek is.
const PEAK: &str = "2026-11-18T02:00:00Z";
const OFF_PEAK: &str = "2026-11-18T12:00:00Z";

fn provider(name: &str) -> ProviderName {
    name.parse().unwrap()
}

fn builtin(catalog: &str, model: &str) -> Arc<ModelFacts> {
    Catalog::builtin().find(&provider(catalog), catalog, model).unwrap()
}

fn plainly() -> Billed {
    Billed::plainly(PEAK.parse().unwrap())
}

fn text(input: u64, output: u64) -> TokenUsage {
    TokenUsage { uncached_input: input, output, ..TokenUsage::default() }
}

fn own_prices(pattern: &str, prices: &[(PriceName, u64)]) -> PriceOverride {
    let prices = prices.iter().map(|(name, price)| (*name, Price::per_token(*price))).collect();
    PriceOverride { pattern: pattern.to_owned(), prices }
}

fn input(catalog: &Catalog, at: &str, list: &str, model: &str) -> Option<u64> {
    let facts = catalog.find(&provider(at), list, model)?;
    facts.prices.plain(PriceName::Input).map(Price::get)
}

#[test]
fn the_built_in_list_has_every_model_of_its_file() {
    let listed = Catalog::parse(include_str!("prices.json")).unwrap();
    let count = |catalog: &Catalog| catalog.lists().map(|list| catalog.models(list).count()).sum::<usize>();
    assert_eq!(count(&listed), include_str!("prices.json").matches("\n{\"id\":").count());
    assert_eq!(count(&Catalog::builtin()), count(&listed) + 3);
}

#[test]
fn a_model_is_found_by_id_and_by_alias_in_its_own_list_alone() {
    assert_eq!(&*builtin("openai", "gpt-5").id, "gpt-5");
    assert_eq!(&*builtin("openai", "gpt-4.1-nano-2025-04-14").id, "gpt-4.1-nano");
    let catalog = Catalog::builtin();
    assert!(catalog.knows("anthropic", "claude-3-5-haiku-latest"));
    assert!(!catalog.knows("anthropic", "gpt-5"));
    assert!(!catalog.knows("openai", "GPT-5"));
    assert!(!catalog.knows("nobody", "gpt-5"));
    assert_eq!(catalog.find(&provider("groq"), "groq", "gpt-5"), None);
}

#[test]
fn a_provider_of_any_name_can_have_the_prices_of_a_list() {
    assert_eq!(input(&Catalog::builtin(), "my-azure", "openai", "gpt-5"), Some(1_250_000));
}

#[test]
fn the_sandbox_has_models_of_its_own() {
    for (model, prices) in [("sandbox-small", (1, 2)), ("sandbox-large", (5, 15)), ("sandbox-free", (0, 0))] {
        let costing = builtin("sandbox", model).prices.cost(&text(1_000_000, 1_000_000), &plainly());
        assert_eq!(costing.cost, Picodollars::from_dollars(prices.0 + prices.1), "{model}");
        assert_eq!(costing.basis, CostBasis::Exact);
    }
}

#[test]
fn the_sandbox_plays_any_model_at_that_models_price() {
    assert_eq!(builtin("sandbox", "gpt-5").prices, builtin("openai", "gpt-5").prices);
    assert_eq!(builtin("sandbox", "claude-opus-5").prices, builtin("anthropic", "claude-opus-5").prices);
    assert_eq!(builtin("sandbox", "deepseek-chat").prices, builtin("deepseek", "deepseek-chat").prices);
    assert!(!Catalog::builtin().knows("sandbox", "gpt-77"));
}

#[test]
fn the_closest_override_counts() {
    let price = |input| [(PriceName::Input, input)];
    let catalog = Catalog::builtin().with_overrides(vec![
        own_prices("*", &price(1)),
        own_prices("openai/*", &price(2)),
        own_prices("openai/gpt-*", &price(3)),
        own_prices("*enai/gpt-*", &price(4)),
        own_prices("openai/gpt-5", &price(5)),
    ]);
    let check =
        |model: &str, expected| assert_eq!(input(&catalog, "openai", "openai", model), Some(expected), "{model}");
    check("gpt-5", 5);
    check("gpt-5-mini", 3);
    check("o3", 2);
    check("never-heard-of", 2);
    assert_eq!(input(&catalog, "local", "nobody", "qwen3"), Some(1));
}

#[test]
fn prices_with_an_input_price_are_the_whole_list_of_a_deployment() {
    let prices = [(PriceName::Input, 2_000_000), (PriceName::Output, 8_000_000)];
    let catalog = Catalog::builtin().with_overrides(vec![own_prices("openai/gpt-5.4", &prices)]);
    let facts = catalog.find(&provider("openai"), "openai", "gpt-5.4").unwrap();
    let usage = text(300_000, 10);
    let priority = Billed { tier: ServiceTier::Priority, ..plainly() };
    let expected = Picodollars::new(300_000 * 2_000_000 + 10 * 8_000_000);
    assert_eq!(facts.prices.cost(&usage, &plainly()), Costing { cost: expected, basis: CostBasis::Exact });
    assert_eq!(facts.prices.cost(&usage, &priority), Costing { cost: expected, basis: CostBasis::Estimated });
    assert_eq!(facts.context, builtin("openai", "gpt-5.4").context);
    assert_eq!(input(&catalog, "other", "openai", "gpt-5.4"), Some(2_500_000));
}

#[test]
fn prices_without_an_input_price_correct_the_list() {
    let correction = [(PriceName::CacheRead, 7)];
    let catalog = Catalog::builtin().with_overrides(vec![own_prices("openai/*", &correction)]);
    let sheet = &catalog.find(&provider("openai"), "openai", "gpt-5").unwrap().prices;
    assert_eq!(sheet.plain(PriceName::CacheRead), Some(Price::per_token(7)));
    assert_eq!(sheet.plain(PriceName::Output), Some(Price::per_token(10_000_000)));
    assert_eq!(catalog.find(&provider("openai"), "openai", "never-heard-of"), None);
}

#[test]
fn an_input_price_of_nothing_says_that_a_model_is_free() {
    let catalog = Catalog::builtin().with_overrides(vec![own_prices("ollama/*", &[(PriceName::Input, 0)])]);
    let facts = catalog.find(&provider("ollama"), "ollama", "qwen3-coder").unwrap();
    let usage = TokenUsage { cache_read: 5, reasoning: 5, ..text(1000, 1000) };
    let costing = facts.prices.cost(&usage, &plainly());
    assert_eq!(costing, Costing { cost: Picodollars::ZERO, basis: CostBasis::Exact });
}

#[test]
fn an_alias_has_the_prices_that_its_model_was_given() {
    let prices = own_prices("openai/gpt-4.1-nano", &[(PriceName::Input, 9)]);
    let catalog = Catalog::builtin().with_overrides(vec![prices]);
    assert_eq!(input(&catalog, "openai", "openai", "gpt-4.1-nano-2025-04-14"), Some(9));
}

#[test]
fn a_deployment_is_served_where_the_list_or_its_own_price_knows_it() {
    let catalog = Catalog::builtin()
        .with_overrides(vec![own_prices("local/qwen3", &[(PriceName::Input, 0)]), own_prices("ollama/*", &[])]);
    assert!(catalog.serves(&provider("local"), "local", "qwen3"));
    assert!(catalog.serves(&provider("ollama"), "ollama", "llama3.1"));
    assert!(!catalog.serves(&provider("local"), "local", "qwen4"));
    assert!(!catalog.serves(&provider("ollama"), "ollama", "qwen4"));
}

#[test]
fn the_model_that_answered_decides_over_the_price() {
    let answered = |catalog: &Catalog, asked: &str, answered: &str| {
        let found = catalog.find_answered(&provider("openai"), "openai", asked, answered)?;
        found.0.prices.plain(PriceName::Input).map(|price| (price.get(), found.1))
    };
    let plain = Catalog::builtin();
    assert_eq!(answered(&plain, "gpt-4o", "gpt-4o-2024-05-13"), Some((5_000_000, CostBasis::Exact)));
    assert_eq!(answered(&plain, "gpt-4o", "gpt-4o-2031-01-01"), Some((2_500_000, CostBasis::Estimated)));
    assert_eq!(answered(&plain, "never-heard-of", "nor-of-this"), None);
    let own = plain.with_overrides(vec![own_prices("openai/gpt-4o", &[(PriceName::Input, 9)])]);
    assert_eq!(answered(&own, "gpt-4o", "gpt-4o-2024-05-13"), Some((9, CostBasis::Exact)));
}

fn listing(rows: &str) -> String {
    format!("{{\"models\":[{rows}]}}")
}

#[test]
fn a_partial_list_replaces_its_models_and_leaves_the_others() {
    let own = Catalog::parse(&listing(
        r#"{"id":"gpt-4.1-nano","provider":"openai","price":{"input":"9","output":"9"}},
           {"id":"gpt-77","provider":"openai","aliases":["gpt-latest","gpt-5"],"price":{"input":"7"}},
           {"id":"only","provider":"elsewhere","price":{"input":"1"}}"#,
    ));
    let merged = Catalog::builtin().merged(own.unwrap());
    let check =
        |list: &str, model: &str, expected| assert_eq!(input(&merged, "p", list, model), expected, "{list}/{model}");
    check("openai", "gpt-4.1-nano", Some(9_000_000));
    check("openai", "gpt-latest", Some(7_000_000));
    check("openai", "gpt-5", Some(7_000_000));
    check("openai", "gpt-5-mini", Some(250_000));
    check("elsewhere", "only", Some(1_000_000));
    // The alias went with the row that had it.
    check("openai", "gpt-4.1-nano-2025-04-14", None);
}

#[test]
fn an_id_beats_an_alias_of_the_same_name() {
    for rows in [
        r#"{"id":"a","provider":"p","price":{"input":"1"}},{"id":"b","provider":"p","aliases":["a"],"price":{"input":"2"}}"#,
        r#"{"id":"b","provider":"p","aliases":["a"],"price":{"input":"2"}},{"id":"a","provider":"p","price":{"input":"1"}}"#,
    ] {
        assert_eq!(input(&Catalog::parse(&listing(rows)).unwrap(), "p", "p", "a"), Some(1_000_000));
    }
}

#[track_caller]
fn check_refused(row: &str, expected: &str) {
    match Catalog::parse(&listing(row)) {
        Err(CatalogError::Rows(rows)) => assert!(rows[0].problem.contains(expected), "{}", rows[0].problem),
        other => panic!("{row} gives {other:?}"),
    }
}

#[test]
fn a_bad_row_is_refused_with_its_reason() {
    let with = |rest: &str| format!("{{\"id\":\"m\",\"provider\":\"p\",{rest}}}");
    check_refused(&with(r#""price":{"input":"-1"}"#), "price.input: \"-1\" is negative");
    check_refused(&with(r#""price":{"input":"0.0000001"}"#), "more decimals");
    check_refused(&with(r#""price":{"input":"1e3"}"#), "is not a decimal number");
    check_refused(&with(r#""price":{"input":0.5}"#), "expected a string");
    check_refused(&with(r#""price":{"input":"99999999999"}"#), "larger than any amount");
    check_refused(&with(r#""price":{"output":"1"}"#), "no input price");
    check_refused(&with(r#""price":{"input":"1","inptu":"1"}"#), "price.inptu: no price is called that");
    check_refused(&with(r#""price":{"input":"1"},"flex":{"inptu":"1"}"#), "flex.inptu");
    check_refused(&with(r#""prices":{"input":"1"}"#), "unknown field `prices`");
    check_refused(&with(r#""context":-5,"price":{"input":"1"}"#), "invalid value");
    check_refused(&with(r#""mode":"song","price":{"input":"1"}"#), "unknown variant");
    check_refused(&with(r#""capabilities":{"tool":true},"price":{"input":"1"}"#), "unknown field `tool`");
    check_refused(&with(r#""price":{"input":"1"},"multipliers":{"speed_fast":"101"}"#), "is above 100");
    check_refused(&with(r#""price":{"input":"1"},"multipliers":{"speed_fast":"-1"}"#), "is negative");
    check_refused(&with(r#""price":{"input":"1"},"usd_per_web_search":"-1"}"#.trim_end_matches('}')), "negative");
    check_refused(&with(r#""price":{"input":"1"},"deprecation_date":"soon""#), "is not a day");
    let tier = r#"{"above_input_tokens":5,"price":{"input":"2"}}"#;
    check_refused(&with(&format!(r#""price":{{"input":"1"}},"tiers":[{tier},{tier}]"#)), "same threshold");
    let hours = |hours: &str| {
        with(&format!(
            r#""price":{{"input":"1"}},"off_peak":{{"price":{{"input":"1"}},"windows":[{{"hours_utc":"{hours}"}}]}}"#
        ))
    };
    check_refused(&hours("22:00-04:00"), "ends before it starts");
    check_refused(r#"{"id":"","provider":"p","price":{"input":"1"}}"#, "can't be empty");
    check_refused(r#"{"provider":"p","price":{"input":"1"}}"#, "missing field `id`");
}

#[test]
fn every_bad_row_is_told_with_its_place() {
    let rows = r#"{"id":"good","provider":"p","price":{"input":"1"}},
        {"id":"bad","provider":"p","price":{"input":"x"}},
        {"id":"good","provider":"p","price":{"input":"2"}},
        7"#;
    let Err(CatalogError::Rows(rows)) = Catalog::parse(&listing(rows)) else { panic!("the list was taken") };
    let told: Vec<_> = rows.iter().map(|bad| (bad.row, bad.id.as_str())).collect();
    assert_eq!(told, [(1, "bad"), (2, "good"), (3, "no id")]);
    let shown = CatalogError::Rows(rows).to_string();
    assert!(shown.contains("3 bad rows") && shown.contains("models[1] (bad)") && shown.contains("twice"), "{shown}");
}

#[test]
fn what_is_no_list_is_refused() {
    for json in ["", "[]", "{}", "{\"models\":{}}", "{\"models\":[],\"more\":1}", "{\"models\":[]} x"] {
        assert!(matches!(Catalog::parse(json), Err(CatalogError::Shape(_))), "{json:?}");
    }
}

#[test]
fn the_dearest_price_is_over_every_row_and_surcharge() {
    let check = |list: &str, model: &str, input: u64, output: u64| {
        let sheet = &builtin(list, model).prices;
        assert_eq!((sheet.dearest_input().get(), sheet.dearest_output().get()), (input, output), "{model}");
    };
    // The priority row is dearer than the long context for output; a region adds a tenth.
    check("openai", "gpt-5.4", 5_500_000, 33_000_000);
    // Writes for an hour, fast and in the US.
    check("anthropic", "claude-opus-5", 22_000_000, 55_000_000);
    // Ultrafast cache writes of a long context.
    check("openai", "gpt-6-astra", 165_000_000, 495_000_000);
    // The hours at which it is not cheaper.
    check("deepseek", "deepseek-v4-flash", 300_000, 1_200_000);
    check("openai", "gpt-4o-audio-preview", 100_000_000, 200_000_000);
    check("sandbox", "sandbox-free", 0, 0);
}

#[test]
fn a_ceiling_covers_only_what_the_request_can_reach() {
    let sheet = &builtin("openai", "gpt-5.4").prices;
    let plain = Reach { tier: Some(ServiceTier::Default), residency: Some(Residency::Anywhere), fast: Some(false) };
    let ceiling = |reach: Reach, input, output, choices| sheet.ceiling_within(reach, input, output, choices, 0).get();
    assert_eq!(ceiling(plain, 272_000, 100, 2), 272_000 * 2_500_000 + 200 * 15_000_000);
    assert_eq!(ceiling(plain, 272_001, 100, 1), 272_001 * 5_000_000 + 100 * 22_500_000);
    let priority = Reach { tier: Some(ServiceTier::Priority), ..plain };
    assert_eq!(ceiling(priority, 1000, 100, 1), 1000 * 5_000_000 + 100 * 30_000_000);
    let european = Reach { residency: Some(Residency::Eu), ..plain };
    assert_eq!(ceiling(european, 1000, 100, 1), 1000 * 2_750_000 + 100 * 16_500_000);
    assert_eq!(sheet.web_search(), None);
    assert_eq!(builtin("openai", "gpt-5.5").prices.ceiling(0, 0, 1, 3).get(), 3 * 10_000_000_000);
}

#[test]
fn a_surcharge_that_the_list_lacks_hides_no_other() {
    let sheet = &builtin("anthropic", "claude-opus-5").prices;
    let reach = Reach { residency: Some(Residency::Eu), fast: Some(true), tier: Some(ServiceTier::Default) };
    assert_eq!(sheet.ceiling_within(reach, 0, 1, 1, 0).get(), 50_000_000);
}

#[test]
fn a_surcharge_is_a_line_of_its_own() {
    let sheet = &builtin("anthropic", "claude-opus-5").prices;
    let billed = Billed { residency: Residency::Us, fast: true, ..plainly() };
    let usage = TokenUsage { reasoning: 4, web_searches: 2, ..text(10, 10) };
    let lines: Vec<_> =
        sheet.lines(&usage, &billed).iter().map(|line| (line.bucket, line.tokens, line.cost.get())).collect();
    let expected = [
        ("input", 10, 50_000_000),
        ("output", 6, 150_000_000),
        ("reasoning", 4, 100_000_000),
        ("residency", 0, 30_000_000),
        ("fast", 0, 330_000_000),
        ("web_searches", 2, 20_000_000_000),
    ];
    assert_eq!(lines, expected);
}

/// Every model of the built-in catalogue.
fn models() -> Vec<Arc<ModelFacts>> {
    let catalog = Catalog::builtin();
    catalog.lists().flat_map(|list| catalog.models(list)).cloned().collect()
}

/// Counts that are small, near the thresholds, or as large as any that is believed.
fn count() -> impl Strategy<Value = u64> {
    let near = |threshold: u64| threshold - 2..threshold + 3;
    let large = 1_000_000_000_000_u64;
    prop_oneof![
        4 => Just(0_u64),
        4 => 0_u64..5_000,
        2 => 0_u64..1_200_000,
        1 => prop_oneof![near(100_000), near(128_000), near(200_000), near(272_000)],
        1 => large - 5..=large,
    ]
}

prop_compose! {
    fn usage()(counts in proptest::array::uniform9(count())) -> TokenUsage {
        let [uncached_input, cache_read, cache_write_5m, cache_write_1h, output, reasoning, audio_input, audio_output, web_searches] = counts;
        TokenUsage { uncached_input, cache_read, cache_write_5m, cache_write_1h, output, reasoning, audio_input, audio_output, web_searches }
    }
}

prop_compose! {
    fn billed()(
        tier in proptest::sample::select(ServiceTier::ALL),
        residency in proptest::sample::select(Residency::ALL),
        fast: bool,
        at in proptest::sample::select(&[PEAK, OFF_PEAK][..]),
    ) -> Billed {
        Billed { tier, residency, fast, at: at.parse().unwrap() }
    }
}

fn bucket(usage: &mut TokenUsage, index: usize) -> &mut u64 {
    match index {
        0 => &mut usage.uncached_input,
        1 => &mut usage.cache_read,
        2 => &mut usage.cache_write_5m,
        3 => &mut usage.cache_write_1h,
        4 => &mut usage.output,
        5 => &mut usage.reasoning,
        6 => &mut usage.audio_input,
        7 => &mut usage.audio_output,
        _ => &mut usage.web_searches,
    }
}

/// The bound that admission takes, for the tightest limits that the usage fits in.
fn ceiling_of(sheet: &PriceSheet, reach: Reach, usage: &TokenUsage) -> Picodollars {
    sheet.ceiling_within(reach, usage.total_input(), usage.total_output(), 1, usage.web_searches)
}

proptest! {
    #[test]
    fn more_of_anything_never_costs_less(usage in usage(), billed in billed(), index in 0_usize..9, more in count()) {
        let mut larger = usage;
        *bucket(&mut larger, index) += more;
        for facts in models() {
            let (cost, larger) = (facts.prices.cost(&usage, &billed).cost, facts.prices.cost(&larger, &billed).cost);
            prop_assert!(!cost.is_negative());
            prop_assert!(cost <= larger, "{}: {cost} > {larger}", facts.id);
        }
    }

    #[test]
    fn no_cost_is_above_its_ceiling(usage in usage(), billed in billed()) {
        let reach = Reach { tier: Some(billed.tier), residency: Some(billed.residency), fast: Some(billed.fast) };
        for facts in models() {
            let cost = facts.prices.cost(&usage, &billed).cost;
            let within = ceiling_of(&facts.prices, reach, &usage);
            let anyhow_billed = ceiling_of(&facts.prices, Reach::default(), &usage);
            prop_assert!(cost <= within, "{}: {cost} > {within}", facts.id);
            prop_assert!(within <= anyhow_billed, "{}", facts.id);
        }
    }

    #[test]
    fn a_tier_that_was_asked_for_and_not_given_stays_under_the_ceiling(usage in usage(), billed in billed(), asked in proptest::sample::select(ServiceTier::ALL)) {
        let reach = Reach { tier: Some(asked), ..Reach::default() };
        let billed = Billed { tier: ServiceTier::Default, ..billed };
        for facts in models() {
            prop_assert!(facts.prices.cost(&usage, &billed).cost <= ceiling_of(&facts.prices, reach, &usage));
        }
    }

    #[test]
    fn a_ceiling_grows_with_its_limits(input in count(), output in count(), more in count(), choices in 1_u64..128) {
        for facts in models() {
            let ceiling = facts.prices.ceiling(input, output, choices, 0);
            prop_assert!(ceiling <= facts.prices.ceiling(input + more, output, choices, 0));
            prop_assert!(ceiling <= facts.prices.ceiling(input, output + more, choices, 0));
            prop_assert!(ceiling <= facts.prices.ceiling(input, output, choices + 1, 1));
        }
    }

    #[test]
    fn the_lines_of_a_bill_add_up_to_its_cost(usage in usage(), billed in billed()) {
        for facts in models() {
            let lines = facts.prices.lines(&usage, &billed);
            let costing = facts.prices.cost(&usage, &billed);
            prop_assert_eq!(lines.iter().map(|line| line.cost).sum::<Picodollars>(), costing.cost);
            prop_assert_eq!(lines.iter().map(|line| line.basis).fold(CostBasis::Exact, CostBasis::and), costing.basis);
        }
    }

    #[test]
    fn the_dearest_prices_allowed_never_overflow(usage in usage(), factor in "[0-9]{1,2}[.][0-9]{1,6}") {
        let row = r#"{"input":"1000000000","output":"1000000000"}"#;
        let json = listing(&format!(
            r#"{{"id":"m","provider":"p","price":{row},"multipliers":{{"inference_geo_us":"100","speed_fast":"{factor}"}},"usd_per_web_search":"1000"}}"#
        ));
        let facts = Catalog::parse(&json).unwrap().find(&provider("p"), "p", "m").unwrap();
        let billed = Billed { residency: Residency::Us, fast: true, ..plainly() };
        let cost = facts.prices.cost(&usage, &billed).cost;
        prop_assert!(cost <= ceiling_of(&facts.prices, Reach::default(), &usage));
        prop_assert!(facts.prices.ceiling(u64::MAX, u64::MAX, u64::MAX, u64::MAX) >= cost);
    }
}

#[test]
fn the_built_in_list_is_as_old_as_it_says() {
    let taken = format!("taken {BUILTIN_TAKEN}");
    assert!(include_str!("prices.json").contains(&taken), "the list was taken on another day than {taken}");
}
