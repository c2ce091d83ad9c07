//! `model_list`: each entry is a model at somebody's server, under the name of its group.

use std::collections::BTreeMap;

use super::Variables;
use super::budgets::{self, Budget};
use super::limits::ModelLimits;
use super::notes::Notes;
use super::prices::{self, ModelPrices, is_price};
use super::providers::{KeySource, Known, NoProvider, Providers, is_name, variable_of};
use super::table::Table;
use super::yaml::Node;
use crate::catalog::Catalog;
use crate::domain::{Decimal, Deployment as Name};

/// The way out for models whose servers speak a shape of their own.
const KEEP_LITELLM: &str = "keep LiteLLM running for these models and name it as a provider of kind \"openai-compatible\", or reach them through a server that speaks OpenAI's shapes";
const CORRECT: &str = "correct the file and import it again";

/// One entry that was taken over.
#[derive(Clone, Debug)]
pub(super) struct Deployment {
    /// The name that clients ask for.
    pub(super) group: String,
    /// `provider/model`; a model may be a pattern in wildcard entries.
    pub(super) name: String,
    pub(super) weight: Option<Decimal>,
    /// Where the weight stands, for telling what becomes of it.
    pub(super) weight_at: (String, usize),
    pub(super) rpm: Option<Decimal>,
    pub(super) tpm: Option<Decimal>,
    pub(super) order: Option<u32>,
    pub(super) is_wildcard: bool,
}

/// Everything that the entries come to.
pub(super) struct Deployments {
    pub(super) providers: Providers,
    pub(super) all: Vec<Deployment>,
    pub(super) prices: Vec<ModelPrices>,
    pub(super) budgets: Vec<Budget>,
    catalog: Catalog,
}

/// `credential_list`, by name.
type Credentials<'n> = BTreeMap<&'n str, &'n Node>;

/// Keys of `litellm_params` that say nothing about the call here.
const NEEDLESS_PARAMS: &[&str] = &[
    "api_version",
    "model_info",
    "merge_reasoning_content_in_choices",
    "use_in_pass_through",
    "supports_system_message",
    "cache_control_injection_points",
    "tpm_limit",
    "rpm_limit",
    "description",
];

impl Deployments {
    /// Reads all entries; wildcards first, since a provider is known to clients by their prefix.
    pub(super) fn read(root: &Table<'_>, variables: Variables<'_>, notes: &mut Notes) -> Self {
        let credentials = read_credentials(root);
        let entries = root.get("model_list").map(Node::items).unwrap_or_default();
        if entries.is_empty() {
            notes.left_out(root.place(), "no models: model_list is empty or missing", "models that were added in LiteLLM's admin pages are in its database; write them under [[providers]] and [[routes]] by hand");
        }
        let mut deployments = Self {
            providers: Providers::default(),
            all: Vec::new(),
            prices: Vec::new(),
            budgets: Vec::new(),
            catalog: Catalog::builtin(),
        };
        let mut read: Vec<(usize, Option<Deployment>)> = Vec::new();
        let is_wildcard =
            |entry: &Node| entry.get("model_name").and_then(Node::text).is_some_and(|name| name.contains('*'));
        for wildcards in [true, false] {
            for (index, entry) in entries.iter().enumerate().filter(|(_, entry)| is_wildcard(entry) == wildcards) {
                let table = Table::new(format!("model_list[{index}]"), entry);
                read.push((index, deployments.read_entry(&table, &credentials, variables, notes)));
            }
        }
        read.sort_by_key(|(index, _)| *index);
        deployments.all = read.into_iter().filter_map(|(_, deployment)| deployment).collect();
        deployments
    }

    fn read_entry(
        &mut self,
        entry: &Table<'_>,
        credentials: &Credentials<'_>,
        variables: Variables<'_>,
        notes: &mut Notes,
    ) -> Option<Deployment> {
        let Some(group) = entry.text("model_name") else {
            notes.left_out(entry.place(), "model_name is missing", CORRECT);
            return None;
        };
        let params = entry.table("litellm_params", notes);
        let info = entry.table("model_info", notes);
        for (_, at) in entry.unasked() {
            notes.left_out(at, "not known here", "look it up in LiteLLM's documentation");
        }
        let Some(model) =
            params.text("model").map(str::to_owned).map(|text| resolved(&text, variables).unwrap_or(text))
        else {
            notes.left_out(params.place(), "litellm_params.model is missing", CORRECT);
            return None;
        };
        let (prefix, model) = self.split(&params, &model, notes)?;
        let Some(known) = Known::find(&prefix) else {
            notes.left_out(params.at("model"), format!("Tollgate doesn't speak to {}", shown(&prefix)), KEEP_LITELLM);
            return None;
        };
        let provider = self.place(entry, &params, known, group, credentials, variables, notes)?;
        let deployment = format!("{}/{model}", self.providers.get(provider).name);
        let is_wildcard = group.contains('*') || model.contains('*');
        if !is_wildcard && deployment.parse::<Name>().is_err() {
            notes.left_out(params.at("model"), "no name that a model can have here", "a name has up to 128 characters");
            return None;
        }
        self.providers.get_mut(provider).models.push(ModelLimits::read(&params, notes));
        self.read_prices(&deployment, known, is_wildcard, &params, &info, notes);
        self.budgets.extend(budgets::of_deployment(&params, &model, notes));
        let taken = Deployment {
            group: group.to_owned(),
            name: deployment,
            weight: params.number("weight", notes),
            weight_at: params.at("weight"),
            rpm: params.number("rpm", notes),
            tpm: params.number("tpm", notes),
            order: params.whole("order", notes),
            is_wildcard,
        };
        tell_of_rest(&params, &info, &taken, notes);
        Some(taken)
    }

    /// The prefix and the model of `provider/model`, or what LiteLLM would guess of a bare name.
    fn split(&self, params: &Table<'_>, model: &str, notes: &mut Notes) -> Option<(String, String)> {
        let custom = params.text("custom_llm_provider");
        if let Some(custom) = custom {
            let bare = model.strip_prefix(custom).and_then(|rest| rest.strip_prefix('/')).unwrap_or(model);
            return Some((custom.to_owned(), bare.to_owned()));
        }
        if let Some((prefix, rest)) = model.split_once('/')
            && !rest.is_empty()
        {
            return Some((prefix.to_owned(), rest.to_owned()));
        }
        let listed = ["openai", "anthropic", "gemini", "mistral", "groq", "deepseek"];
        let by_list = listed.into_iter().find(|list| self.catalog.knows(list, model));
        let openai =
            ["gpt-", "chatgpt-", "o1", "o3", "o4", "text-embedding", "dall-e", "whisper", "tts-", "davinci", "babbage"];
        let by_name = if model.starts_with("claude") {
            Some("anthropic")
        } else {
            openai.iter().any(|start| model.starts_with(start)).then_some("openai")
        };
        let found = by_list.or(by_name);
        if found.is_none() {
            notes.left_out(
                params.at("model"),
                "whose model this is isn't said",
                "write it as provider/model and import the file again",
            );
        }
        found.map(|prefix| (prefix.to_owned(), model.to_owned()))
    }

    #[expect(clippy::too_many_arguments, reason = "a step of reading one entry, apart for its length alone")]
    fn place(
        &mut self,
        entry: &Table<'_>,
        params: &Table<'_>,
        known: &'static Known,
        group: &str,
        credentials: &Credentials<'_>,
        variables: Variables<'_>,
        notes: &mut Notes,
    ) -> Option<usize> {
        let credential = params.text("litellm_credential_name");
        let shared = credential.and_then(|name| credentials.get(name));
        if credential.is_some() && shared.is_none() {
            notes.left_out(
                params.at("litellm_credential_name"),
                "no such entry in credential_list",
                "credentials made in LiteLLM's admin pages are in its database; write the provider by hand",
            );
            return None;
        }
        let own = |key: &str| params.text(key);
        let common = |key: &str| shared.and_then(|values| values.get(key)).and_then(Node::text);
        let key = own("api_key").or_else(|| common("api_key")).map_or(KeySource::Usual, KeySource::of);
        let (base, base_key) = [("api_base", own("api_base")), ("base_url", own("base_url"))]
            .into_iter()
            .find_map(|(key, base)| Some((base?, key)))
            .or_else(|| Some((common("api_base")?, "litellm_credential_name")))
            .map_or((None, "api_base"), |(base, key)| (Some(base), key));
        let found = base.and_then(|base| resolved(base, variables));
        if let Some(base) = base.filter(|_| found.is_none()) {
            let name = variable_of(base).unwrap_or_default();
            let reason = format!("the address is in the variable {name}, which is not set here");
            notes.left_out(params.at(base_key), reason, "set it and import the file again");
            return None;
        }
        let prefix = group.strip_suffix("/*").filter(|prefix| is_name(prefix));
        match self.providers.place(known, found.as_deref(), key, prefix) {
            Ok((index, is_literal)) => {
                let provider = self.providers.get(index);
                if is_literal {
                    notes.changed(
                        params.at("api_key"),
                        "the key stands in the file; it was not copied",
                        format!(
                            "put it into the variable {} (or into .env), or write api_key = \"file:/path\"",
                            provider.key.as_deref().unwrap_or_default()
                        ),
                    );
                }
                if known.is_azure() {
                    notes.changed(
                        params.at("model"),
                        "Azure is reached at its address for clients of OpenAI, under /openai/v1 and without api_version",
                        "try one call; resources that don't offer that address yet need LiteLLM to stay in between",
                    );
                }
                if let Some(prefix) = prefix.filter(|prefix| *prefix != provider.name) {
                    notes.changed(
                        entry.at("model_name"),
                        format!("clients reach it as {}/…, since another provider is called {prefix}", provider.name),
                        "rename the providers in the written file",
                    );
                }
                Some(index)
            }
            Err(NoProvider::NoAddress) => {
                notes.left_out(
                    params.place(),
                    "api_base is missing, and this server has no address of its own",
                    CORRECT,
                );
                None
            }
            Err(NoProvider::WrongAddress) => {
                notes.left_out(params.at(base_key), "no http or https address without a password in it", CORRECT);
                None
            }
        }
    }

    fn read_prices(
        &mut self,
        deployment: &str,
        known: &Known,
        is_wildcard: bool,
        params: &Table<'_>,
        info: &Table<'_>,
        notes: &mut Notes,
    ) {
        let base_model = info.text("base_model").or_else(|| params.text("base_model"));
        let own = prices::read(deployment, [params, info], notes);
        let prices = match (own, base_model) {
            (Some(own), _) => Some(own),
            (None, Some(base_model)) => {
                let listed = prices::of_base_model(deployment, base_model, &self.catalog);
                if listed.is_none() {
                    notes.left_out(
                        info.at("base_model"),
                        "the built-in price list doesn't know this model",
                        format!("set [prices.\"{deployment}\"] by hand"),
                    );
                }
                listed
            }
            (None, None) => {
                if known.is_azure() && !is_wildcard {
                    notes.left_out(params.at("model"), "Azure's names of deployments have no price", format!("set [prices.\"{deployment}\"], or model_info.base_model and import again; until then its calls are unpriced, and refused under budgets that block"));
                }
                None
            }
        };
        let Some(prices) = prices else { return };
        match self.prices.iter().find(|other| other.deployment == prices.deployment) {
            None => self.prices.push(prices),
            Some(other) if other.prices == prices.prices => {}
            Some(_) => notes.left_out(
                params.place(),
                format!("{deployment} has another price already"),
                "a provider's model has one price here",
            ),
        }
    }

    /// What a name of a group, or one that a wildcard matches, leads to.
    pub(super) fn of(&self, name: &str) -> Vec<&Deployment> {
        self.all.iter().filter(|deployment| deployment.group == name && !deployment.is_wildcard).collect()
    }

    /// The deployment of a name that no group has but a wildcard matches.
    pub(super) fn by_wildcard(&self, name: &str) -> Option<String> {
        let (prefix, model) = name.split_once('/')?;
        let wildcard = self.all.iter().find(|deployment| deployment.group == format!("{prefix}/*"))?;
        let provider = wildcard.name.split_once('/')?.0;
        let deployment = format!("{provider}/{model}");
        deployment.parse::<Name>().is_ok().then_some(deployment)
    }
}

fn read_credentials<'n>(root: &Table<'n>) -> Credentials<'n> {
    let entries = root.get("credential_list").map(Node::items).unwrap_or_default();
    let named = |entry: &'n Node| Some((entry.get("credential_name")?.text()?, entry.get("credential_values")?));
    entries.iter().filter_map(named).collect()
}

/// A text, or the value of the variable that it names.
fn resolved(text: &str, variables: Variables<'_>) -> Option<String> {
    match text.strip_prefix("os.environ/") {
        None => Some(text.to_owned()),
        Some(name) => variables(name),
    }
}

/// Seconds, as milliseconds between the shortest timer and a day.
pub(super) fn milliseconds(table: &Table<'_>, key: &str, notes: &mut Notes) -> Option<u64> {
    let units = table.number(key, notes)?.in_units(3)?.units;
    u64::try_from(units).ok().map(|units| units.clamp(1, 86_400_000))
}

/// Tells of everything about an entry that nobody asked for.
fn tell_of_rest(params: &Table<'_>, info: &Table<'_>, deployment: &Deployment, notes: &mut Notes) {
    if deployment.is_wildcard && deployment.name.split_once('/').is_some_and(|(_, model)| model != "*") {
        notes.changed(
            params.at("model"),
            "any model of the provider can be asked for as provider/model, not only those that match",
            "allow keys only the models that they may use",
        );
    } else if deployment.group == "*" {
        notes.changed(params.at("model"), "a bare name reaches the first provider whose prices are known for it; any other model is asked for as provider/model", "write a route for each name without a price");
    }
    if deployment.is_wildcard && deployment.weight.is_some() {
        notes.left_out(
            deployment.weight_at.clone(),
            "models behind a wildcard are asked for one by one, so nothing is chosen by weight",
            "write a route with weights",
        );
    }
    for key in ["rpm", "tpm"] {
        if params.get(key).is_some() {
            notes.left_out(
                params.at(key),
                "limits of one deployment are left to the provider: its 429 sends the call to the next deployment",
                "limit callers instead: [limits] requests_per_minute and tokens_per_minute, or each key's own",
            );
        }
    }
    for (key, at) in params.unasked() {
        match key {
            _ if is_price(key) => {}
            _ if NEEDLESS_PARAMS.contains(&key) => notes.needless(at),
            "mock_response" | "mock_timeout" => notes.left_out(
                at,
                "answers that are made up come from a provider of their own here",
                "add a provider of kind \"sandbox\"",
            ),
            "extra_headers" | "headers" | "extra_body" | "organization" => notes.left_out(
                at,
                "Tollgate adds nothing of its own to a provider's calls",
                "send it from the client; known headers pass through",
            ),
            "tags" => notes.left_out(
                at,
                "deployments have no tags here",
                "write a route for each group of callers, and allow keys only theirs",
            ),
            "max_tokens" | "temperature" | "top_p" | "stop" | "seed" | "n" => {
                notes.left_out(at, "calls go on as they came, without parameters of the route", "set it in the client");
            }
            _ => notes.left_out(
                at,
                "not known here",
                "look it up in LiteLLM's documentation; calls go on as they came, so a client can send it",
            ),
        }
    }
    for (key, at) in info.unasked() {
        if !is_price(key) {
            notes.needless(at);
        }
    }
}

/// A word of the file that is safe to repeat: a prefix, cut where it is none.
fn shown(prefix: &str) -> String {
    let is_plain =
        prefix.len() <= 40 && prefix.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if is_plain { format!("{prefix:?}") } else { "this provider".to_owned() }
}
