//! CSV files as the providers' consoles export them, known by their columns; taken whole or not at all.

use jiff::Timestamp;
use jiff::ToSpan as _;
use jiff::civil::Date;

use super::account::Company;
use super::amount::{Unit, amount};
use super::days::{Days, day_of};
use super::error::FileError;
use super::openai;
use super::reading::{ChargesByDay, Reading, Used, UsesByDay};
use super::rows::{Row, rows};
use crate::domain::{Picodollars, ProviderKind, ServiceTier, TokenUsage};

/// What a file may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    OpenAiCosts,
    OpenAiUsage,
    AnthropicCosts,
    AnthropicUsage,
}

impl Form {
    const ALL: [Self; 4] = [Self::OpenAiCosts, Self::OpenAiUsage, Self::AnthropicCosts, Self::AnthropicUsage];

    const fn name(self) -> &'static str {
        match self {
            Self::OpenAiCosts => "costs of OpenAI",
            Self::OpenAiUsage => "usage of OpenAI",
            Self::AnthropicCosts => "costs of Anthropic",
            Self::AnthropicUsage => "usage of Anthropic",
        }
    }

    const fn company(self) -> Company {
        match self {
            Self::OpenAiCosts | Self::OpenAiUsage => Company::OpenAi,
            Self::AnthropicCosts | Self::AnthropicUsage => Company::Anthropic,
        }
    }

    /// The columns that it can't be read without.
    const fn columns(self) -> &'static [&'static str] {
        match self {
            Self::OpenAiCosts => &["start_time", "amount_value", "amount_currency"],
            Self::OpenAiUsage => &["start_time", "model", "input_tokens", "output_tokens", "num_model_requests"],
            Self::AnthropicCosts => &["usage_date_utc", "model", "cost_usd"],
            Self::AnthropicUsage => &[
                "usage_date_utc",
                "model_version",
                "usage_input_tokens_no_cache",
                "usage_input_tokens_cache_read",
                "usage_output_tokens",
            ],
        }
    }
}

/// A file that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    form: Form,
    /// What it tells.
    pub reading: Reading,
    /// How many rows it has.
    pub rows: usize,
}

impl File {
    /// Understands a file, or says why not.
    pub fn read(text: &str) -> Result<Self, FileError> {
        let mut rows = rows(text)?.into_iter();
        let header = rows.next().ok_or(FileError::Empty)?;
        let columns = Columns(header.cells.iter().map(|cell| cell.trim().to_ascii_lowercase()).collect());
        let form = Form::ALL.into_iter().find(|form| form.columns().iter().all(|name| columns.place(name).is_some()));
        let form = form.ok_or_else(|| columns.unknown())?;
        let (mut charges, mut uses) = (ChargesByDay::default(), UsesByDay::default());
        let (mut days, mut count) = (None::<(Date, Date)>, 0);
        for row in rows {
            if row.cells.len() != columns.0.len() {
                let problem = format!("{} cells where the header has {}", row.cells.len(), columns.0.len());
                return Err(FileError::Line { line: row.line, problem });
            }
            let cells = Cells { columns: &columns, row: &row };
            let day = match form {
                Form::OpenAiCosts => openai_cost(&cells, &mut charges)?,
                Form::OpenAiUsage => openai_usage(&cells, &mut uses)?,
                Form::AnthropicCosts => anthropic_cost(&cells, &mut charges)?,
                Form::AnthropicUsage => anthropic_usage(&cells, &mut uses)?,
            };
            days = Some(days.map_or((day, day), |(first, last)| (first.min(day), last.max(day))));
            count += 1;
        }
        let (first, last) = days.ok_or(FileError::Empty)?;
        let days = Days::new(first, last.saturating_add(1.day()))?;
        let tells_costs = matches!(form, Form::OpenAiCosts | Form::AnthropicCosts);
        let reading =
            Reading { days, charges: tells_costs.then_some(charges.0), uses: (!tells_costs).then_some(uses.0) };
        Ok(Self { form, reading, rows: count })
    }

    /// What it is: `costs of OpenAI`.
    pub fn what(&self) -> &'static str {
        self.form.name()
    }

    /// Whether a provider of that kind may have made it.
    pub fn fits(&self, kind: ProviderKind) -> bool {
        Company::of(kind).is_none_or(|company| company == self.form.company())
    }

    /// Whether a provider of that kind is the company that made it.
    pub fn is_from(&self, kind: ProviderKind) -> bool {
        Company::of(kind) == Some(self.form.company())
    }

    /// Refuses a file for a provider that can't have made it.
    pub fn check(&self, provider: &str, kind: ProviderKind) -> Result<(), FileError> {
        if self.fits(kind) {
            return Ok(());
        }
        Err(FileError::OtherCompany { company: self.form.company().name(), provider: provider.to_owned() })
    }
}

struct Columns(Vec<String>);

impl Columns {
    fn place(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|column| column == name)
    }

    fn unknown(&self) -> FileError {
        const SHOWN_MAX: usize = 20;
        let short = |name: &String| name.chars().take(40).collect::<String>();
        let mut found: Vec<String> = self.0.iter().take(SHOWN_MAX).map(short).collect();
        if self.0.len() > SHOWN_MAX {
            found.push("…".to_owned());
        }
        let expected = Form::ALL.map(|form| format!("{} ({})", form.name(), form.columns().join(", ")));
        FileError::Unknown { found: found.join(", "), expected: expected.join("; ") }
    }
}

/// The cells of one row, by the names of their columns.
struct Cells<'a> {
    columns: &'a Columns,
    row: &'a Row,
}

impl Cells<'_> {
    /// A cell's text; empty where the file has no such column.
    fn text(&self, name: &str) -> &str {
        self.columns.place(name).map_or("", |place| self.row.cells[place].trim())
    }

    fn problem(&self, name: &str, expected: &str) -> FileError {
        let found: String = self.text(name).chars().take(40).collect();
        FileError::Line { line: self.row.line, problem: format!("{name} is {found:?}, which is {expected}") }
    }

    /// A count; empty is none, as consoles write it.
    fn count(&self, name: &str) -> Result<u64, FileError> {
        match self.text(name) {
            "" => Ok(0),
            text => text.parse().map_err(|_| self.problem(name, "no whole number")),
        }
    }

    fn dollars(&self, name: &str) -> Result<Picodollars, FileError> {
        amount(self.text(name), Unit::Dollars).ok_or_else(|| self.problem(name, "no amount of money"))
    }

    /// The day of a time in seconds since 1970.
    fn day_of_seconds(&self, name: &str) -> Result<Date, FileError> {
        let instant = self.text(name).parse().ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
        let day = instant.map(day_of).filter(|day| (2000..2100).contains(&day.year()));
        day.ok_or_else(|| self.problem(name, "no time in seconds since 1970"))
    }

    /// The day of a date, or of a time that begins with one.
    fn day_of_date(&self, name: &str) -> Result<Date, FileError> {
        let text = self.text(name);
        let date = text.get(.."2026-11-22".len()).and_then(|date| date.parse::<Date>().ok());
        let day = date.filter(|day| (2000..2100).contains(&day.year()));
        day.ok_or_else(|| self.problem(name, "no date such as 2026-11-22"))
    }
}

fn openai_cost(cells: &Cells<'_>, charges: &mut ChargesByDay) -> Result<Date, FileError> {
    let day = cells.day_of_seconds("start_time")?;
    // A day on which nothing was charged has a row without an amount.
    if cells.text("amount_value").is_empty() {
        return Ok(day);
    }
    let currency = cells.text("amount_currency");
    if !currency.is_empty() && !currency.eq_ignore_ascii_case("usd") {
        return Err(cells.problem("amount_currency", "another currency than US dollars"));
    }
    charges.add(day, Some(openai::model_of(cells.text("line_item"))), cells.dollars("amount_value")?);
    Ok(day)
}

fn openai_usage(cells: &Cells<'_>, uses: &mut UsesByDay) -> Result<Date, FileError> {
    let day = cells.day_of_seconds("start_time")?;
    let given = |name: &str| cells.count(name).map(Some);
    let usage = openai::Usage {
        model: None,
        batch: Some(cells.text("batch").eq_ignore_ascii_case("true")),
        service_tier: Some(cells.text("service_tier").to_owned()),
        num_model_requests: cells.count("num_model_requests")?,
        input_tokens: cells.count("input_tokens")?,
        output_tokens: cells.count("output_tokens")?,
        input_cached_tokens: given("input_cached_tokens")?,
        input_cache_write_tokens: given("input_cache_write_tokens")?,
        input_audio_tokens: given("input_audio_tokens")?,
        output_audio_tokens: given("output_audio_tokens")?,
    };
    // A day on which nothing was used has a row without a model.
    if !usage.used().usage.is_empty() || usage.num_model_requests > 0 {
        uses.add(day, cells.text("model"), usage.tier(), usage.used());
    }
    Ok(day)
}

fn anthropic_cost(cells: &Cells<'_>, charges: &mut ChargesByDay) -> Result<Date, FileError> {
    let day = cells.day_of_date("usage_date_utc")?;
    let model = Some(cells.text("model")).filter(|model| !model.is_empty()).unwrap_or_else(|| cells.text("cost_type"));
    charges.add(day, Some(model), cells.dollars("cost_usd")?);
    Ok(day)
}

fn anthropic_usage(cells: &Cells<'_>, uses: &mut UsesByDay) -> Result<Date, FileError> {
    let day = cells.day_of_date("usage_date_utc")?;
    let usage = TokenUsage {
        uncached_input: cells.count("usage_input_tokens_no_cache")?,
        cache_read: cells.count("usage_input_tokens_cache_read")?,
        // Older files have one column for both.
        cache_write_5m: cells.count("usage_input_tokens_cache_write_5m")?
            + cells.count("usage_input_tokens_cache_write")?,
        cache_write_1h: cells.count("usage_input_tokens_cache_write_1h")?,
        output: cells.count("usage_output_tokens")?,
        web_searches: cells.count("web_search_count")?,
        ..TokenUsage::default()
    };
    let tier = ServiceTier::from_word(cells.text("usage_type"));
    uses.add(day, cells.text("model_version"), tier, Used { requests: None, usage });
    Ok(day)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPENAI_COSTS: &str = "\
start_time,end_time,start_time_iso,end_time_iso,amount_value,amount_currency,line_item,project_id,organization_id,organization_name
1795132800,1795219200,2026-11-20T00:00:00+00:00,2026-11-21T00:00:00+00:00,0.003835980000000000000000000000,usd,\"gpt-5-nano, input\",,org-1,Acme
1795132800,1795219200,2026-11-20T00:00:00+00:00,2026-11-21T00:00:00+00:00,0.5,usd,\"gpt-5-nano, output\",,org-1,Acme
1795219200,1795305600,2026-11-21T00:00:00+00:00,2026-11-22T00:00:00+00:00,,,,,,
";
    const OPENAI_USAGE: &str = "\
start_time,end_time,start_time_iso,end_time_iso,project_id,num_model_requests,user_id,api_key_id,model,batch,service_tier,input_tokens,output_tokens,input_cached_tokens
1795132800,1795219200,2026-11-20,2026-11-21,,3,,,gpt-5-nano-2025-08-07,False,default,1000,50,400
1795219200,1795305600,2026-11-21,2026-11-22,,,,,,,,,,
";
    const ANTHROPIC_COSTS: &str = "\
usage_date_utc,model,workspace,api_key,usage_type,context_window,token_type,cost_usd,list_price_usd,cost_type,inference_geo,speed
2026-11-20,Claude Haiku 4.5,Default,ci,message,≤ 200k,input_no_cache,0.05,0.05,token,not_available,
2026-11-20,Claude Haiku 4.5,Default,ci,message,≤ 200k,output,0.02,0.02,token,not_available,
2026-11-22,,Default,ci,message,,,0.01,0.01,web_search,not_available,
";
    const ANTHROPIC_USAGE: &str = "\
usage_date_utc,model_version,api_key,workspace,usage_type,context_window,usage_input_tokens_no_cache,usage_input_tokens_cache_write_5m,usage_input_tokens_cache_write_1h,usage_input_tokens_cache_read,usage_output_tokens,web_search_count,inference_geo,speed
2026-11-20,claude-haiku-4-5-20251001,ci,Default,standard,≤ 200k,46981,15969,0,12,16932,1,global,
";

    fn day(text: &str) -> Date {
        text.parse().unwrap()
    }

    #[test]
    fn costs_of_openai_are_known_by_their_columns() {
        let file = File::read(OPENAI_COSTS).unwrap();
        assert_eq!((file.what(), file.rows, file.reading.days.len()), ("costs of OpenAI", 3, 2));
        let charges = file.reading.charges.unwrap();
        let nano = charges[&day("2026-11-20")][&Some("gpt-5-nano".to_owned())];
        assert_eq!(nano.to_string(), "0.50383598");
        assert!(!charges.contains_key(&day("2026-11-21")) && file.reading.uses.is_none());
        assert!(File::read(OPENAI_COSTS).unwrap().fits(ProviderKind::OpenAi));
        assert!(!File::read(OPENAI_COSTS).unwrap().fits(ProviderKind::Anthropic));
    }

    #[test]
    fn usage_of_openai_is_known_by_its_columns() {
        let file = File::read(OPENAI_USAGE).unwrap();
        assert_eq!((file.what(), file.reading.days.len()), ("usage of OpenAI", 2));
        let uses = file.reading.uses.unwrap();
        let used = uses[&day("2026-11-20")][&("gpt-5-nano-2025-08-07".to_owned(), ServiceTier::Default)];
        assert_eq!((used.requests, used.usage.uncached_input, used.usage.cache_read), (Some(3), 600, 400));
        assert_eq!(uses.len(), 1);
    }

    #[test]
    fn costs_of_anthropic_are_known_by_their_columns() {
        let file = File::read(ANTHROPIC_COSTS).unwrap();
        assert_eq!((file.what(), file.reading.days.len()), ("costs of Anthropic", 3));
        let charges = file.reading.charges.unwrap();
        assert_eq!(charges[&day("2026-11-20")][&Some("Claude Haiku 4.5".to_owned())].to_string(), "0.07");
        assert_eq!(charges[&day("2026-11-22")][&Some("web_search".to_owned())].to_string(), "0.01");
    }

    #[test]
    fn usage_of_anthropic_is_known_by_its_columns() {
        let uses = File::read(ANTHROPIC_USAGE).unwrap().reading.uses.unwrap();
        let used = uses[&day("2026-11-20")][&("claude-haiku-4-5-20251001".to_owned(), ServiceTier::Default)];
        assert_eq!((used.requests, used.usage.total_input(), used.usage.output), (None, 46_981 + 15_969 + 12, 16_932));
    }

    fn check_refused(text: &str, expected: &str) {
        let refused = File::read(text).unwrap_err().to_string();
        assert!(refused.contains(expected) && refused.to_lowercase().contains("nothing was imported"), "{refused}");
    }

    #[test]
    fn a_file_that_is_not_what_it_says_is_refused_with_its_columns_and_those_expected() {
        check_refused("foo,bar,baz\n1,2,3\n", "the file's columns are foo, bar, baz");
        check_refused("foo,bar,baz\n1,2,3\n", "costs of OpenAI (start_time, amount_value, amount_currency)");
        check_refused("foo\n1\n", "usage of Anthropic (usage_date_utc, model_version,");
        check_refused("", "no row with a day");
        check_refused("usage_date_utc,model,cost_usd\n", "no row with a day");
        check_refused("%PDF-1.4\n\"", "line 2");
    }

    #[test]
    fn one_wrong_cell_refuses_the_whole_file_with_its_line() {
        let with = |from: &str, to: &str| {
            let text = ANTHROPIC_COSTS.replacen(from, to, 1);
            assert_ne!(text, ANTHROPIC_COSTS);
            text
        };
        check_refused(&with("0.02,0.02", "two cents,0.02"), "line 3: cost_usd is \"two cents\"");
        check_refused(&with("2026-11-22", "22.11.2026"), "line 4: usage_date_utc is \"22.11.2026\"");
        check_refused(&with("2026-11-22", "2026-11"), "no date");
        check_refused(&with("2026-11-22", "2026-02-20"), "more than 92 days");
        check_refused(&with(",speed\n", ",speed,more\n"), "line 2: 12 cells where the header has 13");
        check_refused(&OPENAI_COSTS.replace("0.5,usd", "0.5,eur"), "another currency");
        check_refused(&OPENAI_COSTS.replace("1795219200,1795305600", "soon,1795305600"), "no time in seconds");
        check_refused(&ANTHROPIC_USAGE.replace("46981", "-46981"), "no whole number");
        check_refused(&ANTHROPIC_USAGE.replace("46981", "1e3"), "no whole number");
    }
}
